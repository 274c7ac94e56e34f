"""large: an echo of 1 KiB, 64 KiB and 1 MiB, as text and as bytes."""

from __future__ import annotations

from contextlib import ExitStack
from typing import NamedTuple

from benchmarks import figures
from benchmarks.contenders import Contender
from benchmarks.environment import environment
from benchmarks.loops import Loop
from benchmarks.processes import Pair, opened
from benchmarks.report import Column, Report, Target, progress
from benchmarks.rounds import alternate
from benchmarks.server import Server

FLOWCHAN = Contender("flowchan", "typed:Large", Loop.UVLOOP)
REDIS_PY = Contender("redis-py asyncio", "redis_py:Asyncio", Loop.UVLOOP)

SIZES = (1024, 64 * 1024, 1024 * 1024)
KINDS = ("text", "bytes")
COLUMNS = (
    Column("kib", "KiB", ",d"),
    Column("kind", "kind"),
    Column("contender", "contender"),
    Column("p50_ms", "round trip, p50 ms", ",.2f"),
    Column("p99_ms", "p99 ms", ",.2f"),
    Column("mib_per_second", "MiB/s", ",.0f"),
    Column("clients_cpu_ms", "clients' CPU ms", ",.2f"),
)


class Large(NamedTuple):
    """A contender, and what it echoes."""

    contender: Contender
    size: int
    kind: str


def run(*, quick: bool = False) -> list[Report]:
    rounds, much = (2, 4) if quick else (9, 8)
    trips = {1024: much * 5, 64 * 1024: much * 2, 1024 * 1024: much}
    with Server() as server, ExitStack() as stack, progress() as bar:
        about = environment(server.name)
        compared = [Large(each, size, kind) for size in SIZES for kind in KINDS for each in (FLOWCHAN, REDIS_PY)]
        task = bar.add_task("large", total=len(compared) * rounds)
        pairs = {each: stack.enter_context(Pair(each, server.socket)) for each in (FLOWCHAN, REDIS_PY)}
        opened(list(pairs.values()))

        def echo(each: Large) -> dict[str, float]:
            count = trips[each.size]
            pair = pairs[each.contender]
            pair.both("say", size=each.size, kind=each.kind)
            pair.each("ask_large", "answer_large", times=1)
            done = pair.each("ask_large", "answer_large", times=count)
            server.trim()
            times = done.client.nanoseconds
            return {
                "p50_ms": figures.quantile(times, 0.5) / 1e6,
                "p99_ms": figures.quantile(times, 0.99) / 1e6,
                "mib_per_second": 2 * each.size * count / 2**20 / (sum(times) / 1e9),
                "clients_cpu_ms": done.cpu_seconds / count * 1e3,
            }

        found = alternate(compared, rounds, echo, bar, task)
    return [
        Report(
            case="large",
            title=f"large: echo of a large message; medians of {rounds} rounds",
            parameters={"rounds": rounds, "trips": {str(size): count for size, count in trips.items()}},
            environment=about,
            rows=[
                {"kib": each.size // 1024, "kind": each.kind, "contender": each.contender.name, **found.medians(each)}
                for each in compared
            ],
            targets=[
                Target.of_ratio(
                    f"{size // 1024:,} KiB of {kind}: p50 / redis-py",
                    found.ratio("p50_ms", Large(FLOWCHAN, size, kind), Large(REDIS_PY, size, kind)),
                )
                for size in SIZES
                for kind in KINDS
            ],
            columns=COLUMNS,
        )
    ]
