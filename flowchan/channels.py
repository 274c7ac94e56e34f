"""An explicit client, for those who want no global: its own broker, its own namespace, the same verbs."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import Any, Literal, TypeVar, overload
from uuid import UUID

from pydantic import BaseModel, ValidationError

from flowchan.context import open_run
from flowchan.errors import InvalidSettingError
from flowchan.input import (
    AutomaticRunInput,
    DeadLetter,
    InputReceiver,
    RunInputMetadata,
    read_dead_letters,
    receive_input,
    send_input,
)
from flowchan.input.terms import OnInvalid
from flowchan.settings import Settings, chosen

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


class Channels:
    """The verbs of the module, for one broker and namespace.

    ``Channels()`` does what the module's functions do. Connections are made on first use and end with the
    event loop that used them.

    Args:
        url: where the broker is, as ``FLOWCHAN_URL``. None: as the environment says.
        namespace: as ``FLOWCHAN_NAMESPACE``.
        settings: any other setting, by its field's name in :class:`flowchan.settings.Settings`.

    Raises:
        InvalidSettingError: a setting cannot be used.
    """

    def __init__(self, url: str | None = None, namespace: str | None = None, **settings: Any) -> None:
        given = {"url": url, "namespace": namespace, **settings}
        known = Settings.from_environment().model_dump()
        try:
            self.settings: Settings = Settings.model_validate(
                {**known, **{name: value for name, value in given.items() if value is not None}}
            )
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            raise InvalidSettingError(f"{problem['loc'][0]} cannot be used: {problem['msg']}.") from None

    def __repr__(self) -> str:
        return f"Channels(namespace={self.settings.namespace!r})"

    def open_run(self, flow_run_id: UUID | str | None = None, *, name: str | None = None) -> open_run:
        """As :func:`flowchan.open_run`; within it the module's functions, too, use this client."""
        return open_run(flow_run_id, name=name, settings=self.settings)

    def send_input(
        self,
        run_input: Any,
        flow_run_id: UUID | str,
        sender: str | None = None,
        key_prefix: str | None = None,
        idempotency_key: str | None = None,
    ) -> Awaitable[RunInputMetadata]:
        """As :func:`flowchan.send_input`."""
        with chosen(self.settings):
            return send_input(run_input, flow_run_id, sender, key_prefix, idempotency_key)

    @overload
    def receive_input(  # type: ignore[overload-overlap] # a model is a T, too: the first that fits holds
        self,
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
        self,
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
        self,
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
    def receive_input(self, input_type: Any, *args: Any, **kwargs: Any) -> InputReceiver[Any]: ...

    def receive_input(self, input_type: Any, *args: Any, **kwargs: Any) -> InputReceiver[Any]:
        """As :func:`flowchan.receive_input`."""
        with chosen(self.settings):
            return receive_input(input_type, *args, **kwargs)

    def read_dead_letters(
        self, flow_run_id: UUID | str | None = None, key_prefix: str | None = None, group: str | None = None
    ) -> Awaitable[list[DeadLetter]]:
        """As :func:`flowchan.input.read_dead_letters`."""
        with chosen(self.settings):
            return read_dead_letters(flow_run_id, key_prefix, group)
