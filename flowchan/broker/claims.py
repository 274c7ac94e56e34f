"""A group's messages, claimed and kept by scripts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from flowchan.broker.persistent import Persistent
from flowchan.settings import Settings
from flowchan.wire import keys
from flowchan.wire.keys import EntryId


class Claim(NamedTuple):
    """What a consumer got of a stream."""

    entry: EntryId
    """The message; where there was none, the last that the stream has had."""
    fields: list[bytes] | None
    """What it says; None where there was none."""
    deliveries: int
    """How often it was handed out."""


class Claims:
    """The claims of one namespace's groups. A lost answer loses no message: the group says who has it."""

    def __init__(self, persistent: Persistent, settings: Settings) -> None:
        self.lease = settings.lease
        self._persistent = persistent
        self._keep = int(settings.retention * 1000)

    async def claim(self, stream: str, group: str, consumer: str, look: str, held: Iterable[EntryId]) -> Claim:
        """A group's next message for a consumer.

        ``look`` says whether to look first for messages of consumers that are gone (``1``), also for such that this one
        has and has never heard of (``2``); ``held`` are those that it knows it has.
        """
        known = tuple(map(str, held))

        def given(again: bool) -> tuple[Any, ...]:
            return group, consumer, int(self.lease * 1000), "2" if again else look, self._keep, *known

        entry, found, *deliveries = await self._persistent.script(_where(stream), "next_work", [stream], given)
        if not entry:
            return Claim(EntryId.parse(found), None, 0)
        return Claim(EntryId.parse(entry), found, int(deliveries[0]))

    async def renew(self, stream: str, group: str, consumer: str, entries: Iterable[EntryId]) -> None:
        """Keep messages from being handed to another, for another lease."""
        await self._set_idle(stream, group, consumer, entries, 0.0)

    async def give_back(self, stream: str, group: str, consumer: str, entries: Iterable[EntryId]) -> None:
        """Have messages handed to another as soon as one looks."""
        await self._set_idle(stream, group, consumer, entries, self.lease + 1)

    async def acknowledge(self, stream: str, group: str, entry: EntryId) -> None:
        """A message is done with."""
        await self._persistent.call(_where(stream), "XACK", stream, group, str(entry))

    async def _set_idle(
        self, stream: str, group: str, consumer: str, entries: Iterable[EntryId], seconds: float
    ) -> None:
        given = (group, consumer, int(seconds * 1000), *map(str, entries))
        await self._persistent.script(_where(stream), "renew_work", [stream], given)


def _where(stream: str) -> str:
    _, run, channel = keys.address(stream)
    return f"run {run}, channel {channel}"
