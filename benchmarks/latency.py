"""One conversation, closed loop, two processes: what a round trip takes with flowchan and without."""

from __future__ import annotations

import random
import statistics
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import cyclopts

from benchmarks import contenders, figures
from benchmarks.contenders import CONTENDERS, Contender
from benchmarks.environment import environment
from benchmarks.pair import Conversation, Pair
from benchmarks.report import Column, Report, Row, Target, progress
from benchmarks.server import Server

_COLUMNS = (
    Column("contender", "contender"),
    Column("loop", "loop"),
    Column("p50_us", "p50 µs", ".0f"),
    Column("p99_us", "p99 µs", ".0f"),
    Column("p50_ratio", "p50 ratio", ".2f"),
    Column("p99_ratio", "p99 ratio", ".2f"),
    Column("clients_cpu_us", "CPU µs", ".0f"),
    Column("server_cpu_us", "server CPU µs", ".0f"),
)


@dataclass
class _Rounds:
    """A contender's figures, one a round, in microseconds."""

    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    clients_cpu: list[float] = field(default_factory=list)
    server_cpu: list[float] = field(default_factory=list)

    def add(self, talk: Conversation, server_seconds: float) -> None:
        times = talk.client["nanoseconds"]
        self.p50.append(figures.quantile(times, 0.5) / 1e3)
        self.p99.append(figures.quantile(times, 0.99) / 1e3)
        self.clients_cpu.append((talk.client["cpu_seconds"] + talk.peer["cpu_seconds"]) / len(times) * 1e6)
        self.server_cpu.append(server_seconds / len(times) * 1e6)


_Found = dict[Contender, _Rounds]


def run(*, quick: bool = False, out: Path | None = None) -> None:
    """Round trips between two processes: sockets, hiredis, redis-py and flowchan, in turn on one server.

    Parameters
    ----------
    quick
        Fewer and shorter rounds: enough to see that all of it works.
    out
        The JSON file to write; benchmarks/results/latency.json by default.
    """
    rounds, trips, warm_up = (
        (3, 400, 200) if quick else (40, 500, 1000)
    )  # short rounds, so that one is over before its neighbours change
    with Server() as server:
        about = environment(server.name)
        found = _measure(server, CONTENDERS, rounds, trips, warm_up)
    Report(
        case="latency",
        title=f"Round trip between two processes: medians of {rounds} rounds of {trips},"
        " ratios to redis-py asyncio on uvloop",
        parameters={"rounds": rounds, "trips": trips, "warm_up": warm_up},
        environment=about,
        rows=[_row(contender, found) for contender in found],
        targets=_targets(found),
        columns=_COLUMNS,
    ).tell(out)


def _measure(server: Server, compared: Sequence[Contender], rounds: int, trips: int, warm_up: int) -> _Found:
    found: _Found = defaultdict(_Rounds, {contender: _Rounds() for contender in compared})
    with ExitStack() as stack, progress() as bar:
        pairs = {contender: stack.enter_context(Pair(contender, server.socket)) for contender in compared}
        task = bar.add_task("warm-up", total=len(pairs) * (rounds + 1))
        for pair in pairs.values():
            pair.wait_until_ready()
        for pair in pairs.values():
            pair.talk(warm_up)
            bar.advance(task)
        order = list(pairs)
        for number in range(rounds):
            # Nobody always follows the same one; the seed has a rerun take the same order.
            random.Random(number).shuffle(order)
            for contender in order:
                bar.update(task, description=f"round {number + 1}: {contender.name}")
                before = server.cpu_seconds()
                talk = pairs[contender].talk(trips)
                found[contender].add(talk, server.cpu_seconds() - before)
                bar.advance(task)
    return found


def _row(contender: Contender, found: _Found) -> Row:
    rounds, base = found[contender], found[contenders.REDIS_PY]
    return {
        "contender": contender.name,
        "loop": contender.loop.value,
        "p50_us": statistics.median(rounds.p50),
        "p99_us": statistics.median(rounds.p99),
        "p50_ratio": figures.ratio(rounds.p50, base.p50).median,
        "p99_ratio": figures.ratio(rounds.p99, base.p99).median,
        "clients_cpu_us": statistics.median(rounds.clients_cpu),
        "server_cpu_us": statistics.median(rounds.server_cpu),
    }


def _targets(found: _Found) -> list[Target]:
    def compared(
        what: str, ours: Contender, theirs: Contender, at_most: float | None = None, aim: float | None = None
    ) -> Target:
        found_ratio = figures.ratio(found[ours].p50, found[theirs].p50)
        return Target.of_ratio(f"p50 of {what}", found_ratio, at_most, aim)

    return [
        compared("flowchan / redis-py asyncio, on uvloop", contenders.FLOWCHAN, contenders.REDIS_PY, 1.25, 1.0),
        compared(
            "flowchan / redis-py asyncio with its default timeout, on uvloop",
            contenders.FLOWCHAN,
            contenders.REDIS_PY_AS_IT_COMES,
        ),
        compared("flowchan.sync / flowchan on uvloop", contenders.FLOWCHAN_SYNC, contenders.FLOWCHAN, 2.0),
        compared(
            "flowchan / redis-py asyncio, on plain asyncio",
            contenders.FLOWCHAN_ON_ASYNCIO,
            contenders.REDIS_PY_ON_ASYNCIO,
        ),
        compared("flowchan.sync / redis-py sync", contenders.FLOWCHAN_SYNC, contenders.REDIS_PY_SYNC),
    ]


if __name__ == "__main__":
    cyclopts.run(run)
