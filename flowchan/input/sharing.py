"""A receiver's part in its group: what it was handed, what it has done with, and what it can give to nobody."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final, TypeAlias

from pydantic import BaseModel, ValidationError

from flowchan import bridge
from flowchan.broker.broker import Broker, broker_of_this_loop
from flowchan.broker.source import Entry
from flowchan.broker.work import Missing, Work
from flowchan.context import calls_are_async
from flowchan.dual import asked
from flowchan.errors import DecodeError, MessagesLost
from flowchan.input import invalid
from flowchan.input.handling import Handling, Worker, caller
from flowchan.input.terms import Terms
from flowchan.input.vetting import Vetting
from flowchan.settings import Settings
from flowchan.wire import keys
from flowchan.wire.envelope import FOR_GROUP, Envelope, from_fields
from flowchan.wire.keys import EntryId

NOTHING: Final[Any] = object()
"""In the place of a value: the message was none for who asked."""

Burial: TypeAlias = Callable[[float | None], Coroutine[Any, Any, None]]
"""Makes a message a dead letter; waits for so many seconds."""


class Sharing:
    """Guarantees: a message that was handed to somebody is theirs until they ask for the next, or :meth:`ack`.

    One that cannot be read, or does not fit, is told, skipped or a dead letter, as the terms say.
    """

    def __init__(self, terms: Terms, settings: Settings, model: type[BaseModel]) -> None:
        self._terms = terms
        self._settings = settings
        self._model = model
        self._handling = Handling(settings)

    def work(self, broker: Broker, last: Mapping[str, EntryId], poll_interval: float) -> Work:
        """The group's messages, from a broker."""
        return broker.work(last, self._terms.group, poll_interval, self._terms.max_deliveries)

    def asks(self) -> Worker:
        """Who asks for the next message has done with what it was handed before."""
        asker = caller()
        for work, entry in self._handling.finish(asker):
            _finish(work, entry)
        return asker

    def ack(self) -> Awaitable[None]:
        """Who calls has done with what it was handed."""
        finished = self._handling.finish(caller())

        async def acknowledged(broker: Broker) -> None:
            for work, entry in finished:
                acknowledging = work.acknowledge(entry)
                if work.loop is not broker.loop:
                    there = asyncio.run_coroutine_threadsafe(acknowledging, work.loop)
                    await asyncio.wrap_future(there)
                else:
                    await acknowledging

        if calls_are_async():  # on its way, whether it is awaited or not
            return asyncio.ensure_future(acknowledged(broker_of_this_loop(self._settings)))
        return asked(acknowledged, self._settings)

    def is_for_it(self, envelope: Envelope) -> bool:
        """Whether the message is not for another group alone."""
        return envelope.headers.get(FOR_GROUP, self._terms.group) == self._terms.group

    def take(self, asker: Worker, work: Work, entry: Entry, read: Callable[[Entry], Any]) -> tuple[Any, Burial | None]:
        """What a message is to the one who asked: what ``read`` makes of it, or nothing, and perhaps a burial to be done.

        Raises:
            DecodeError, ValidationError: it is none, and the terms are that this is raised.
        """
        self._handling.give(asker, work, entry)
        try:
            found = read(entry)
        except (DecodeError, ValidationError) as error:
            self._handling.take_back(asker, entry)
            return NOTHING, self._given_up(work, entry, error)
        if found is NOTHING:
            self._handling.take_back(asker, entry)
            _finish(work, entry)
        return found, None

    def tell(self, work: Work, entry: Entry, missing: Missing, vetting: Vetting | None) -> None:
        """Say what is missing in front of a message, unless that is not to be believed. The message is the next call's.

        Raises:
            MessagesLost: some that its sender has sent before it never came to the group.
        """
        try:
            sender = from_fields(entry.fields).sender
            is_believed = vetting is None or vetting.is_signed(entry)
        except DecodeError:
            sender, is_believed = None, False
        _on_its_loop(work, work.told, entry, missing.until if is_believed else None)
        if is_believed:
            _, run, channel = keys.address(entry.stream)
            raise MessagesLost(missing.first, missing.last, sender=sender, where=f"run {run}, channel {channel}")

    def forget(self) -> None:
        """The receiver is closed: what it was handed and has not acknowledged comes to others."""
        self._handling.forget()

    def _given_up(self, work: Work, entry: Entry, error: DecodeError | ValidationError) -> Burial | None:
        terms = self._terms
        if terms.on_invalid == "raise":
            _finish(work, entry)  # it stays in its stream, for a look at it
            raise error
        why = invalid.told(error, self._model)
        if terms.on_invalid == "dead-letter":
            invalid.log(entry.stream, entry.id, terms.group, "is a dead letter", why)
            return functools.partial(work.bury, entry, invalid.reason_of(error), why)
        invalid.log(entry.stream, entry.id, terms.group, "was skipped", why)
        _finish(work, entry)
        return None


def _finish(work: Work, entry: Entry) -> None:
    """Acknowledge a message, from whatever thread; nobody waits for that."""
    _on_its_loop(work, work.finish, entry)


def _on_its_loop(work: Work, do: Callable[..., None], *given: Any) -> None:
    if bridge.loop_of_this_thread() is work.loop:
        do(*given)
        return
    with contextlib.suppress(RuntimeError):  # the loop ended: it comes again
        work.loop.call_soon_threadsafe(do, *given)
