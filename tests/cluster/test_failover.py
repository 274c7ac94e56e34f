"""A primary falls, or hands over: whoever sends and whoever receives goes on with its replica."""

from __future__ import annotations

from collections.abc import Callable

import anyio.to_thread
import pytest

from flowchan.wire import keys
from tests.support.cluster import Cluster, Node
from tests.support.numbers import numbers_flow
from tests.support.waiting import eventually

pytestmark = pytest.mark.anyio

RUNS = [f"run-{number}" for number in range(3)]


def hand_over(cluster: Cluster, primary: Node) -> None:
    replica = cluster.replica(primary)
    replica.ask("CLUSTER", "FAILOVER")
    eventually(replica.is_primary, "the replica's taking over")


def kill(_: Cluster, primary: Node) -> None:
    primary.forget_connection()
    primary.server.kill()


def hold_up(_: Cluster, primary: Node) -> None:
    primary.forget_connection()
    primary.server.pause()


@pytest.mark.parametrize("happens, some_may_be_lost", [(hand_over, False), (kill, True), (hold_up, True)])
async def test_numbers_go_on_with_the_replica(
    replicated: Cluster, namespace: str, happens: Callable[[Cluster, Node], None], some_may_be_lost: bool
) -> None:
    stream = keys.stream(namespace, RUNS[0], "intautomaticruninput-auto")

    async with numbers_flow(RUNS, some_may_be_lost=some_may_be_lost) as numbers:
        primary = replicated.primary(stream)
        await anyio.to_thread.run_sync(happens, replicated, primary)
        await numbers.progress()
