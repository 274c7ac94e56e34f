"""The same verbs for synchronous code, with plain signatures: each blocks and returns its result.

They block whatever runs in the calling thread. On a running event loop they hold it up while they wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar, cast, overload
from uuid import UUID

from pydantic import BaseModel

from flowchan import deployments, flow_runs
from flowchan.blocks.system import JSON as _JSON
from flowchan.client import FlowchanClient as _FlowchanClient
from flowchan.context import blocking, open_run
from flowchan.flows import flow
from flowchan.input import run_input as dual
from flowchan.input.automatic import model_of
from flowchan.input.dead_letters import letters_of
from flowchan.input.keyset import Keyset
from flowchan.input.metadata import RunInputMetadata
from flowchan.input.receiver import InputReceiver as _InputReceiver
from flowchan.input.receiving import HOUR, POLL, receiver_of
from flowchan.input.terms import OnInvalid
from flowchan.input.types import unwraps
from flowchan.logging import get_run_logger
from flowchan.run import FlowRun
from flowchan.states import State, StateType

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
M = TypeVar("M", bound=BaseModel)


class InputReceiver(_InputReceiver[T_co]):
    """:class:`flowchan.input.InputReceiver`, whose ``next()`` blocks and returns the message."""

    def next(self) -> T_co:  # type: ignore[override]
        """Wait for the next message; raises as the asynchronous one does."""
        return self._next_here()

    def ack(self) -> None:  # type: ignore[override]
        """As :meth:`flowchan.input.InputReceiver.ack`; the broker knows when it returns."""
        with blocking():
            super().ack()


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
        on_invalid: OnInvalid = "raise",
        max_deliveries: int | None = None,
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
            on_invalid,
            max_deliveries,
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
        on_invalid: OnInvalid = "raise",
        max_deliveries: int | None = None,
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
            on_invalid,
            max_deliveries,
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
    on_invalid: OnInvalid = ...,
    max_deliveries: int | None = ...,
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
    on_invalid: OnInvalid = ...,
    max_deliveries: int | None = ...,
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
    on_invalid: OnInvalid = ...,
    max_deliveries: int | None = ...,
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
    on_invalid: OnInvalid = ...,
    max_deliveries: int | None = ...,
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
    on_invalid: OnInvalid = "raise",
    max_deliveries: int | None = None,
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
        on_invalid,
        max_deliveries,
        unwrap=unwraps(input_type) and not with_metadata,
    )


class DeadLetter(dual.DeadLetter):
    """:class:`flowchan.input.DeadLetter`, whose verbs block."""

    __slots__ = ()

    def resend(self) -> RunInputMetadata:  # type: ignore[override]
        """As :meth:`flowchan.input.DeadLetter.resend`."""
        with blocking():
            return cast("RunInputMetadata", super().resend())

    def discard(self) -> None:  # type: ignore[override]
        """As :meth:`flowchan.input.DeadLetter.discard`."""
        with blocking():
            super().discard()


def read_dead_letters(
    flow_run_id: UUID | str | None = None, key_prefix: str | None = None, group: str | None = None
) -> list[DeadLetter]:
    """As :func:`flowchan.input.read_dead_letters`."""
    with blocking():
        return cast("list[DeadLetter]", letters_of(DeadLetter, flow_run_id, key_prefix, group))


@overload
def pause_flow_run(
    wait_for_input: None = None, timeout: float | None = ..., poll_interval: float = ..., key: str | None = ...
) -> None: ...


@overload
def pause_flow_run(
    wait_for_input: type[T], timeout: float | None = ..., poll_interval: float = ..., key: str | None = ...
) -> T: ...


@overload
def pause_flow_run(
    wait_for_input: Any, timeout: float | None = ..., poll_interval: float = ..., key: str | None = ...
) -> Any: ...


def pause_flow_run(
    wait_for_input: Any = None, timeout: float | None = HOUR, poll_interval: float = POLL, key: str | None = None
) -> Any:
    """As :func:`flowchan.pause_flow_run`."""
    with blocking():
        return cast("Any", flow_runs.pause_flow_run(wait_for_input, timeout, poll_interval, key))


@overload
def suspend_flow_run(
    wait_for_input: None = None,
    flow_run_id: UUID | str | None = ...,
    timeout: float | None = ...,
    key: str | None = ...,
) -> None: ...


@overload
def suspend_flow_run(
    wait_for_input: type[T],
    flow_run_id: UUID | str | None = ...,
    timeout: float | None = ...,
    key: str | None = ...,
) -> T: ...


@overload
def suspend_flow_run(
    wait_for_input: Any, flow_run_id: UUID | str | None = ..., timeout: float | None = ..., key: str | None = ...
) -> Any: ...


def suspend_flow_run(
    wait_for_input: Any = None,
    flow_run_id: UUID | str | None = None,
    timeout: float | None = None,
    key: str | None = None,
) -> Any:
    """As :func:`flowchan.suspend_flow_run`."""
    with blocking():
        return cast("Any", flow_runs.suspend_flow_run(wait_for_input, flow_run_id, timeout, key))


def resume_flow_run(
    flow_run_id: UUID | str,
    run_input: Mapping[str, Any] | BaseModel | None = None,
    *,
    waiting_for: str | None = None,
) -> None:
    """As :func:`flowchan.resume_flow_run`."""
    with blocking():
        flow_runs.resume_flow_run(flow_run_id, run_input, waiting_for=waiting_for)


def cancel_flow_run(flow_run_id: UUID | str) -> State:
    """As :func:`flowchan.flow_runs.cancel_flow_run`."""
    with blocking():
        return cast("State", flow_runs.cancel_flow_run(flow_run_id))


def wait_for_flow_run(
    flow_run_id: UUID | str, timeout: float | None = 10800, poll_interval: float = 5, log_states: bool = False
) -> FlowRun:
    """As :func:`flowchan.flow_runs.wait_for_flow_run`."""
    with blocking():
        return cast("FlowRun", flow_runs.wait_for_flow_run(flow_run_id, timeout, poll_interval, log_states))


def run_deployment(
    name: UUID | str,
    parameters: Mapping[str, Any] | None = None,
    flow_run_name: str | None = None,
    timeout: float | None = None,
    poll_interval: float = 5,
    tags: Iterable[str] | None = None,
    idempotency_key: str | None = None,
    as_subflow: bool = True,
    scheduled_time: datetime | None = None,
) -> FlowRun:
    """As :func:`flowchan.deployments.run_deployment`."""
    with blocking():
        return cast(
            "FlowRun",
            deployments.run_deployment(
                name,
                parameters,
                flow_run_name,
                timeout,
                poll_interval,
                tags,
                idempotency_key,
                as_subflow,
                scheduled_time,
            ),
        )


class FlowchanClient(_FlowchanClient):
    """:class:`flowchan.client.FlowchanClient`, whose verbs block."""

    def read_flow_run(self, flow_run_id: UUID | str) -> FlowRun:  # type: ignore[override]
        """As there."""
        with blocking():
            return cast("FlowRun", super().read_flow_run(flow_run_id))

    def read_flow_runs(  # type: ignore[override]
        self,
        state: StateType | str | Iterable[StateType | str] | None = None,
        flow: str | None = None,
        limit: int = 200,
    ) -> list[FlowRun]:
        """As there."""
        with blocking():
            return cast("list[FlowRun]", super().read_flow_runs(state, flow, limit))

    def read_flow_run_states(self, flow_run_id: UUID | str) -> list[State]:  # type: ignore[override]
        """As there."""
        with blocking():
            return cast("list[State]", super().read_flow_run_states(flow_run_id))


class JSON(_JSON):
    """:class:`flowchan.blocks.system.JSON`, whose verbs block."""

    @classmethod
    def load(cls, name: str) -> Self:  # type: ignore[override]
        """As there."""
        with blocking():
            return cast("Self", super().load(name))

    def save(self, name: str, overwrite: bool = False) -> None:  # type: ignore[override]
        """As there."""
        with blocking():
            super().save(name, overwrite)

    @classmethod
    def delete(cls, name: str) -> None:  # type: ignore[override]
        """As there."""
        with blocking():
            super().delete(name)


def get_client() -> FlowchanClient:
    """As :func:`flowchan.get_client`."""
    return FlowchanClient()


__all__ = [
    "JSON",
    "AutomaticRunInput",
    "DeadLetter",
    "FlowchanClient",
    "InputReceiver",
    "RunInput",
    "cancel_flow_run",
    "flow",
    "get_client",
    "get_run_logger",
    "open_run",
    "pause_flow_run",
    "read_dead_letters",
    "receive_input",
    "resume_flow_run",
    "run_deployment",
    "send_input",
    "suspend_flow_run",
    "wait_for_flow_run",
]
