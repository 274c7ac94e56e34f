"""history: the first new message behind many excluded ones, and the first of very many unread ones."""

from __future__ import annotations

import uuid
from contextlib import ExitStack
from typing import NamedTuple

from benchmarks import figures
from benchmarks.contenders import Contender
from benchmarks.environment import environment
from benchmarks.loops import Loop
from benchmarks.processes import Alone, Worker
from benchmarks.report import Column, Report, Target, progress
from benchmarks.rounds import alternate
from benchmarks.server import Server

FLOWCHAN = Contender("flowchan", "history_typed:Text", Loop.UVLOOP)
REDIS_PY = Contender("redis-py, from the beginning", "history_redis_py:Pages", Loop.UVLOOP)
CONTENDERS = (FLOWCHAN, REDIS_PY)

EXCLUDED_COLUMNS = (
    Column("contender", "contender"),
    Column("excluded", "excluded keys", ",d"),
    Column("first_ms", "first new message, ms", ",.2f"),
    Column("made_ms", "of it keys, ms", ",.2f"),
    Column("p99_ms", "p99 ms", ",.2f"),
    Column("kib", "KiB read", ",.1f"),
)
UNREAD_COLUMNS = (
    Column("contender", "contender"),
    Column("unread", "unread", ",d"),
    Column("first_ms", "first message, ms", ",.2f"),
    Column("grown_mib", "RSS +, MiB", ",.1f"),
    Column("per_second", "read/s", ",.0f"),
)


class History(NamedTuple):
    """A contender with so many messages that it has had."""

    contender: Contender
    excluded: int


def run(*, quick: bool = False) -> list[Report]:
    with Server() as server:
        return [_excluded(server, quick=quick), _unread(server, quick=quick)]


def _excluded(server: Server, *, quick: bool) -> Report:
    lengths = (0, 1000, 20_000) if quick else (0, 1000, 10_000, 100_000)
    rounds, times = (3, 5) if quick else (15, 10)
    about = environment(server.name)
    compared = [History(each, length) for each in CONTENDERS for length in lengths]
    with ExitStack() as stack, progress() as bar:
        task = bar.add_task("history: excluded", total=len(compared) * rounds)
        runs: dict[int, tuple[str, str]] = {}
        for length in lengths:
            name = uuid.uuid4().hex
            runs[length] = name, server.fill(name, length + 1)
        workers: dict[History, Worker] = {}
        for each in compared:
            workers[each] = stack.enter_context(Alone(each.contender, server.socket))
        for each in compared:
            workers[each].call("learn", run=_place(each, runs), count=each.excluded)
            workers[each].call("first", run=_place(each, runs))

        def resume(each: History) -> dict[str, float]:
            # Its own look at the figures is among what was sent; that is the same for all.
            before = server.bytes_sent()
            nothing = server.bytes_sent() - before
            before = server.bytes_sent()
            firsts = [workers[each].call("first", run=_place(each, runs)).result for _ in range(times)]
            read = server.bytes_sent() - before - nothing
            seconds = [first["seconds"] for first in firsts]
            return {
                "first_ms": figures.quantile(seconds, 0.5) * 1e3,
                "p99_ms": figures.quantile(seconds, 0.99) * 1e3,
                "made_ms": figures.quantile([first["made"] for first in firsts], 0.5) * 1e3,
                "next_ms": figures.quantile([first["seconds"] - first["made"] for first in firsts], 0.5) * 1e3,
                "kib": read / times / 1024,
            }

        found = alternate(compared, rounds, resume, bar, task)
    most, none = History(FLOWCHAN, lengths[-1]), History(FLOWCHAN, 0)
    return Report(
        case="history: excluded",
        title=f"history: first new message behind excluded ones; medians of {rounds} rounds of {times}",
        parameters={"rounds": rounds, "times": times, "lengths": list(lengths)},
        environment=about,
        rows=[
            {"contender": each.contender.name, "excluded": each.excluded, **found.medians(each)} for each in compared
        ],
        targets=[
            Target.of_ratio(
                f"first new message, {lengths[-1]:,} excluded keys / none", found.ratio("first_ms", most, none), 2.0
            ),
            Target.of_ratio(
                "the same, when the receiver is made and the keys are read", found.ratio("next_ms", most, none)
            ),
            Target.of_ratio(
                f"{lengths[-1]:,} excluded keys: flowchan / redis-py from the beginning",
                found.ratio("first_ms", most, History(REDIS_PY, lengths[-1])),
            ),
        ],
        columns=EXCLUDED_COLUMNS,
    )


def _unread(server: Server, *, quick: bool) -> Report:
    count, rounds = (50_000, 2) if quick else (1_000_000, 3)
    name = uuid.uuid4().hex
    about = environment(server.name)
    runs = {0: (name, server.fill(name, count))}
    compared = [History(each, 0) for each in CONTENDERS]
    with progress() as bar:
        task = bar.add_task("history: unread", total=len(compared) * rounds)

        def read(each: History) -> dict[str, float]:
            # Each time a new process: memory that grew once does not shrink.
            with Alone(each.contender, server.socket) as worker:
                worker.call("learn", run=name, count=0)
                done = worker.call("read_on", run=_place(each, runs), count=count).result
            return {
                "first_ms": done["first"] * 1e3,
                "grown_mib": done["grown"] / 2**20,
                "per_second": count / done["seconds"],
            }

        found = alternate(compared, rounds, read, bar, task)
    ours = compared[0]
    return Report(
        case="history: unread",
        title=f"history: {count:,} messages wait unread, and all are read; medians of {rounds} new processes",
        parameters={"rounds": rounds, "count": count},
        environment=about,
        rows=[{"contender": each.contender.name, "unread": count, **found.medians(each)} for each in compared],
        targets=[
            Target(f"{count:,} waiting: first message", found.median(ours, "first_ms"), 50, unit="ms"),
            Target(f"{count:,} waiting: RSS grows by", found.median(ours, "grown_mib"), 64, unit="MiB"),
        ],
        columns=UNREAD_COLUMNS,
    )


def _place(each: History, runs: dict[int, tuple[str, str]]) -> str:
    """The run as flowchan knows it; by hand, its stream."""
    return runs[each.excluded][each.contender is not FLOWCHAN]
