"""A slot moves to another node while messages are under way: each is stored once, and in order."""

from __future__ import annotations

import anyio
import anyio.to_thread
import pytest

from flowchan.wire import keys
from tests.support.cluster import Cluster, Node
from tests.support.numbers import numbers_flow, stored

pytestmark = pytest.mark.anyio

CHANNEL = "intautomaticruninput-auto"
TOGETHER = ["run-0", "run-4", "run-8"]
"""Runs of one partition or of several: all of the first one's slot are moved."""


def other(cluster: Cluster, node: Node) -> Node:
    return next(each for each in cluster.nodes[:3] if each is not node)


@pytest.mark.parametrize("times", [3, 30])
async def test_numbers_arrive_once_and_in_order_while_their_slot_moves(
    cluster: Cluster, namespace: str, times: int
) -> None:
    runs = [f"run-{number}" for number in range(6)]
    stream = keys.stream(namespace, runs[0], CHANNEL)
    slot = keys.slot(stream)

    async with numbers_flow(runs) as numbers:
        for _ in range(times):
            target = other(cluster, cluster.primary(stream))
            await anyio.to_thread.run_sync(cluster.move, slot, target)
            await numbers.progress()

    assert stored(cluster.primary(stream), stream) == numbers.received[runs[0]]
