"""The same verbs for synchronous code, with plain signatures: each blocks and returns its result.

They block whatever runs in the calling thread. On a running event loop they hold it up while they wait.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar, cast, overload
from uuid import UUID

from pydantic import BaseModel

from flowchan.context import blocking, open_run
from flowchan.flows import flow
from flowchan.input import run_input as dual
from flowchan.input.automatic import model_of
from flowchan.input.keyset import Keyset
from flowchan.input.metadata import RunInputMetadata
from flowchan.input.receiver import InputReceiver as _InputReceiver
from flowchan.input.receiving import HOUR, POLL, receiver_of
from flowchan.input.types import unwraps
from flowchan.logging import get_run_logger

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
M = TypeVar("M", bound=BaseModel)


class InputReceiver(_InputReceiver[T_co]):
    """:class:`flowchan.input.InputReceiver`, whose ``next()`` blocks and returns the message."""

    def next(self) -> T_co:  # type: ignore[override]
        """Wait for the next message; raises as the asynchronous one does."""
        return self._next_blocking()


class RunInput(dual.RunInput):
    """:class:`flowchan.RunInput`, whose verbs block."""

    @classmethod
    def save(cls, keyset: Keyset, flow_run_id: UUID | str | None = None) -> None:  # type: ignore[override]
        """As :meth:`flowchan.RunInput.save`."""
        with blocking():
            super().save(keyset, flow_run_id)

    @classmethod
    def load(cls, keyset: Keyset, flow_run_id: UUID | str | None = None) -> Self:  # type: ignore[override]
        """As :meth:`flowchan.RunInput.load`."""
        with blocking():
            return cast("Self", super().load(keyset, flow_run_id))

    def respond(  # type: ignore[override]
        self, run_input: Any, sender: str | None = None, key_prefix: str | None = None
    ) -> RunInputMetadata:
        """As :meth:`flowchan.RunInput.respond`."""
        with blocking():
            return cast("RunInputMetadata", super().respond(run_input, sender, key_prefix))

    def send_to(  # type: ignore[override]
        self, flow_run_id: UUID | str, sender: str | None = None, key_prefix: str | None = None
    ) -> RunInputMetadata:
        """As :meth:`flowchan.RunInput.send_to`."""
        with blocking():
            return cast("RunInputMetadata", super().send_to(flow_run_id, sender, key_prefix))

    @classmethod
    def receive(
        cls,
        timeout: float | None = HOUR,
        poll_interval: float = POLL,
        raise_timeout_error: bool = True,
        exclude_keys: Iterable[str] | None = None,
        key_prefix: str | None = None,
        flow_run_id: UUID | str | None = None,
        group: str | None = None,
        after: str | None = None,
    ) -> InputReceiver[Self]:
        """As :meth:`flowchan.RunInput.receive`."""
        return receiver_of(
            InputReceiver,
            cls,
            timeout,
            poll_interval,
            raise_timeout_error,
            exclude_keys,
            key_prefix,
            flow_run_id,
            group,
            after,
            unwrap=False,
        )


class AutomaticRunInput(  # pyright: ignore[reportIncompatibleMethodOverride]
    RunInput, dual.AutomaticRunInput[T], Generic[T]
):
    """:class:`flowchan.input.AutomaticRunInput`, whose verbs block."""

    __flowchan_type__: ClassVar[Any] = Any

    @classmethod
    def receive(  # type: ignore[override]
        cls,
        timeout: float | None = HOUR,
        poll_interval: float = POLL,
        raise_timeout_error: bool = True,
        exclude_keys: Iterable[str] | None = None,
        key_prefix: str | None = None,
        flow_run_id: UUID | str | None = None,
        with_metadata: bool = False,
        group: str | None = None,
        after: str | None = None,
    ) -> InputReceiver[Any]:
        """As :meth:`flowchan.input.AutomaticRunInput.receive`."""
        return receiver_of(
            InputReceiver,
            cls,
            timeout,
            poll_interval,
            raise_timeout_error,
            exclude_keys,
            key_prefix,
            flow_run_id,
            group,
            after,
            unwrap=not with_metadata,
        )


def send_input(
    run_input: Any,
    flow_run_id: UUID | str,
    sender: str | None = None,
    key_prefix: str | None = None,
    idempotency_key: str | None = None,
) -> RunInputMetadata:
    """As :func:`flowchan.send_input`; the message has been stored when it returns."""
    with blocking():
        return cast("RunInputMetadata", dual.send_input(run_input, flow_run_id, sender, key_prefix, idempotency_key))


@overload
def receive_input(  # type: ignore[overload-overlap] # a model is a T, too: the first that fits holds
    input_type: type[M],
    timeout: float | None = ...,
    poll_interval: float = ...,
    raise_timeout_error: bool = ...,
    exclude_keys: Iterable[str] | None = ...,
    key_prefix: str | None = ...,
    flow_run_id: UUID | str | None = ...,
    with_metadata: bool = ...,
    group: str | None = ...,
    after: str | None = ...,
) -> InputReceiver[M]: ...


@overload
def receive_input(
    input_type: type[T],
    timeout: float | None = ...,
    poll_interval: float = ...,
    raise_timeout_error: bool = ...,
    exclude_keys: Iterable[str] | None = ...,
    key_prefix: str | None = ...,
    flow_run_id: UUID | str | None = ...,
    *,
    with_metadata: Literal[True],
    group: str | None = ...,
    after: str | None = ...,
) -> InputReceiver[AutomaticRunInput[T]]: ...


@overload
def receive_input(
    input_type: type[T],
    timeout: float | None = ...,
    poll_interval: float = ...,
    raise_timeout_error: bool = ...,
    exclude_keys: Iterable[str] | None = ...,
    key_prefix: str | None = ...,
    flow_run_id: UUID | str | None = ...,
    with_metadata: Literal[False] = ...,
    group: str | None = ...,
    after: str | None = ...,
) -> InputReceiver[T]: ...


@overload
def receive_input(
    input_type: Any,
    timeout: float | None = ...,
    poll_interval: float = ...,
    raise_timeout_error: bool = ...,
    exclude_keys: Iterable[str] | None = ...,
    key_prefix: str | None = ...,
    flow_run_id: UUID | str | None = ...,
    with_metadata: bool = ...,
    group: str | None = ...,
    after: str | None = ...,
) -> InputReceiver[Any]: ...


def receive_input(
    input_type: Any,
    timeout: float | None = HOUR,
    poll_interval: float = POLL,
    raise_timeout_error: bool = True,
    exclude_keys: Iterable[str] | None = None,
    key_prefix: str | None = None,
    flow_run_id: UUID | str | None = None,
    with_metadata: bool = False,
    group: str | None = None,
    after: str | None = None,
) -> InputReceiver[Any]:
    """As :func:`flowchan.receive_input`."""
    return receiver_of(
        InputReceiver,
        model_of(input_type, RunInput, AutomaticRunInput),
        timeout,
        poll_interval,
        raise_timeout_error,
        exclude_keys,
        key_prefix,
        flow_run_id,
        group,
        after,
        unwrap=unwraps(input_type) and not with_metadata,
    )


__all__ = [
    "AutomaticRunInput",
    "InputReceiver",
    "RunInput",
    "flow",
    "get_run_logger",
    "open_run",
    "receive_input",
    "send_input",
]
