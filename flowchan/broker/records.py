"""What is known of runs: read at will, changed by scripts, so that each change is whole or not there."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple

import anyio
import msgpack

from flowchan.broker.commands import Commands
from flowchan.broker.connection import ConnectionLost, Refusal
from flowchan.broker.dialler import Dialler
from flowchan.broker.refusals import PASSING, translated
from flowchan.errors import BrokerUnavailable
from flowchan.wire import keys

_PASSING_PAUSE = 0.25
_PAGE = 256


class Outcome(NamedTuple):
    """What became of a change."""

    what: str
    """``done``, or why not: ``unknown``, ``exists``, ``refused``, ``lost``, ``expired``, ``early``."""
    state: bytes
    """The state that the run has now."""
    entry: keys.EntryId
    """Its entry in the stream of the run's states."""


class Taken(NamedTuple):
    """What was taken of a deployment's requests in one partition."""

    run: str | None
    """The run that is to be executed; None where no request waited."""
    following: keys.EntryId | None
    """The entry of the next request that waits there."""


class Records:
    """The records of one namespace's runs. What holds for a change is said in ``scripts/change_run.lua``.

    Every call is given again when its answer was lost, for as long as a send may take, and takes effect once.
    """

    def __init__(self, dialler: Dialler, commands: Commands) -> None:
        self._dialler = dialler
        self._commands = commands
        self._namespace = dialler.settings.namespace
        self._keep = int(dialler.settings.retention * 1000)

    async def change(
        self,
        run: str,
        state_id: str,
        state: bytes,
        change: Mapping[str, Any],
        *,
        deployment: str | None = None,
        keep: float | None = None,
    ) -> Outcome:
        """Give a run its next state; see the script for what a change may say.

        ``deployment`` asks for the run's execution in the same breath; ``keep`` is for how many seconds the run is
        remembered, if that is longer than the retention.
        """
        tag = keys.partition_tag(run)
        of_run = [keys.record(self._namespace, run), keys.states(self._namespace, run)]
        of_run += [keys.inputs(self._namespace, run), keys.due(self._namespace, tag), keys.runs(self._namespace, tag)]
        if deployment is not None:
            of_run.append(keys.requests(self._namespace, tag, deployment))
        whole: dict[str, Any] = {
            "set": {},
            "inputs": {},
            "follows": {},
            "clear": [],
            "counts": [],
            "forget": [],
            **change,
        }
        whole["keep"] = max(self._keep, int((keep or 0) * 1000))

        def arguments(*, again: bool) -> tuple[Any, ...]:
            return msgpack.packb({**whole, "again": again}, use_bin_type=False), run, state_id, state

        what, now, entry = await self._script("change_run", of_run, arguments, f"run {run}")
        return Outcome(what.decode(), now, keys.EntryId.parse(entry) if entry else keys.FIRST)

    async def renew(self, holder: str, runs: Sequence[str], lease: float) -> dict[str, str]:
        """Keep runs of this holder from being overdue for ``lease`` seconds.

        Returns:
            The type of each one's state; an empty text for one that this holder has no more.
        """
        by_tag: dict[str, list[str]] = {}
        for run in runs:
            by_tag.setdefault(keys.partition_tag(run), []).append(run)
        types: dict[str, str] = {}
        for tag, those in by_tag.items():
            for start in range(0, len(those), _PAGE):
                page = those[start : start + _PAGE]
                names = [keys.due(self._namespace, tag)]
                for run in page:
                    names += [spell(self._namespace, run) for spell in (keys.record, keys.states, keys.inputs)]
                given = (holder, int(lease * 1000), self._keep, *page)
                answer = await self._script("renew_leases", names, lambda *, again, given=given: given, "leases")  # noqa: ARG005
                types.update(zip(page, map(bytes.decode, answer), strict=True))
        return types

    async def take(self, deployment: str, tag: str, holder: str, lease: float, state: Sequence[bytes | str]) -> Taken:
        """Take the oldest request of a deployment in one partition: its run is the holder's now.

        ``state`` is the one that the run gets: its ID, its JSON, its type. Not given again when its answer was lost:
        a run whose taker never heard of it is overdue soon, and handed on.
        """
        names = [keys.requests(self._namespace, tag, deployment), keys.due(self._namespace, tag)]
        given = (holder, int(lease * 1000), *state, self._keep)
        run, following = await self._script("take_request", names, lambda *, again: given, "requests", once=True)  # noqa: ARG005
        return Taken(run.decode() or None, keys.EntryId.parse(following) if following else None)

    async def next_work(
        self, stream: str, group: str, consumer: str, lease: float, look: str, held: Iterable[str]
    ) -> Sequence[Any]:
        """A group's next message for a consumer; see ``scripts/next_work.lua``."""
        known = tuple(held)

        def given(*, again: bool) -> tuple[Any, ...]:
            # If an answer was lost, so may be a message: the group says that this consumer has it.
            return group, consumer, int(lease * 1000), "2" if again else look, self._keep, *known

        answer: Sequence[Any] = await self._script("next_work", [stream], given, _where(stream))
        return answer

    async def renew_work(
        self, stream: str, group: str, consumer: str, entries: Iterable[str], idle: float = 0.0
    ) -> list[str]:
        """Keep messages from being handed to another, or give them back; those that the consumer has no more."""
        given = (group, consumer, int(idle * 1000), *entries)
        answer = await self._script("renew_work", [stream], lambda *, again: given, _where(stream))  # noqa: ARG005
        return [entry.decode() for entry in answer]

    async def fetch(self, run: str) -> dict[str, bytes]:
        """All fields of a run's record; empty where there is none."""
        (fields,) = await self.fetch_all([run])
        return fields

    async def fetch_with_clock(self, run: str) -> tuple[dict[str, bytes], bool]:
        """All fields of a run's record, and whether it is overdue by the broker's clock."""
        due = keys.due(self._namespace, keys.partition_tag(run))
        commands = [("HGETALL", keys.record(self._namespace, run)), ("ZSCORE", due, run), ("TIME",)]
        flat, score, (seconds, micro) = await self._all(commands, f"run {run}")
        now = int(seconds) * 1000 + int(micro) // 1000
        fields = {flat[i].decode(): flat[i + 1] for i in range(0, len(flat), 2)}
        return fields, score is not None and float(score) <= now

    async def fetch_all(self, runs: Sequence[str]) -> list[dict[str, bytes]]:
        """The records of several runs, in their order."""
        found: list[dict[str, bytes]] = []
        for start in range(0, len(runs), _PAGE):
            commands = [("HGETALL", keys.record(self._namespace, run)) for run in runs[start : start + _PAGE]]
            answers = await self._all(commands, "runs")
            found += [{flat[i].decode(): flat[i + 1] for i in range(0, len(flat), 2)} for flat in answers]
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
        for flat in await self._all(commands, "runs"):
            found += [(int(float(flat[i + 1])), flat[i].decode()) for i in range(0, len(flat), 2)]
        return sorted((each for each in found if before is None or each < before), reverse=True)[:limit]

    async def streams_of(self, run: str) -> list[str]:
        """The streams of a run's channels that are there. It looks through all keys of the server."""
        prefix = keys.stream(self._namespace, run, "")
        pattern = "".join(f"\\{each}" if each in "\\*?[]{}" else each for each in prefix) + "*"
        found: set[str] = set()
        cursor: Any = 0
        while True:
            cursor, page = await self.call(
                f"run {run}", "SCAN", cursor, "MATCH", pattern, "COUNT", 1000, "TYPE", "stream"
            )
            found.update(key.decode() for key in page)
            if int(cursor) == 0:
                return sorted(key for key in found if not keys.address(key).channel.startswith("@"))

    async def overdue(self, tags: Sequence[str] = keys.TAGS, limit: int = 100) -> list[str]:
        """Runs to which something should have happened by now, by the broker's clock."""
        seconds, micro = await self.call("a clock", "TIME")
        now = int(seconds) * 1000 + int(micro) // 1000
        commands = [("ZRANGEBYSCORE", keys.due(self._namespace, tag), "-inf", now, "LIMIT", 0, limit) for tag in tags]
        return [run.decode() for page in await self._all(commands, "runs") for run in page]

    async def requests_waiting(self, deployment: str) -> dict[str, keys.EntryId]:
        """The partitions in which requests of a deployment wait, each with the oldest request's entry."""
        commands = [
            ("XRANGE", keys.requests(self._namespace, tag, deployment), "-", "+", "COUNT", 1) for tag in keys.TAGS
        ]
        pages = await self._all(commands, "requests")
        return {tag: keys.EntryId.parse(page[0][0]) for tag, page in zip(keys.TAGS, pages, strict=True) if page}

    async def call(self, where: str, *command: Any) -> Any:
        """Give one command that can be given twice."""
        (answer,) = await self._all([command], where)
        return answer

    async def _all(self, commands: Sequence[tuple[Any, ...]], where: str) -> list[Any]:
        """Give commands that can be given twice, together, and have all their answers."""

        async def ask(*, again: bool) -> list[Any]:  # noqa: ARG001
            under_way = [self._commands.ask(*command) for command in commands]
            answers = [await answer for answer in under_way]
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
            return answers

        return await self._persist(ask, where)  # type: ignore[no-any-return]

    async def _script(self, name: str, names: Sequence[str], arguments: Any, where: str, *, once: bool = False) -> Any:
        text, digest = _script(name)

        async def ask(*, again: bool) -> Any:
            given = (len(names), *names, *arguments(again=again))
            try:
                return await self._commands.call("EVALSHA", digest, *given)
            except Refusal as refusal:
                if refusal.code != "NOSCRIPT":
                    raise
            return await self._commands.call("EVAL", text, *given)

        return await self._persist(ask, where, once=once)

    async def _persist(self, ask: Any, where: str, *, once: bool = False) -> Any:
        again = False
        refused: Refusal | None = None
        with anyio.move_on_after(self._dialler.settings.send_timeout):
            while True:
                try:
                    return await ask(again=again)
                except ConnectionLost:
                    if once:
                        break
                    again = True
                except Refusal as refusal:
                    if refusal.code not in PASSING:
                        raise translated(refusal, self._dialler.name, where) from None
                    refused = refusal
                    await anyio.sleep(_PASSING_PAUSE)
        if refused is not None and self._dialler.trouble is None:
            raise translated(refused, self._dialler.name, where) from None
        why = self._dialler.trouble or f"{self._dialler.name} did not answer."
        raise BrokerUnavailable(f"What is known of runs could not be read or changed ({where}): {why}")


def _where(stream: str) -> str:
    _, run, channel = keys.address(stream)
    return f"run {run}, channel {channel}"


@functools.cache
def _script(name: str) -> tuple[str, str]:
    text = (resources.files("flowchan.broker") / "scripts" / f"{name}.lua").read_text()
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
