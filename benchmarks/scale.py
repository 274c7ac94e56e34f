"""What many runs need, from measured costs: ``python -m benchmarks.scale [results.json]``.

A calculation, no measurement: it multiplies. Each assumption has a name below, and each cost comes from the results of
``python -m benchmarks``. What was not measured is not here: the network, replication, a Cluster's own talk.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import cyclopts

from benchmarks.report import RESULTS, Column, Report
from flowchan.broker.lane import WIDTH
from flowchan.wire.keys import PARTITIONS

LOAD = 0.6
"""Which part of a core is given away: beyond it, waits grow faster than throughput."""

DELAY = 0.02
"""Seconds that messages wait for each other in a lane when there are many: so often is a lane read at most."""

SERVER_MEMORY = 32 * 2**30
"""Bytes that one server holds: more takes too long to load after a restart."""

CLIENT_MEMORY = 4 * 2**30
"""Bytes that one client process holds."""

CONNECTION_BYTES = 2.7 * 1024
"""What a blocked connection costs the server, as it was measured once with Redis 7.0."""

MOST_CONNECTIONS = 10_000
"""``maxclients`` as servers come."""

OWN_CONNECTIONS = 2
"""Those of a client process to each server besides its lanes: one for sends, one for commands."""

RUNS = (10_000, 100_000, 1_000_000, 10_000_000)

RATES = {"a message a minute": 1 / 60, "a message a second": 1.0}
"""How often each run is spoken to: where it waits for a person, and where it talks with a model."""


@dataclass(frozen=True)
class Costs:
    """What was measured: seconds of processor time, and bytes."""

    server_message: float
    """The server, for one message in a crowd: stored, and read with others."""
    server_wake_1: float
    """The server, for one message to a lane that sleeps and has one stream."""
    server_wake_lane: float
    """The same for a lane of ``WIDTH`` streams, all of which are looked at."""
    client_message: float
    """The clients, for one message in a crowd: sent, and received."""
    client_bytes: float
    """A waiting receiver in a client process."""
    server_bytes_waiting: float
    """A run that waits and has not been spoken to, in the server."""
    server_bytes_spoken_to: float
    """A run's channel with a message in it."""

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Costs:
        """From the results of the cases many and idle.

        Raises:
            SystemExit: they are not among the results.
        """
        cases = {case["case"]: case["rows"] for case in document["cases"]}
        missing = {"many", "idle: waiting", "idle: existing"} - set(cases)
        if missing:
            raise SystemExit(f"The results lack {', '.join(sorted(missing))}: run the cases many and idle first.")
        crowd = [row for row in cases["many"] if row["contender"] == "flowchan" and 500 <= row["runs"] <= 1000][-1]
        one, most = [row for row in cases["idle: waiting"] if row["contender"] == "flowchan"]
        existing = {row["what"]: row["bytes"] for row in cases["idle: existing"]}
        return cls(
            server_message=crowd["server_cpu_us"] / 1e6,
            server_wake_1=one["server_cpu_us"] / 1e6,
            # Of two messages one woke a lane of WIDTH, and its answer one of one.
            server_wake_lane=(2 * most["server_cpu_us"] - one["server_cpu_us"]) / 1e6,
            client_message=crowd["clients_cpu_us"] / 1e6,
            client_bytes=most["kib_per_run"] * 1024,
            server_bytes_waiting=most["server_bytes_per_run"],
            server_bytes_spoken_to=existing["one message waits for it"],
        )

    def read(self, width: int) -> float:
        """The server, for waking a lane of ``width`` streams, without what the message itself costs."""
        wake = self.server_wake_1 + (self.server_wake_lane - self.server_wake_1) * (width - 1) / (WIDTH - 1)
        return max(0.0, wake - self.server_message)


@dataclass(frozen=True)
class Need:
    """What so many runs need."""

    servers: int
    """Of one core each, as Redis uses it for commands; so also the nodes of a Cluster."""
    because: str
    """What takes the most of a server."""
    clients: int
    """Client processes."""
    lanes: int
    connections: float
    """Of one server."""
    server_memory: float
    """Of one server, in bytes."""
    client_memory: float
    """Of one client process, in bytes."""


def need(runs: int, rate: float, costs: Costs, width: int = WIDTH) -> Need:
    """What ``runs`` need that wait, each of which is sent ``rate`` messages a second."""
    messages = runs * rate
    by_processor = messages * costs.client_message / LOAD
    clients = max(1, math.ceil(by_processor), math.ceil(runs * costs.client_bytes / CLIENT_MEMORY))
    servers = 1
    while True:
        # The streams of one read share a slot, so in a Cluster each process has lanes of each partition.
        parts = 1 if servers == 1 else PARTITIONS
        lanes = clients * min(math.ceil(runs / clients), parts * math.ceil(runs / clients / parts / width))
        reads = lanes * min(messages / lanes, 1 / DELAY)
        seconds = messages * costs.server_message + reads * costs.read(math.ceil(runs / lanes))
        connections = lanes / servers + clients * OWN_CONNECTIONS
        size = runs * max(costs.server_bytes_waiting, costs.server_bytes_spoken_to) / servers
        memory = size + connections * CONNECTION_BYTES
        parts_used = {
            "processor": seconds / servers / LOAD,
            "memory": memory / SERVER_MEMORY,
            "connections": connections / MOST_CONNECTIONS,
        }
        because = max(parts_used, key=lambda name: parts_used[name])
        if parts_used[because] <= 1 or clients * OWN_CONNECTIONS >= MOST_CONNECTIONS:
            break
        servers = max(servers + 1, math.ceil(servers * min(parts_used[because], 2)))
    return Need(
        servers=servers,
        because=f"{because} {parts_used[because]:.0%}",
        clients=clients,
        lanes=lanes,
        connections=connections,
        server_memory=memory,
        client_memory=runs * costs.client_bytes / clients,
    )


COLUMNS = (
    Column("runs", "runs", ",d"),
    Column("rate", "each is sent"),
    Column("width", "lane", "d"),
    Column("servers", "servers", ",d"),
    Column("because", "fullest with"),
    Column("namespaces", "names", "d"),
    Column("server_gib", "GiB each", ",.1f"),
    Column("connections", "conn. each", ",.0f"),
    Column("clients", "clients", ",d"),
    Column("client_gib", "GiB each", ",.2f"),
    Column("lanes", "lanes in all", ",d"),
)


def table(document: Mapping[str, Any], sizes: Sequence[int], widths: Sequence[int]) -> Report:
    """What each number of runs needs, at each rate and with lanes of each width."""
    costs = Costs.of(document)
    rows = []
    for runs in sizes:
        for name, rate in RATES.items():
            for width in widths:
                found = need(runs, rate, costs, width)
                rows.append(
                    {
                        **asdict(found),
                        "runs": runs,
                        "rate": name,
                        "width": width,
                        # A server has one partition at least.
                        "namespaces": math.ceil(found.servers / PARTITIONS),
                        "server_gib": found.server_memory / 2**30,
                        "client_gib": found.client_memory / 2**30,
                    }
                )
    source = "a smoke test, so the order of magnitude at best" if document["quick"] else "the costs measured"
    return Report(
        case="scale",
        title=f"What so many concurrent runs need; calculated from {source}",
        parameters=asdict(costs),
        environment=document["cases"][0]["environment"],
        rows=rows,
        targets=[],
        columns=COLUMNS,
    )


def main(
    results: Path = RESULTS / "all.json",
    *,
    runs: Annotated[tuple[int, ...], cyclopts.Parameter(consume_multiple=True)] = RUNS,
    widths: Annotated[tuple[int, ...], cyclopts.Parameter(consume_multiple=True)] = (WIDTH,),
) -> None:
    """What so many concurrent runs need, from measured costs.

    Parameters
    ----------
    results
        What ``python -m benchmarks`` has written, with the cases many and idle.
    runs
        How many there are.
    widths
        How many streams a lane has: what would be if it were another number.
    markdown
        Print it as it stands in the documentation.
    """
    found = table(json.loads(results.read_text()), runs, widths)
    found.show()
    print("Costs: " + ", ".join(f"{name} {value}" for name, value in told(found).items()))


def told(found: Report) -> dict[str, str]:
    """The costs that it was calculated from, by name and with their units."""
    return {
        name.replace("_", " "): f"{value:,.0f} bytes" if "bytes" in name else f"{value * 1e6:.0f} µs"
        for name, value in found.parameters.items()
    }


if __name__ == "__main__":
    cyclopts.run(main)
