"""spread: the same runs in two and in four client processes on one server; flowchan also on a Cluster of three nodes."""

from __future__ import annotations

from contextlib import ExitStack
from typing import NamedTuple

from benchmarks import figures
from benchmarks.cases.many import FLOWCHAN, LANES, LANES_ON_HIREDIS
from benchmarks.cluster import NODES, Cluster
from benchmarks.contenders import Contender
from benchmarks.environment import environment
from benchmarks.processes import Pair, total
from benchmarks.report import Column, Report, Target, progress
from benchmarks.rounds import alternate
from benchmarks.server import Server

COLUMNS = (
    Column("contender", "contender"),
    Column("servers", "servers", "d"),
    Column("processes", "client processes", "d"),
    Column("trips_per_second", "trips/s", ",.0f"),
    Column("p50_ms", "p50 ms", ".2f"),
    Column("p99_ms", "p99 ms", ".2f"),
    Column("clients_cpu_us", "clients µs", ".0f"),
    Column("server_cpu_us", "server µs", ".1f"),
)


class Spread(NamedTuple):
    """A contender in so many processes."""

    contender: Contender
    processes: int
    servers: int = 1


def run(*, quick: bool = False) -> list[Report]:
    runs, turns, rounds = (200, 5, 2) if quick else (1000, 20, 7)
    compared = [Spread(each, processes) for each in (FLOWCHAN, LANES, LANES_ON_HIREDIS) for processes in (2, 4)]
    compared += [Spread(FLOWCHAN, processes, NODES) for processes in (2, 4)]
    with Server() as server, Cluster() as cluster, ExitStack() as stack, progress() as bar:
        places = {1: server.socket, NODES: cluster.url}
        about = environment(server.name)
        task = bar.add_task("spread", total=len(compared) * rounds)
        pairs = {
            each: [stack.enter_context(Pair(each.contender, places[each.servers])) for _ in range(each.processes // 2)]
            for each in compared
        }
        for each, several in pairs.items():
            for pair in several:
                pair.both("open", runs=runs // len(several))
                pair.each("talk", "reply", turns=2)
            assert sum(runs // len(several) for _ in several) == runs, each

        def talk(each: Spread) -> dict[str, float]:
            of = server if each.servers == 1 else cluster
            before = of.cpu_seconds()
            for pair in pairs[each]:
                pair.begin("talk", "reply", turns=turns)
            done = [pair.end() for pair in pairs[each]]
            spent = of.cpu_seconds() - before
            count = runs * turns
            times = [time for part in done for time in part.client.result["nanoseconds"]]
            return {
                "trips_per_second": count / max(part.client.result["seconds"] for part in done),
                "p50_ms": figures.quantile(times, 0.5) / 1e6,
                "p99_ms": figures.quantile(times, 0.99) / 1e6,
                "clients_cpu_us": total(done) / count / 2 * 1e6,
                "server_cpu_us": spent / count / 2 * 1e6,
            }

        found = alternate(compared, rounds, talk, bar, task)
    return [
        Report(
            case="spread",
            title=f"spread: {runs:,} runs echo at once in two and four client processes, one server or a Cluster"
            f" of {NODES} nodes (TCP); medians of {rounds} rounds",
            parameters={"rounds": rounds, "runs": runs, "turns": turns, "cluster": cluster.name},
            environment=about,
            rows=[
                {
                    "contender": each.contender.name,
                    "servers": each.servers,
                    "processes": each.processes,
                    **found.medians(each),
                }
                for each in compared
            ],
            targets=[
                Target.of_ratio(
                    f"{each.name}: trips/s of 4 processes / 2",
                    found.ratio("trips_per_second", Spread(each, 4), Spread(each, 2)),
                )
                for each in (FLOWCHAN, LANES)
            ]
            + [
                Target.of_ratio(
                    f"{FLOWCHAN.name}, 4 processes: trips/s of {NODES} nodes / one server",
                    found.ratio("trips_per_second", Spread(FLOWCHAN, 4, NODES), Spread(FLOWCHAN, 4)),
                )
            ],
            columns=COLUMNS,
        )
    ]
