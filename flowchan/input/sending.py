"""A send: on its way when it is called, awaited by who wants to know that it is stored."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Generator
from typing import Any
from uuid import UUID

from flowchan import bridge
from flowchan.broker.broker import Broker, broker_of_this_loop
from flowchan.broker.sent import Sent, log_failure
from flowchan.context import calls_are_async, current_run
from flowchan.errors import InvalidKeyError
from flowchan.input.body import body_of_value, fingerprint, is_made_for_a_type
from flowchan.input.metadata import RunInputMetadata, metadata_later
from flowchan.input.types import channel_of
from flowchan.settings import Settings, current_settings
from flowchan.wire import keys


class Sending(Coroutine[Any, Any, RunInputMetadata]):
    """A send under way. ``await`` waits until the broker has stored it, and raises why if it has not.

    It need not be awaited: it is delivered all the same, and if it fails, that is logged. It passes for a
    coroutine where one is asked for, as in ``asyncio.create_task``.
    """

    __slots__ = ("_is_told", "_iterator", "_sender", "_sent")

    def __init__(self, sent: Sent, sender: str | None) -> None:
        self._sent = sent
        self._sender = sender
        self._is_told = False
        self._iterator: Generator[Any, Any, RunInputMetadata] | None = None

    def __await__(self) -> Generator[Any, Any, RunInputMetadata]:
        sent = self._sent
        if not sent.is_over:
            yield from sent.over()
        return self.result()

    def over(self) -> asyncio.Future[None]:
        """A future that is done when it is known what became of the send."""
        return self._sent.over()

    def result(self) -> RunInputMetadata:
        """What became of it: the metadata of what was stored, or the error."""
        sent = self._sent
        self._is_told = True
        if sent.entry is None:
            assert sent.error is not None  # noqa: S101 - that is how else it can be over
            raise sent.error
        return metadata_later(sent.destination.stream, sent.entry, self._sender)

    def send(self, value: Any) -> Any:
        """Go on, as a coroutine does."""
        if self._iterator is None:
            self._iterator = self.__await__()
        return self._iterator.send(value)

    def throw(self, *error: Any) -> Any:
        """Raise within, as in a coroutine."""
        if self._iterator is None:
            self._iterator = self.__await__()
        return self._iterator.throw(*error)

    def close(self) -> None:
        """Stop waiting; the send goes on."""
        if self._iterator is not None:
            self._iterator.close()

    def __del__(self) -> None:
        if self._is_told:
            return
        if self._sent.error is not None:
            log_failure(self._sent)
        else:
            self._sent.is_unwatched = True


def _can_be_idempotency_key(value: Any) -> bool:
    with contextlib.suppress(UnicodeEncodeError):  # half of a surrogate pair is no character
        return isinstance(value, str) and bool(value.encode()) and len(value) <= 256
    return False


def deliver(
    value: Any,
    flow_run_id: UUID | str,
    sender: str | None,
    key_prefix: str | None,
    idempotency_key: str | None,
    settings: Settings | None = None,
) -> Any:
    """Send a value to a run: a :class:`Sending` in async code; in sync code the metadata, once it is stored.

    Everything that can be wrong with the value or the names is raised here, before anything is sent.
    """
    settings = settings or current_settings()
    cls = type(value)
    if is_made_for_a_type(cls):
        value = value.value
        cls = type(value)
    run = keys.run_id(flow_run_id)
    channel = channel_of(cls) if key_prefix is None else keys.channel_name(key_prefix)
    stream = keys.stream(settings.namespace, run, channel)
    if sender is None:
        context = current_run()
        sender = context.sender if context is not None else None
    once: str | None = None
    if idempotency_key is not None:
        if not _can_be_idempotency_key(idempotency_key):
            raise InvalidKeyError("An idempotency key is a string of 1 to 256 characters.")
        once = keys.once(settings.namespace, run, channel, idempotency_key)
    body = body_of_value(value)
    schema = fingerprint(cls)

    def send(broker: Broker) -> Sending:
        return Sending(broker.outbox.send(stream, sender, schema, {}, body, once), sender)

    if calls_are_async():
        return send(broker_of_this_loop(settings))
    sending: list[Sending] = []

    def send_and_wait(broker: Broker) -> asyncio.Future[None]:
        # A future, not the coroutine: that would have a task made of it, and a thread waits for each step.
        sending.append(send(broker))
        return sending[0].over()

    bridge.call(send_and_wait, settings)
    return sending[0].result()
