"""What is a Cluster's own: many partitions, many nodes, and the ways to them. What every server does is in conformance."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from flowchan import receive_input, send_input
from flowchan.channels import Channels
from flowchan.errors import BrokerUnavailable, InvalidSettingError
from flowchan.wire import keys
from tests.cli.program import FLOWCHAN, run
from tests.support.bridge import end_of_bridge
from tests.support.cluster import Cluster
from tests.support.conversation import converse
from tests.support.ports import free_ports
from tests.support.server import Server
from tests.support.streams import CHANNEL
from tests.support.tls import Authority, tls_proxy
from tests.support.waiting import eventually, eventually_async

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("cluster")]

MANY = 150
"""Runs; enough for every partition to have some."""


async def test_runs_of_all_partitions_converse() -> None:
    pairs = [(f"asks-{number}", f"answers-{number}") for number in range(MANY)]

    assert {keys.partition_tag(run) for pair in pairs for run in pair} == {*keys.TAGS}
    await converse(pairs)


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


def test_the_command_line_finds_channels_and_nodes(cluster: Cluster) -> None:
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
