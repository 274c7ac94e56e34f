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
    buried: tuple[EntryId, ...]
    """What became dead letters meanwhile, having been handed out too often."""
    missing: tuple[int, int] | None = None
    """The first and the last number of what its sender has sent in front of it and the group was never handed, until
    :meth:`Claims.told`."""


class Claims:
    """The claims of one namespace's groups. A lost answer loses no message: the group says who has it."""

    def __init__(self, persistent: Persistent, settings: Settings) -> None:
        self.lease = settings.lease
        self._persistent = persistent
        self._keep = int(settings.retention * 1000)

    async def claim(
        self, stream: str, group: str, consumer: str, look: str, held: Iterable[EntryId], most: int | None = None
    ) -> Claim:
        """A group's next message for a consumer.

        ``look`` says whether to look first for messages of consumers that are gone (``1``), also for such that this one
        has and has never heard of (``2``); ``held`` are those that it knows it has; ``most`` says how often a message
        is handed out before it becomes a dead letter.
        """
        namespace, run, channel = keys.address(stream)
        dead_letters = keys.dead_letters(namespace, run, channel, group), keys.dead_letter_streams(namespace, run)
        names = [stream, *dead_letters, keys.heard(namespace, run, channel, group)]
        known = tuple(map(str, held))

        def given(again: bool) -> tuple[Any, ...]:
            about = (int(self.lease * 1000), "2" if again else look, self._keep, most or 0)
            return group, consumer, *about, channel, keys.checksum(stream), *known

        answer = await self._persistent.script(_where(stream), "next_work", names, given)
        entry, found, deliveries, buried, *missing = answer
        spent = tuple(map(EntryId.parse, buried))
        if not entry:
            return Claim(EntryId.parse(found), None, 0, spent)
        if missing:
            first, last = map(int, missing[0].split())
            return Claim(EntryId.parse(entry), found, deliveries, spent, (first, last))
        return Claim(EntryId.parse(entry), found, deliveries, spent)

    async def told(self, stream: str, group: str, entry: EntryId) -> None:
        """What is missing in front of a message need not be said again."""
        namespace, run, channel = keys.address(stream)
        await self._persistent.call(_where(stream), "HDEL", keys.heard(namespace, run, channel, group), str(entry))

    async def renew(self, stream: str, group: str, consumer: str, entries: Iterable[EntryId]) -> None:
        """Keep messages from being handed to another, for another lease."""
        await self._set_idle(stream, group, consumer, entries, 0.0)

    async def give_back(
        self, stream: str, group: str, consumer: str, entries: Iterable[EntryId], *, were_handed_out: bool
    ) -> None:
        """Have messages handed to another as soon as one looks; if these were not handed out, that does not count."""
        await self._set_idle(stream, group, consumer, entries, self.lease + 1, 0 if were_handed_out else 1)

    async def acknowledge(self, stream: str, group: str, entry: EntryId) -> None:
        """A message is done with."""
        await self._persistent.call(_where(stream), "XACK", stream, group, str(entry))

    async def bury(self, stream: str, group: str, consumer: str, entry: EntryId, reason: str, told: str) -> bool:
        """Make a message that a consumer has a dead letter; False if the consumer has it no more.

        ``told`` is for a person, and holds nothing of the message.
        """
        namespace, run, channel = keys.address(stream)
        names = [stream, keys.dead_letters(namespace, run, channel, group), keys.dead_letter_streams(namespace, run)]
        given = (group, consumer, str(entry), channel, keys.checksum(stream), self._keep, reason, told)
        return bool(await self._persistent.script(_where(stream), "bury_one", names, given))

    async def _set_idle(
        self, stream: str, group: str, consumer: str, entries: Iterable[EntryId], seconds: float, less: int = 0
    ) -> None:
        given = (group, consumer, int(seconds * 1000), less, *map(str, entries))
        await self._persistent.script(_where(stream), "renew_work", [stream], given)


def _where(stream: str) -> str:
    _, run, channel = keys.address(stream)
    return f"run {run}, channel {channel}"
