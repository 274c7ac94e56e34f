"""many: N runs echo at once, two processes: lanes against a connection a receiver, and against lanes without types."""

from __future__ import annotations

from contextlib import ExitStack
from typing import NamedTuple

from rich.progress import Progress, TaskID

from benchmarks import figures
from benchmarks.contenders import Contender
from benchmarks.environment import environment
from benchmarks.loops import Loop
from benchmarks.processes import Pair
from benchmarks.report import Column, Report, Target, progress
from benchmarks.rounds import Rounds, alternate
from benchmarks.server import Server

FLOWCHAN = Contender("flowchan", "crowd_typed:Text", Loop.UVLOOP)
FLOWCHAN_ON_ASYNCIO = Contender("flowchan", "crowd_typed:Text", Loop.ASYNCIO)
FROZEN = Contender("flowchan, gc.freeze()", "crowd_typed:Frozen", Loop.UVLOOP)
CONNECTION_EACH = Contender("redis-py, a connection a receiver", "crowd_redis_py:ConnectionEach", Loop.UVLOOP)
LANES = Contender("bare lanes, redis-py", "crowd_redis_py:Lanes", Loop.UVLOOP)
LANES_ON_HIREDIS = Contender("bare lanes, hiredis", "crowd_hiredis:Lanes", Loop.UVLOOP)

CONTENDERS = (FLOWCHAN, FLOWCHAN_ON_ASYNCIO, FROZEN, CONNECTION_EACH, LANES, LANES_ON_HIREDIS)
MOST_CONNECTIONS = 256
"""What a process may need."""

_MANY = 1000
"""From how many runs on the collector is what takes the most, and is also told what it need not look at."""

_SPARE = 100
"""Connections that the server must have besides those of a crowd."""

COLUMNS = (
    Column("runs", "runs", ",d"),
    Column("contender", "contender"),
    Column("loop", "loop"),
    Column("trips_per_second", "trips/s", ",.0f"),
    Column("p50_ms", "p50 ms", ".2f"),
    Column("p99_ms", "p99 ms", ".2f"),
    Column("connections", "conn.", ".0f"),
    Column("clients_cpu_us", "clients µs", ".0f"),
    Column("server_cpu_us", "server µs", ".1f"),
    Column("kib_per_run", "KiB/run", ".1f"),
)


class Crowd(NamedTuple):
    """A contender with so many runs at once."""

    contender: Contender
    runs: int


def run(*, quick: bool = False) -> list[Report]:
    sizes = (100, 500) if quick else (1, 10, 100, 500, 1000, 10_000)
    rounds, trips = (2, 2000) if quick else (7, 20_000)
    found: dict[Crowd, dict[str, float]] = {}
    targets: list[Target] = []
    throughput: dict[int, list[float]] = {}
    unpaused: list[float] = []
    with Server() as server, progress() as bar:
        about = environment(server.name)
        task = bar.add_task("many", total=len(sizes) * len(CONTENDERS) * rounds)
        for runs in sizes:
            bar.update(task, description=f"many: {runs} runs")
            turns = max(2 if quick else 3, (trips if runs > 1 else trips // 5) // runs)
            fit = [
                each
                for each in CONTENDERS
                if each is not CONNECTION_EACH or 2 * runs + _SPARE < server.most_connections()
            ]
            if quick:
                fit.remove(FLOWCHAN_ON_ASYNCIO)
            if runs < _MANY:
                fit.remove(FROZEN)
            rounds_of_size = crowds(server, fit, runs, turns, rounds, bar, task)
            for contender in fit:
                found[Crowd(contender, runs)] = rounds_of_size.medians(contender)
            throughput[runs] = rounds_of_size.values(FLOWCHAN, "trips_per_second")
            if runs == 10_000:
                unpaused = rounds_of_size.values(FROZEN, "trips_per_second")
            targets += _targets(rounds_of_size, runs)
            server.forget()
    if 10_000 in throughput:
        most = found[Crowd(FLOWCHAN, 10_000)]
        ratio = figures.ratio(throughput[10_000], throughput[1000])
        targets.append(Target.of_ratio("10,000 runs: flowchan's trips/s / those at 1,000", ratio, at_least=0.7))
        frozen = figures.ratio(unpaused, throughput[1000])
        targets.append(Target.of_ratio("10,000 runs: with gc.freeze(), trips/s / those at 1,000", frozen))
        targets.append(Target("10,000 runs: connections a process", most["connections"], MOST_CONNECTIONS))
    return [
        Report(
            case="many",
            title=f"many: N runs echo at once, two processes; medians of {rounds} rounds; µs of CPU for a message,"
            " connections of a process (dash: would take more than the server has)",
            parameters={"sizes": list(sizes), "rounds": rounds, "trips": trips},
            environment=about,
            rows=[
                {
                    "runs": runs,
                    "contender": contender.name,
                    "loop": contender.loop.value,
                    **found.get(Crowd(contender, runs), {}),
                }
                for runs in sizes
                for contender in CONTENDERS
                if contender is CONNECTION_EACH or Crowd(contender, runs) in found
            ],
            targets=targets,
            columns=COLUMNS,
        )
    ]


def crowds(
    server: Server, contenders: list[Contender], runs: int, turns: int, rounds: int, bar: Progress, task: TaskID
) -> Rounds[Contender]:
    """The figures of each round with ``runs`` at once."""
    held: dict[Contender, dict[str, float]] = {}
    with ExitStack() as stack:
        pairs = {contender: stack.enter_context(Pair(contender, server.socket)) for contender in contenders}
        for contender, pair in pairs.items():
            # One after the other, so that what each takes can be told.
            idle = server.connections()
            pair.both("open", runs=1)
            before = pair.each("talk", "reply", turns=2)
            pair.both("open", runs=runs)
            after = pair.each("talk", "reply", turns=2)
            held[contender] = {
                "connections": (server.connections() - idle) / 2,
                "kib_per_run": sum(now.rss - then.rss for now, then in zip(after, before, strict=True))
                / 2
                / runs
                / 1024,
            }

        def talk(contender: Contender) -> dict[str, float]:
            before = server.cpu_seconds()
            done = pairs[contender].each("talk", "reply", turns=turns)
            spent = server.cpu_seconds() - before
            times, count = done.client.result["nanoseconds"], runs * turns
            return {
                "trips_per_second": count / done.client.result["seconds"],
                "p50_ms": figures.quantile(times, 0.5) / 1e6,
                "p99_ms": figures.quantile(times, 0.99) / 1e6,
                # A round trip is two messages.
                "clients_cpu_us": done.cpu_seconds / count / 2 * 1e6,
                "server_cpu_us": spent / count / 2 * 1e6,
                **held[contender],
            }

        return alternate(contenders, rounds, talk, bar, task)


def _targets(found: Rounds[Contender], runs: int) -> list[Target]:
    if runs not in (500, 1000):
        return []
    return [
        Target.of_ratio(
            f"{runs:,} runs: bare lanes' trips/s / a connection a receiver's",
            found.ratio("trips_per_second", LANES, CONNECTION_EACH),
        ),
        Target.of_ratio(
            f"{runs:,} runs: bare lanes' p99 / a connection a receiver's", found.ratio("p99_ms", LANES, CONNECTION_EACH)
        ),
        Target.of_ratio(
            f"{runs:,} runs: trips/s / a connection a receiver's",
            found.ratio("trips_per_second", FLOWCHAN, CONNECTION_EACH),
            at_least=3,
        ),
        Target.of_ratio(
            f"{runs:,} runs: trips/s / bare lanes'", found.ratio("trips_per_second", FLOWCHAN, LANES), at_least=0.8
        ),
        Target.of_ratio(
            f"{runs:,} runs: trips/s / bare lanes' on hiredis",
            found.ratio("trips_per_second", FLOWCHAN, LANES_ON_HIREDIS),
        ),
        Target.of_ratio(
            f"{runs:,} runs: p99 / a connection a receiver's", found.ratio("p99_ms", FLOWCHAN, CONNECTION_EACH), 0.25
        ),
    ]
