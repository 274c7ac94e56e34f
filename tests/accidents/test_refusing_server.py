"""A server that takes no writes for a while, under those who begin to listen and those who leave."""

from __future__ import annotations

import anyio
import pytest
import redis

from flowchan import receive_input, send_input
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
