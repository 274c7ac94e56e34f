"""A slot moves to another node while messages are under way: each is stored once, and in order."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import anyio
import anyio.to_thread
import pytest

from flowchan import flow, pause_flow_run, receive_input, resume_flow_run, send_input
from flowchan.broker.records import Taken
from flowchan.errors import BrokerRefused
from flowchan.wire import keys
from tests.support.cluster import Cluster, Node
from tests.support.numbers import numbers_flow, stored
from tests.support.requests import asked_for, taken
from tests.support.runs import seen, started, state_of
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio

CHANNEL = "intautomaticruninput-auto"


def other(cluster: Cluster, node: Node) -> Node:
    return next(each for each in cluster.nodes[:3] if each is not node)


@contextlib.contextmanager
def half_moved(cluster: Cluster, stream: str) -> Iterator[Node]:
    """Within the block a stream is at another node, and its slot on the way there."""
    source = cluster.primary(stream)
    target = other(cluster, source)
    with cluster.moving(keys.slot(stream), target):
        source.ask("MIGRATE", "127.0.0.1", target.port, stream, 0, 5000)
        yield target


@pytest.mark.parametrize("times", [10])
async def test_numbers_arrive_once_and_in_order_while_their_slot_moves(
    cluster: Cluster, namespace: str, times: int
) -> None:
    runs = [f"run-{number}" for number in range(3)]
    stream = keys.stream(namespace, runs[0], CHANNEL)
    slot = keys.slot(stream)

    async with numbers_flow(runs) as numbers:
        for _ in range(times):
            target = other(cluster, cluster.primary(stream))
            await anyio.to_thread.run_sync(cluster.move, slot, target)
            await numbers.progress()

    assert stored(cluster.primary(stream), stream) == numbers.received[runs[0]]


async def test_who_waits_for_a_message_hears_it_from_the_node_to_which_the_slot_has_moved(
    cluster: Cluster, namespace: str
) -> None:
    stream = keys.stream(namespace, "run", CHANNEL)
    await send_input(0, "run")
    async with receive_input(int, flow_run_id="run", timeout=20, poll_interval=60) as receiver:
        assert await receiver.next() == 0
        async with anyio.create_task_group() as tasks:
            heard: list[int] = []

            async def wait() -> None:
                heard.append(await receiver.next())

            tasks.start_soon(wait)
            source = cluster.primary(stream)
            await eventually_async(lambda: b"XREADGROUP" in reading(source), "the wait")
            await anyio.to_thread.run_sync(cluster.move, keys.slot(stream), other(cluster, source))
            await send_input(1, "run")
        assert heard == [1]


@pytest.mark.parametrize("once", [None, "order-7"])
async def test_a_message_for_a_slot_that_is_on_its_way_is_stored_where_its_stream_is(
    cluster: Cluster, namespace: str, once: str | None
) -> None:
    stream = keys.stream(namespace, "run", CHANNEL)
    await send_input(0, "run")

    with half_moved(cluster, stream) as target:
        sends = [send_input(1, "run", idempotency_key=once), send_input(2, "run")]
        if once is None:
            for send in sends:  # it is asked for where it is going to be
                await send
            found = await receive_input(int, flow_run_id="run", timeout=10).next()
            assert found == 0
    for send in sends:  # what is about two keys waits until both are there
        await send

    assert stored(cluster.primary(stream), stream) == [0, 1, 2]
    assert cluster.primary(stream) is target


@pytest.mark.parametrize("stream_is_there", [False, True])
async def test_nothing_overtakes_a_send_with_a_key_whose_slot_is_on_its_way(
    cluster: Cluster, namespace: str, *, stream_is_there: bool
) -> None:
    stream = keys.stream(namespace, "run", CHANNEL)
    await send_input(0, "run")
    source = cluster.primary(stream)
    target = other(cluster, source)

    with cluster.moving(keys.slot(stream), target):
        if stream_is_there:
            source.ask("MIGRATE", "127.0.0.1", target.port, stream, 0, 5000)
        sends = [
            send_input(number, "run", idempotency_key=f"k{number}" if number == 2 else None) for number in (1, 2, 3)
        ]
        await sends[0]
        if not stream_is_there:
            source.ask("MIGRATE", "127.0.0.1", target.port, stream, 0, 5000)
    for send in sends:
        await send

    assert stored(cluster.primary(stream), stream) == [0, 1, 2, 3]


async def test_what_is_about_two_keys_is_refused_when_their_slot_is_on_its_way_for_too_long_and_the_rest_goes_on(
    cluster: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWCHAN_SEND_TIMEOUT", "0.5")
    stream = keys.stream(namespace, "run", CHANNEL)
    await send_input(0, "run")

    with half_moved(cluster, stream):
        with pytest.raises(BrokerRefused, match="being moved to another node") as refused:
            await send_input(1, "run", idempotency_key="order-7")
        await send_input(2, "run")
    await send_input(3, "run", idempotency_key="order-7")

    assert refused.value.code == "TRYAGAIN"
    assert stored(cluster.primary(stream), stream) == [0, 2, 3]


async def test_a_request_for_a_run_that_is_on_its_way_is_taken_where_both_are(cluster: Cluster, namespace: str) -> None:
    deployment, run = await asked_for()
    record = keys.record(namespace, run)
    source = cluster.primary(record)
    target = other(cluster, source)
    before = refused(source)

    found: list[Taken | None] = []

    async def take() -> None:
        found.append(await taken(deployment))

    async with anyio.create_task_group() as tasks:
        with cluster.moving(keys.slot(record), target):
            source.ask("MIGRATE", "127.0.0.1", target.port, record, 0, 5000)
            tasks.start_soon(take)
            await eventually_async(lambda: refused(source) > before, "the refusal")
            names = source.ask("CLUSTER", "GETKEYSINSLOT", keys.slot(record), 100)
            source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *names)

    assert found[0] is not None
    assert found[0].run == run
    assert (await state_of(run)).is_pending()


async def test_a_run_pauses_at_one_node_and_is_resumed_at_another(cluster: Cluster, namespace: str) -> None:
    @flow
    async def asks() -> int:
        return await pause_flow_run(wait_for_input=int) + 1

    async with started(asks) as task:
        known = await seen("asks", "PAUSED")
        record = keys.record(namespace, str(known.id))
        source = cluster.primary(record)
        await anyio.to_thread.run_sync(cluster.move, keys.slot(record), other(cluster, source))
        await resume_flow_run(known.id, {"value": 41})
        assert await task == 42


def refused(node: Node) -> int:
    """How often a node has said that what was asked for is not all there."""
    found = node.ask("INFO", "errorstats").get("errorstat_TRYAGAIN", {})
    return int(found.get("count", 0))


def reading(node: Node) -> bytes:
    """What the connections of a node last asked for."""
    return bytes(node.ask("CLIENT", "LIST")).replace(b"xreadgroup", b"XREADGROUP")
