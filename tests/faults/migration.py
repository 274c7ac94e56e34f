"""Slots move from node to node under those who send and receive there."""

from __future__ import annotations

import asyncio
import os
import random
import time

import anyio.to_thread

from flowchan.wire import keys
from tests.faults.fault import Broken, Fault, Progress, Seen
from tests.faults.surroundings import environment
from tests.support.cluster import PRIMARIES, Cluster
from tests.support.numbers import Numbers, numbers_flow, stored

RUNS = [f"run-{number}" for number in range(6)]
BACK = 10.0


def stream(run: str) -> str:
    return keys.stream(os.environ["FLOWCHAN_NAMESPACE"], run, "intautomaticruninput-auto")


async def _moves(cluster: Cluster, count: int, progress: Progress) -> tuple[Numbers, float]:
    chance, slowest = random.Random(count), 0.0
    async with numbers_flow(RUNS) as numbers:
        for done in range(count):
            key = stream(chance.choice(RUNS))
            source = cluster.primary(key)
            target = chance.choice([node for node in cluster.nodes[:PRIMARIES] if node is not source])
            start = time.monotonic()
            await anyio.to_thread.run_sync(cluster.move, keys.slot(key), target)
            await numbers.progress()
            slowest = max(slowest, time.monotonic() - start)
            progress(done + 1)
    return numbers, slowest


def moves_slots(count: int, progress: Progress) -> Seen:
    """One slot after the other, ``count`` times."""
    with Cluster() as cluster, environment(url=cluster.url):
        numbers, slowest = asyncio.run(_moves(cluster, count, progress))
        found = {run: stored(cluster.primary(stream(run)), stream(run)) for run in RUNS}
        refused = [name for node in cluster.nodes for name in node.ask("INFO", "errorstats")]
    total = sum(map(len, found.values()))
    counted = f"{count:,} moves, {total:,} messages of {len(RUNS)} runs"
    if found != numbers.received:
        raise Broken(counted, "what is stored is not what was received")
    if "errorstat_CROSSSLOT" in refused:
        raise Broken(counted, "CROSSSLOT")
    if slowest > BACK:
        raise Broken(counted, f"on again after {slowest:.1f} s")
    return Seen(counted, f"each stored and received once, in order; no CROSSSLOT; on again after ≤ {slowest:.1f} s")


FAULTS = (Fault("slot migration under load", "going again ≤ 10 s; no loss; no CROSSSLOT", 4, 100, moves_slots),)
