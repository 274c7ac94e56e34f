"""What groups are not handed any more: kept aside, looked at, sent again or thrown away."""

from __future__ import annotations

from typing import Any, NamedTuple

from flowchan.broker.commands import Commands
from flowchan.broker.paging import FIRST_PAGE, next_page
from flowchan.broker.persistent import Persistent
from flowchan.settings import Settings
from flowchan.wire import keys
from flowchan.wire.envelope import FOR_GROUP_FIELD
from flowchan.wire.keys import EntryId
from flowchan.wire.signing import Keyring

_OWN = 12
"""How many of a letter's fields and values are its own; ``scripts/bury.lua`` writes them, first."""


class Letter(NamedTuple):
    """A dead letter as it stands in its stream."""

    run: str
    channel: str
    group: str
    entry: EntryId
    reason: str
    key: str
    """That of the message."""
    deliveries: int
    error: str
    fields: list[bytes]
    """The message's, as they were."""


class DeadLetters:
    """The dead letters of one namespace's groups; who gets there is decided by the scripts that move them."""

    def __init__(self, persistent: Persistent, commands: Commands, settings: Settings) -> None:
        self._persistent = persistent
        self._commands = commands
        self._namespace = settings.namespace
        self._keep = int(settings.retention * 1000)
        self._keyring = Keyring.of(settings.signing_pairs)

    async def read(self, run: str, channel: str | None = None, group: str | None = None) -> list[Letter]:
        """Those of a run, of one channel or one group of it; oldest first."""
        found: list[Letter] = []
        for each in await self._places(run):
            if channel in (None, each[0]) and group in (None, each[1]):
                found += await self._read(run, *each)
        return sorted(found, key=lambda letter: letter.entry)

    async def count(self, run: str) -> int:
        """How many a run has."""
        places = await self._places(run)
        lengths = [("XLEN", keys.dead_letters(self._namespace, run, *place)) for place in places]
        return sum(await self._persistent.all(f"run {run}", lengths)) if lengths else 0

    async def resend(self, letter: Letter) -> EntryId | None:
        """Send one to its channel again, for its group alone; the new entry, or None if the letter is there no more.

        Of several who do so at once, and of one who does so again, each gets the same entry.

        Raises:
            SignatureError: there are signing keys, and none of them has signed it.
        """
        stream = keys.stream(self._namespace, letter.run, letter.channel)
        dead = self._stream(letter)
        names = [stream, dead, keys.resent(dead, letter.entry)]
        given: tuple[Any, ...] = (str(letter.entry), _OWN, FOR_GROUP_FIELD, letter.group, self._keep)
        if self._keyring is not None:
            given += tuple(self._keyring.signed_again(stream, letter.fields, {FOR_GROUP_FIELD: letter.group.encode()}))
        entry = await self._persistent.script(_where(letter), "resend_dead", names, given)
        return None if entry is None else EntryId.parse(entry)

    async def discard(self, letter: Letter) -> bool:
        """Throw one away; False if it is there no more."""

        async def ask(again: bool) -> bool:
            return bool(await self._commands.call("XDEL", self._stream(letter), str(letter.entry))) or again

        return await self._persistent.persist(_where(letter), ask)

    async def _places(self, run: str) -> list[tuple[str, str]]:
        """The channels and groups of which a run has had dead letters."""
        known = await self._persistent.call(f"run {run}", "SMEMBERS", keys.dead_letter_streams(self._namespace, run))
        pairs = (each.decode().partition(":") for each in known)
        return sorted((channel, group) for group, _, channel in pairs)

    async def _read(self, run: str, channel: str, group: str) -> list[Letter]:
        stream = keys.dead_letters(self._namespace, run, channel, group)
        found: list[Letter] = []
        begin, size = "-", FIRST_PAGE
        while True:
            page = await self._persistent.call(
                f"run {run}, channel {channel}", "XRANGE", stream, begin, "+", "COUNT", size
            )
            for entry, fields in page:
                own = dict(zip(fields[:_OWN:2], fields[1:_OWN:2], strict=False))
                reason, key, error = (own.get(b"dead." + name, b"").decode() for name in (b"reason", b"key", b"error"))
                deliveries = int(own.get(b"dead.deliveries", b"0"))
                about = (EntryId.parse(entry), reason, key, deliveries, error, fields[_OWN:])
                found.append(Letter(run, channel, group, *about))
            if len(page) < size:
                return found
            begin, size = f"({page[-1][0].decode()}", next_page(size, page)

    def _stream(self, letter: Letter) -> str:
        return keys.dead_letters(self._namespace, letter.run, letter.channel, letter.group)


def _where(letter: Letter) -> str:
    return f"run {letter.run}, channel {letter.channel}"
