"""What is known of runs: read at will, changed by scripts, so that each change is whole or not there."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgpack

from flowchan.broker.persistent import Persistent
from flowchan.broker.witness import Witness
from flowchan.errors import FlowchanError, InvalidKeyError
from flowchan.settings import Settings
from flowchan.wire import keys

logger = logging.getLogger(__name__)

_PAGE = 256
_OVERDUE = 100


class Outcome(NamedTuple):
    """What became of a change."""

    what: str
    """``done``, or why not: ``unknown``, ``exists``, ``refused``, ``lost``, ``expired``, ``early``."""
    type: bytes
    """The state that the run has now: its type, …"""
    state_id: bytes
    """… its ID, …"""
    rest: bytes
    """… and the rest of it, as JSON."""
    entry: keys.EntryId
    """Its entry in the stream of the run's states."""


class Request(NamedTuple):
    """A deployment is asked to execute a run. Older ones are less."""

    entry: keys.EntryId
    run: bytes
    """As it stands there: whoever can write there has put it."""

    @classmethod
    def of(cls, entry: keys.EntryId, fields: Sequence[bytes]) -> Request:
        """What an entry of the stream says."""
        return cls(entry, dict(zip(fields[::2], fields[1::2], strict=False)).get(b"run", b""))


class Taken(NamedTuple):
    """What became of a request that was to be taken."""

    run: str | None
    """The run that is to be executed; None where another has it, or it wants no execution any more."""
    following: Request | None
    """The oldest request that waits there now."""


class Overdue(NamedTuple):
    """What was found overdue."""

    runs: list[str]
    """The runs to which something should have happened by now, by the broker's clock; a hundred a partition at most."""
    witnessed: int | None
    """Until when (the broker's milliseconds) the broker was there for a whole lease, by what this process has seen."""


class Records:
    """The records of one namespace's runs. What holds for a change is said in ``scripts/change_run.lua``.

    Every call is given again when its answer was lost, for as long as a send may take, and takes effect once.
    """

    def __init__(self, persistent: Persistent, settings: Settings) -> None:
        self._persistent = persistent
        self._namespace = settings.namespace
        self._keep = int(settings.retention * 1000)
        self._witness = Witness(settings.lease)

    async def change(
        self,
        run: str,
        state_id: str,
        state: bytes,
        rest: bytes,
        change: Mapping[str, Any],
        *,
        deployment: str | None = None,
        keep: float | None = None,
    ) -> Outcome:
        """Give a run its next state, of which ``rest`` is what is neither ID nor type; see the script.

        ``deployment`` asks for the run's execution in the same breath; ``keep`` is for how many seconds the run is
        remembered, if that is longer than the retention.
        """
        tag = keys.partition_tag(run)
        of_run = [keys.record(self._namespace, run), keys.states(self._namespace, run)]
        of_run += [keys.inputs(self._namespace, run), keys.due(self._namespace, tag), keys.runs(self._namespace, tag)]
        if deployment is not None:
            of_run.append(keys.requests(self._namespace, tag, deployment))
        whole = {**change, "keep": max(self._keep, int((keep or 0) * 1000))}

        def arguments(again: bool) -> tuple[Any, ...]:
            return msgpack.packb({**whole, "again": again}, use_bin_type=False), run, state_id, state, rest

        what, kind, now, more, entry = await self._persistent.script(f"run {run}", "change_run", of_run, arguments)
        return Outcome(what.decode(), kind, now, more, keys.EntryId.parse(entry) if entry else keys.FIRST)

    async def renew(self, holder: str, runs: Sequence[str], lease: float) -> dict[str, str]:
        """Keep runs of this holder from being overdue for ``lease`` seconds.

        Returns:
            The type of each one's state; an empty text for one that this holder has no more. None for those whose
            part of the broker does not answer, as long as another does.
        """
        by_tag: dict[str, list[str]] = {}
        for run in runs:
            by_tag.setdefault(keys.partition_tag(run), []).append(run)
        types: dict[str, str] = {}

        async def renew(tag: str, page: Sequence[str]) -> None:
            names = [keys.due(self._namespace, tag)]
            for run in page:
                names += [spell(self._namespace, run) for spell in (keys.record, keys.states, keys.inputs)]
            given = (holder, int(lease * 1000), self._keep, *page)
            answer = await self._persistent.script("leases", "renew_leases", names, given)
            types.update(zip(page, map(bytes.decode, answer), strict=True))

        # All at once: a node of a Cluster that is away is not to cost the leases of what the others hold.
        pages = [
            (tag, those[start : start + _PAGE])
            for tag, those in by_tag.items()
            for start in range(0, len(those), _PAGE)
        ]
        failures = await asyncio.gather(*(renew(*page) for page in pages), return_exceptions=True)
        for failure in failures:
            if isinstance(failure, BaseException) and (not types or not isinstance(failure, FlowchanError)):
                raise failure
            if isinstance(failure, FlowchanError):
                logger.warning("Some leases could not be renewed: %s", failure)
        return types

    async def take(
        self, deployment: str, tag: str, request: Request, holder: str, lease: float, state: Sequence[bytes | str]
    ) -> Taken:
        """Take the oldest request of a deployment in one partition: its run is the holder's now.

        ``state`` is the one that the run gets: its ID, its JSON, its type, the rest. Not given again when its answer was lost:
        a run whose taker never heard of it is overdue soon, and handed on.
        """
        run = _run_of(request, tag)
        # One of no run of this partition is looked at where nothing is, and goes.
        nothing = keys.nothing(self._namespace, tag)
        of_run = [spell(self._namespace, run) if run else nothing for spell in (keys.record, keys.states)]
        names = [keys.requests(self._namespace, tag, deployment), keys.due(self._namespace, tag), *of_run]
        given = (str(request.entry), run, holder, int(lease * 1000), *state, self._keep)
        is_taken, entry, other = await self._persistent.script("requests", "take_request", names, given, once=True)
        return Taken(run if is_taken else None, Request(keys.EntryId.parse(entry), other) if entry else None)

    async def fetch(self, run: str) -> dict[str, bytes]:
        """All fields of a run's record; empty where there is none."""
        (fields,) = await self.fetch_all([run])
        return fields

    async def fetch_with_clock(self, run: str) -> tuple[dict[str, bytes], bool]:
        """All fields of a run's record, and whether it is overdue by the broker's clock."""
        due = keys.due(self._namespace, keys.partition_tag(run))
        commands = [("HGETALL", keys.record(self._namespace, run)), ("ZSCORE", due, run), ("TIME",)]
        flat, score, time = await self._persistent.all(f"run {run}", commands)
        return fields_of(flat), score is not None and float(score) <= _milliseconds(time)

    async def fetch_all(self, runs: Sequence[str]) -> list[dict[str, bytes]]:
        """The records of several runs, in their order."""
        found: list[dict[str, bytes]] = []
        for start in range(0, len(runs), _PAGE):
            commands = [("HGETALL", keys.record(self._namespace, run)) for run in runs[start : start + _PAGE]]
            answers = await self._persistent.all("runs", commands)
            found += map(fields_of, answers)
        return found

    async def newest(self, limit: int, before: tuple[int, str] | None = None) -> list[tuple[int, str]]:
        """The newest runs, each with when it was made (milliseconds) before its ID; newest first.

        ``before`` is one that was returned: those that follow it.
        """
        end = "+inf" if before is None else f"({before[0]}"
        commands: list[tuple[Any, ...]] = []
        for tag in keys.TAGS:
            runs = ("ZREVRANGEBYSCORE", keys.runs(self._namespace, tag))
            commands.append((*runs, end, "-inf", "WITHSCORES", "LIMIT", 0, limit))
            if before is not None:  # many may have been made in one millisecond
                commands.append((*runs, before[0], before[0], "WITHSCORES"))
        found: list[tuple[int, str]] = []
        for flat in await self._persistent.all("runs", commands):
            found += [(int(float(flat[i + 1])), flat[i].decode()) for i in range(0, len(flat), 2)]
        return sorted((each for each in found if before is None or each < before), reverse=True)[:limit]

    async def streams_of(self, run: str) -> list[str]:
        """The streams of a run's channels that are there. It looks through all keys of the server that has them."""
        # A prefix holds nothing that a pattern reads otherwise. In a Cluster it leads the command to the run's node.
        pattern = keys.stream(self._namespace, run, "") + "*"
        found: set[str] = set()
        cursor: Any = 0
        while True:
            cursor, page = await self._persistent.call(
                f"run {run}", "SCAN", cursor, "MATCH", pattern, "COUNT", 1000, "TYPE", "stream"
            )
            found.update(key.decode() for key in page)
            if int(cursor) == 0:
                return sorted(key for key in found if not keys.address(key).channel.startswith("@"))

    async def overdue(self) -> Overdue:
        """The runs that are overdue, and whether the broker was there all the time, as far as this process knows."""
        began = time.monotonic()
        now = _milliseconds(await self._persistent.call("a clock", "TIME"))
        commands = [
            ("ZRANGEBYSCORE", keys.due(self._namespace, tag), "-inf", now, "LIMIT", 0, _OVERDUE) for tag in keys.TAGS
        ]
        pages = await self._persistent.all("runs", commands)
        witnessed = self._witness.saw(self._persistent.line, began, time.monotonic(), now)
        return Overdue([run.decode() for page in pages for run in page], witnessed)

    async def requests_waiting(self, deployment: str) -> dict[str, Request]:
        """The partitions in which requests of a deployment wait, each with the oldest one."""
        commands = [
            ("XRANGE", keys.requests(self._namespace, tag, deployment), "-", "+", "COUNT", 1) for tag in keys.TAGS
        ]
        pages = await self._persistent.all("requests", commands)
        oldest = ((tag, page[0]) for tag, page in zip(keys.TAGS, pages, strict=True) if page)
        return {tag: Request.of(keys.EntryId.parse(entry), fields) for tag, (entry, fields) in oldest}


def fields_of(flat: Sequence[bytes]) -> dict[str, bytes]:
    """A hash's fields, as HGETALL answers them."""
    return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


def _run_of(request: Request, tag: str) -> str:
    """The run that a request is for; an empty text where it is none of this partition."""
    try:
        run = keys.run_id(request.run.decode())
    except (InvalidKeyError, UnicodeDecodeError):
        return ""
    return run if keys.partition_tag(run) == tag else ""


def _milliseconds(time: Sequence[bytes]) -> int:
    """What the answer to TIME says."""
    seconds, micro = map(int, time)
    return seconds * 1000 + micro // 1000
