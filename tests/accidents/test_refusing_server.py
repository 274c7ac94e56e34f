"""A server that takes no writes for a while, under those who begin to listen and those who leave."""

from __future__ import annotations

import anyio
import pytest
import redis

from flowchan import flow, pause_flow_run, receive_input, resume_flow_run, send_input
from flowchan.wire import keys
from tests.support.runs import seen, started
from tests.support.server import Server
from tests.support.streams import CHANNEL, Streams
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio


def refusals(client: redis.Redis) -> int:
    return sum(each["count"] for each in client.info("errorstats").values())


def refuse_writes(client: redis.Redis, setting: str, *, refuse: bool) -> None:
    client.config_set(setting, 1 if refuse else 0)


@pytest.mark.parametrize("setting", ["min-replicas-to-write", "maxmemory"])
async def test_who_begins_to_listen_meanwhile_has_what_is_there_and_hears_what_comes(
    server: Server, setting: str
) -> None:
    await send_input(0, "r", key_prefix=CHANNEL)
    with server.client() as client:
        refuse_writes(client, setting, refuse=True)
        before = refusals(client)
        async with receive_input(int, flow_run_id="r", key_prefix=CHANNEL, timeout=30) as receiver:
            assert await receiver.next() == 0
            got: list[int] = []

            async def follow() -> None:
                got.append(await receiver.next())

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(follow)
                await eventually_async(lambda: refusals(client) > before, "a refusal")
                refuse_writes(client, setting, refuse=False)
                await send_input(1, "r", key_prefix=CHANNEL)
            assert got == [1]


async def test_who_leaves_meanwhile_leaves_nothing(server: Server, namespace: str) -> None:
    with server.client() as client:
        streams = Streams(client, namespace)
        await send_input(0, "r", key_prefix=CHANNEL)
        mine = receive_input(int, flow_run_id="r", key_prefix=CHANNEL, timeout=30)
        assert await mine.next() == 0
        with anyio.move_on_after(0.2):
            await mine.next()
        assert streams.groups() == 1

        refuse_writes(client, "min-replicas-to-write", refuse=True)
        before = refusals(client)
        mine.close()
        await eventually_async(lambda: refusals(client) > before, "a refusal")
        refuse_writes(client, "min-replicas-to-write", refuse=False)

        await eventually_async(lambda: streams.groups() == 0, "the end of the group")


async def test_a_run_keeps_its_lease_where_memory_is_full(
    server: Server, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWCHAN_LEASE", "1")

    @flow
    async def asks() -> int:
        return await pause_flow_run(wait_for_input=int)

    async with started(asks) as waiting:
        run = str((await seen("asks", "PAUSED")).id)
        with server.client() as client:

            def due() -> float:
                found = client.zscore(keys.due(namespace, keys.partition_tag(run)), run)
                assert isinstance(found, float)
                return found

            refuse_writes(client, "maxmemory", refuse=True)
            before = due()
            await eventually_async(lambda: due() > before, "a renewal")
            refuse_writes(client, "maxmemory", refuse=False)
        await resume_flow_run(run, {"value": 7})
        assert await waiting == 7
