"""A primary falls, or hands over: whoever sends and whoever receives goes on with its replica."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import anyio.to_thread
import pytest

from flowchan.broker.broker import broker_of_this_loop
from flowchan.errors import BrokerUnavailable
from flowchan.settings import current_settings
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


async def test_what_is_given_while_nobody_has_a_slot_is_done_in_its_order(replicated: Cluster, namespace: str) -> None:
    broker = broker_of_this_loop(current_settings())
    tag = keys.partition_tag("run-0")
    runs = [name for name in (f"run-{number}" for number in range(2000)) if keys.partition_tag(name) == tag]
    await broker.store(keys.inputs(namespace, runs[0]), {"field": b"0"})
    primary = replicated.primary(keys.inputs(namespace, runs[0]))

    kill(replicated, primary)
    async with anyio.create_task_group() as tasks:
        for run in runs:
            # Two commands each: if the second one is done first, the key is kept for ever.
            tasks.start_soon(broker.store, keys.inputs(namespace, run), {"field": b"1"})

    assert len(runs) > 10
    assert not replicated.lasting(f"{namespace}:*@inputs")


async def test_who_waits_in_vain_is_told_which_node_is_away_and_why(
    namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Cluster() as own:
        monkeypatch.setenv("FLOWCHAN_URL", own.url)
        monkeypatch.setenv("FLOWCHAN_SEND_TIMEOUT", "1")
        broker = broker_of_this_loop(current_settings())
        await broker.records.fetch("run")
        away = own.primary(keys.record(namespace, "run"))
        kill(own, away)

        with pytest.raises(BrokerUnavailable, match=rf"\(runs\): .*127\.0\.0\.1:{away.port} cannot be reached: \w+"):
            await broker.records.fetch("run")
        await broker.close()


@pytest.mark.parametrize("happens, some_may_be_lost", [(hand_over, False), (kill, True), (hold_up, True)])
async def test_numbers_go_on_with_the_replica(
    replicated: Cluster, namespace: str, happens: Callable[[Cluster, Node], None], some_may_be_lost: bool
) -> None:
    stream = keys.stream(namespace, RUNS[0], "intautomaticruninput-auto")

    async with numbers_flow(RUNS, some_may_be_lost=some_may_be_lost) as numbers:
        primary = replicated.primary(stream)
        await anyio.to_thread.run_sync(happens, replicated, primary)
        await numbers.progress()
