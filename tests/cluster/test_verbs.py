"""What one server does, a Cluster does: every verb, over all partitions."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from flowchan import flow, get_client, open_run, pause_flow_run, receive_input, resume_flow_run, send_input
from flowchan.blocks.system import JSON
from flowchan.channels import Channels
from flowchan.deployments import run_deployment
from flowchan.errors import BrokerUnavailable, ChannelFull, InvalidSettingError, SendQueueFull
from flowchan.wire import keys
from tests.cli.program import FLOWCHAN, Program, run
from tests.support.bridge import end_of_bridge
from tests.support.cluster import Cluster
from tests.support.numbers import stored
from tests.support.ports import free_ports
from tests.support.runs import seen, started
from tests.support.server import Server
from tests.support.streams import CHANNEL
from tests.support.tls import Authority, tls_proxy
from tests.support.waiting import eventually, eventually_async

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("cluster")]

MANY = 150
"""Runs; enough for every partition to have some."""


async def test_runs_of_all_partitions_converse() -> None:
    async def answer(number: int) -> None:
        async with open_run(f"answers-{number}"), receive_input(int, with_metadata=True, timeout=30) as questions:
            for _ in range(3):
                question = await questions.next()
                await question.respond(question.value * 2)

    async def ask(number: int) -> None:
        async with open_run(f"asks-{number}"), receive_input(int, timeout=30) as answers:
            for value in range(3):
                await send_input(value, f"answers-{number}")
                assert await answers.next() == value * 2

    assert {keys.partition_tag(f"{who}-{number}") for who in ("asks", "answers") for number in range(MANY)} == {
        *keys.TAGS
    }
    async with anyio.create_task_group() as tasks:
        for number in range(MANY):
            tasks.start_soon(answer, number)
            tasks.start_soon(ask, number)


async def test_what_is_sent_before_anybody_knows_that_it_is_a_cluster_is_stored_in_order(
    cluster: Cluster, namespace: str
) -> None:
    runs = [f"run-{number}" for number in range(5)]

    sends = [send_input(value, run) for value in range(50) for run in runs]
    for send in sends:
        await send

    for each in runs:
        stream = keys.stream(namespace, each, "intautomaticruninput-auto")
        assert stored(cluster.primary(stream), stream) == list(range(50))


async def test_channels_have_a_limit_on_every_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWCHAN_MAX_CHANNEL_LENGTH", "2")
    for number in range(10):
        run = f"run-{number}"
        await send_input(1, run, idempotency_key="a")
        await send_input(2, run)
        with pytest.raises(ChannelFull):
            await send_input(3, run)
        async with receive_input(int, flow_run_id=run, group="shop", timeout=20) as shop:
            assert await shop.next() == 1
            await shop.ack()
            await send_input(3, run)
            assert [await shop.next() for _ in range(2)] == [2, 3]


async def test_groups_of_clients_that_are_dead_are_freed_on_every_node(
    cluster: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWCHAN_LEASE", "0.05")
    streams = [keys.stream(namespace, f"run-{number}", CHANNEL) for number in range(10)]
    for stream in streams:
        cluster.primary(stream).ask("XGROUP", "CREATE", stream, "flowchan-0123456789ab-0-0", "0", "MKSTREAM")
        cluster.primary(stream).ask("PEXPIRE", stream, 60_000)

    def groups(stream: str) -> list[bytes]:
        return [each[b"name"] for each in cluster.primary(stream).ask("XINFO", "GROUPS", stream)]

    waiting = [
        asyncio.ensure_future(receive_input(int, flow_run_id=f"run-{number}", key_prefix=CHANNEL, timeout=30).next())
        for number in range(10)
    ]
    await eventually_async(
        lambda: not any(b"flowchan-0123456789ab-0-0" in groups(stream) for stream in streams), "the end of the dead"
    )
    for number in range(10):
        await send_input(number, f"run-{number}", key_prefix=CHANNEL)
    assert [await each for each in waiting] == list(range(10))


async def test_sends_that_wait_are_counted_for_all_nodes_together(monkeypatch: pytest.MonkeyPatch) -> None:
    await send_input(1, "run")
    monkeypatch.setenv("FLOWCHAN_MAX_PENDING", "10")

    async with open_run("sender"):
        await send_input(1, "run")
        with pytest.raises(SendQueueFull):
            [send_input(number, f"run-{number}") for number in range(11)]


async def test_a_group_shares_its_work() -> None:
    for number in range(20):
        await send_input(number, "run")

    async def work() -> None:
        async with receive_input(
            int, flow_run_id="run", group="workers", timeout=1, raise_timeout_error=False
        ) as receiver:
            done.extend([number async for number in receiver])

    done: list[int] = []
    async with anyio.create_task_group() as workers:
        for _ in range(3):
            workers.start_soon(work)

    assert sorted(done) == list(range(20))


async def test_a_send_with_an_idempotency_key_is_stored_once() -> None:
    first = await send_input(1, "run", idempotency_key="order-7")
    again = await send_input(1, "run", idempotency_key="order-7")

    assert again.key == first.key


async def test_a_run_pauses_and_is_resumed_and_is_found_among_the_others() -> None:
    @flow
    async def asks() -> int:
        return await pause_flow_run(wait_for_input=int) + 1

    async with started(asks) as task:
        known = await seen("asks", "PAUSED")
        await resume_flow_run(known.id, {"value": 41})
        assert await task == 42
    assert [each.id for each in await get_client().read_flow_runs(flow="asks")] == [known.id]


SERVED = """
from flowchan import flow, suspend_flow_run

@flow
def asks():
    return suspend_flow_run(wait_for_input=int) + 1

if __name__ == "__main__":
    asks.serve("it")
"""


def test_a_deployment_is_suspended_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "served.py").write_text(SERVED)
    server = Program("-W", "error", str(tmp_path / "served.py"))
    try:
        server.says("$ flowchan run")
        run: Any = run_deployment("asks/it", timeout=0)
        client: Any = get_client()
        eventually(lambda: client.read_flow_run(run.id).state.type.value == "SUSPENDED", "the suspension")
        resume_flow_run(run.id, {"value": 41})
        eventually(lambda: client.read_flow_run(run.id).state.type.value == "COMPLETED", "the end")
        assert client.read_flow_run(run.id).state.result() == 42
    finally:
        server.close()


def test_blocks_are_kept() -> None:
    for name in ("one", "two", "three"):
        JSON(value={"name": name}).save(name)

    assert [JSON.load(name).value["name"] for name in ("one", "two", "three")] == ["one", "two", "three"]


def test_the_command_line(cluster: Cluster) -> None:
    sent = run(*FLOWCHAN, "send", "run", "hello", "--channel", "words")
    assert sent.returncode == 0, sent.stderr
    heard = run(*FLOWCHAN, "listen", "run", "--timeout", "0.5", "--json")
    assert json.loads(heard.stdout.splitlines()[0])["value"] == "hello", heard
    found = run(*FLOWCHAN, "doctor", "--json")
    checks = {check["check"]: check for check in map(json.loads, found.stdout.splitlines())}
    assert (checks["mode"]["mark"], checks["mode"]["mode"], checks["mode"]["primaries"]) == ("ok", "cluster", 3)
    assert checks["messages"]["mark"] == "ok", checks
    assert cluster.url.removeprefix("redis://") in checks["broker"]["found"]


# --- where it is ------------------------------------------------------------------------------------


async def test_any_node_of_several_will_do(cluster: Cluster) -> None:
    (nobody,) = free_ports(1)
    channels = Channels(url=f"redis://127.0.0.1:{nobody},127.0.0.1:{cluster.nodes[2].port}")

    await channels.send_input(1, "run")

    assert await channels.receive_input(int, flow_run_id="run", timeout=10).next() == 1


async def test_several_servers_that_are_no_cluster_are_refused(shared_server: Server, make_server: Any) -> None:
    del shared_server
    one, two = make_server(tcp=True), make_server(tcp=True)

    with pytest.raises(InvalidSettingError, match="nodes of one Cluster"):
        await Channels(url=f"redis://127.0.0.1:{one.port},127.0.0.1:{two.port}").send_input(1, "run")


async def test_nobody_at_any_of_several_hosts_is_told_without_a_password() -> None:
    one, two = free_ports(2)

    with pytest.raises(BrokerUnavailable, match="cannot be reached") as told:
        await Channels(url=f"redis://:secret@127.0.0.1:{one},127.0.0.1:{two}").send_input(1, "run")

    assert "secret" not in str(told.value)


async def test_a_user_of_the_cluster(cluster: Cluster, namespace: str) -> None:
    for node in cluster.nodes:
        node.ask(
            *("ACL", "SETUSER", "bob", "on", ">secret", f"~{namespace}:*", "-@all"),
            *("+@stream", "+@connection", "+pexpire", "+cluster|slots"),
        )
    channels = Channels(url=cluster.url.replace("redis://", "redis://bob:secret@"))

    for number in range(10):
        await channels.send_input(number, f"run-{number}")
        assert await channels.receive_input(int, flow_run_id=f"run-{number}", timeout=10).next() == number


def test_tls_to_every_node(cluster: Cluster, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("127.0.0.1")
    with contextlib.ExitStack() as proxies:
        ports = {}
        for node in cluster.nodes:
            ports[node] = proxies.enter_context(tls_proxy(node.server, certificate, key))
            node.ask("CONFIG", "SET", "cluster-announce-port", ports[node])
        eventually(lambda: all(node.announced() == set(ports.values()) for node in cluster.nodes), "the news")
        url = f"rediss://127.0.0.1:{ports[cluster.nodes[0]]}?ssl_ca_certs={authority.certificate}"

        channels: Any = Channels(url=url)
        for number in range(10):
            channels.send_input(number, f"run-{number}")
            assert channels.receive_input(int, flow_run_id=f"run-{number}", timeout=10).next() == number

        end_of_bridge()
        for node in cluster.nodes:
            node.ask("CONFIG", "SET", "cluster-announce-port", 0)
        own = {node.port for node in cluster.nodes}
        eventually(lambda: all(node.announced() == own for node in cluster.nodes), "the news")
