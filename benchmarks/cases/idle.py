"""idle: 10 000 runs wait and one is spoken to; 100 000 runs exist and nobody receives in them."""

from __future__ import annotations

import statistics
from contextlib import ExitStack
from typing import NamedTuple

from benchmarks import figures
from benchmarks.cases.many import FLOWCHAN, LANES, LANES_ON_HIREDIS
from benchmarks.contenders import Contender
from benchmarks.environment import environment
from benchmarks.loops import Loop
from benchmarks.processes import Alone, Pair
from benchmarks.report import Column, Report, Target, progress
from benchmarks.rounds import alternate
from benchmarks.server import Server

EXISTING = Contender("flowchan", "existing:Typed", Loop.UVLOOP)

WAITING_COLUMNS = (
    Column("contender", "contender"),
    Column("waiting", "runs that wait", ",d"),
    Column("p50_us", "one way, p50 µs", ",.0f"),
    Column("p99_us", "one way, p99 µs", ",.0f"),
    Column("server_cpu_us", "server µs", ".0f"),
    Column("clients_cpu_us", "clients µs", ".0f"),
    Column("kib_per_run", "client KiB/run", ".2f"),
    Column("server_bytes_per_run", "server bytes/run", ",.0f"),
    Column("connections", "conn.", ".0f"),
)
EXISTING_AT_ONCE = 500
EXISTING_COLUMNS = (
    Column("what", "what a run is"),
    Column("runs", "runs", ",d"),
    Column("bytes", "bytes each in the server", ",.0f"),
)


class Waiting(NamedTuple):
    """A contender with so many runs that wait."""

    contender: Contender
    runs: int


class Existing(NamedTuple):
    """In what way so many runs exist."""

    what: str
    do: str | None
    runs: int


def run(*, quick: bool = False) -> list[Report]:
    return [_waiting(quick=quick), _existing(quick=quick)]


def _waiting(*, quick: bool) -> Report:
    many = 2000 if quick else 10_000
    rounds, turns = (3, 100) if quick else (15, 300)
    compared = [Waiting(each, runs) for each in (FLOWCHAN, LANES, LANES_ON_HIREDIS) for runs in (1, many)]
    held: dict[Waiting, dict[str, float]] = {}
    with Server() as server, ExitStack() as stack, progress() as bar:
        about = environment(server.name)
        task = bar.add_task("idle: ready", total=len(compared) * (rounds + 1))
        pairs = {each: stack.enter_context(Pair(each.contender, server.socket)) for each in compared}
        for each, pair in pairs.items():
            idle = server.connections()
            pair.both("open", runs=1)
            before = pair.each("talk", "reply", turns=2).peer
            server.settle()
            used = server.bytes_used()
            pair.client.call("open", runs=1)
            pair.peer.call("open", runs=each.runs)
            pair.peer.call("wait")
            server.settle()
            held[each] = {
                "kib_per_run": (pair.peer.call("processor").rss - before.rss) / each.runs / 1024,
                "server_bytes_per_run": (server.bytes_used() - used) / each.runs,
                "connections": server.connections() - idle,
            }
            pair.client.call("wake", turns=turns, among=each.runs, seed=0)
            bar.advance(task)
        bar.update(task, description="idle")
        seeds = dict.fromkeys(compared, 0)

        def wake(each: Waiting) -> dict[str, float]:
            seeds[each] += 1
            pair = pairs[each]
            spent, cpu = server.cpu_seconds(), pair.peer.call("processor").result
            done = pair.client.call("wake", turns=turns, among=each.runs, seed=seeds[each])
            peer = pair.peer.call("processor").result - cpu
            times = done.result["nanoseconds"]
            return {
                "p50_us": figures.quantile(times, 0.5) / 1e3,
                "p99_us": figures.quantile(times, 0.99) / 1e3,
                "server_cpu_us": (server.cpu_seconds() - spent) / turns / 2 * 1e6,
                "clients_cpu_us": (done.cpu_seconds + peer) / turns / 2 * 1e6,
                **held[each],
            }

        found = alternate(compared, rounds, wake, bar, task)
    most = Waiting(FLOWCHAN, many)
    return Report(
        case="idle: waiting",
        title=f"idle: one of many waiting runs is spoken to; one way, medians of {rounds} rounds of {turns}",
        parameters={"rounds": rounds, "turns": turns, "waiting": many},
        environment=about,
        rows=[
            {"contender": each.contender.name, "waiting": each.runs, **_without_trifles(each, found.medians(each))}
            for each in compared
        ],
        targets=[
            Target.of_ratio(
                f"wake-up p50 among {many:,} / chat's one way", found.ratio("p50_us", most, Waiting(FLOWCHAN, 1)), 2.0
            ),
            Target.of_ratio(
                f"wake-up p50 among {many:,} / bare lanes'", found.ratio("p50_us", most, Waiting(LANES, many))
            ),
            Target("RSS of a waiting receiver", held[most]["kib_per_run"], 8, unit="KiB"),
            Target("a waiting run in the server", held[most]["server_bytes_per_run"], 600, unit="bytes"),
        ],
        columns=WAITING_COLUMNS,
    )


def _without_trifles(each: Waiting, medians: dict[str, float]) -> dict[str, float]:
    # What one run takes is lost in what a process takes to get going.
    return {name: value for name, value in medians.items() if each.runs > 1 or "per_run" not in name}


def _existing(*, quick: bool) -> Report:
    runs, rounds = (2000, 1) if quick else (100_000, 3)
    kinds = (
        Existing("open_run, and nothing sent", None, runs),
        Existing("its receiver has gone", "left", runs),
        Existing("one message waits for it", "spoken_to", runs),
        Existing("by hand: a stream of one entry, msgpack and nothing else", "by_hand", runs),
        Existing("a flow's run that has ended, with record and states", "executed", runs // 4),
    )
    bytes_each: dict[Existing, list[float]] = {kind: [] for kind in kinds}
    with Server() as server, Alone(EXISTING, server.socket) as worker, progress() as bar:
        about = environment(server.name)
        task = bar.add_task("idle: existing", total=len(kinds) * rounds)
        for _ in range(rounds):
            for kind in kinds:
                server.forget()
                if kind.do is None:
                    bytes_each[kind].append(0.0)  # nothing is written that could be measured
                else:
                    worker.call(kind.do, count=EXISTING_AT_ONCE)  # so that buffers have their size
                    server.settle()
                    before = server.bytes_used()
                    worker.call(kind.do, count=kind.runs)
                    server.settle()
                    bytes_each[kind].append((server.bytes_used() - before) / kind.runs)
                bar.advance(task)
    rows = [{"what": kind.what, "runs": kind.runs, "bytes": statistics.median(bytes_each[kind])} for kind in kinds]
    return Report(
        case="idle: existing",
        title="idle: runs that exist, and nobody receives in them",
        parameters={"runs": runs, "rounds": rounds},
        environment=about,
        rows=rows,
        targets=[
            Target(f"in the server, {kind.what}", float(statistics.median(bytes_each[kind])), 600, unit="bytes")
            for kind in kinds
            if kind.do != "by_hand"
        ],
        columns=EXISTING_COLUMNS,
    )
