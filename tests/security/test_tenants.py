"""Namespaces are tenants: with the lines of docs/security.md a user can do what flowchan does there, and nothing else."""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.exceptions import NoPermissionError

from flowchan import Channels, flow, pause_flow_run, receive_input, resume_flow_run, send_input, sync
from flowchan.blocks.system import JSON
from flowchan.deployments import run_deployment
from flowchan.errors import BrokerRefused, ChannelFull, MessagesLost
from flowchan.flow_runs import cancel_flow_run, wait_for_flow_run
from flowchan.input import read_dead_letters
from flowchan.wire import keys
from tests.cli.program import FLOWCHAN, Program, run
from tests.support.acl import PAGE, PASSWORD, acl_line, allowed, denied
from tests.support.runs import seen, seen_sync, started, started_sync
from tests.support.server import Server
from tests.support.streams import CHANNEL
from tests.support.waiting import eventually, eventually_async

SERVED = """
from flowchan import flow, serve, suspend_flow_run

@flow
def add(a: int, b: int = 1):
    return a + b

@flow
def later(a: int):
    return a + suspend_flow_run(int)

if __name__ == "__main__":
    serve(add.to_deployment("it"), later.to_deployment("it"))
"""


class Tenancy:
    """A server with a user who has the page's rights in one namespace."""

    def __init__(self, server: Server, admin: redis.Redis, namespace: str) -> None:
        self.url = f"unix://{namespace}:{PASSWORD}@{server.socket}"
        self.namespace = namespace
        self.admin = admin
        admin.execute_command(*acl_line(namespace))
        self._socket = str(server.socket)

    @functools.cached_property
    def user(self) -> redis.Redis:
        """A plain client of this user, who may try what flowchan does not."""
        return redis.Redis(unix_socket_path=self._socket, username=self.namespace, password=PASSWORD)

    def close(self) -> None:
        if "user" in self.__dict__:
            self.user.close()

    def denied(self) -> set[str]:
        """What the user was refused so far."""
        log: Any = self.admin.execute_command("ACL", "LOG", "128")
        return denied(log)

    def used(self) -> set[str]:
        """What was done at the server since it was started."""
        found: Any = self.admin.info("commandstats")
        return {name.removeprefix("cmdstat_") for name, about in found.items() if about["calls"]}


@pytest.fixture
def tenancy(make_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch, namespace: str) -> Iterator[Tenancy]:
    server = make_server(append_only=False)
    with server.client() as admin:
        admin.execute_command("ACL", "SETUSER", "default", "on")
        made = Tenancy(server, admin, namespace)
        monkeypatch.setenv("FLOWCHAN_URL", made.url)
        yield made
        made.close()


def test_the_user_can_do_all_that_flowchan_does(
    tenancy: Tenancy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(_messages(tenancy))
    asyncio.run(_pauses())
    _runs_and_blocks()
    asyncio.run(_dead_letters())
    _deployments(tmp_path)
    _command_line()
    _a_worker_that_dies(tenancy, monkeypatch)
    assert tenancy.denied() == set()

    # And the page has nothing that is not used
    assert allowed() - tenancy.used() == set()


async def _messages(tenancy: Tenancy) -> None:
    for value in (1, 2):
        await send_input(value, "r", key_prefix=CHANNEL)
    async with receiver() as one, receiver("r2") as two:
        assert [await one.next(), await one.next()] == [1, 2]
        first = asyncio.ensure_future(one.next())
        await eventually_async(lambda: tenancy.admin.info("clients")["blocked_clients"], "a read")  # type: ignore[index]
        # Another joins while a read is under way, and so must wake it
        second = asyncio.ensure_future(two.next())
        await eventually_async(lambda: "client|unblock" in tenancy.used(), "the end of the read")
        await send_input(3, "r", key_prefix=CHANNEL)
        for _ in range(2):
            await send_input(4, "r2", key_prefix=CHANNEL, idempotency_key="once")
        assert (await first, await second) == (3, 4)
        # A stream is deleted under its reader
        first = asyncio.ensure_future(one.next())
        await eventually_async(lambda: tenancy.admin.info("clients")["blocked_clients"], "a read")  # type: ignore[index]
        tenancy.admin.delete(keys.stream(tenancy.namespace, "r", CHANNEL))
        await eventually_async(lambda: "xgroup|setid" in tenancy.used(), "the reader's new place")
        await send_input(1, "r", key_prefix=CHANNEL)
        assert await first == 1
    async with receiver(group="shop") as shop:
        with pytest.raises(MessagesLost):  # those of the deleted stream
            await shop.next()
        assert await shop.next() == 1
        await shop.ack()
    # A channel that is full
    limited = Channels(max_channel_length=1)
    await limited.send_input(1, "full", key_prefix=CHANNEL)
    async with receiver("full", group="shop") as shop:
        assert await shop.next() == 1
        with pytest.raises(ChannelFull):
            await limited.send_input(2, "full", key_prefix=CHANNEL)
        await shop.ack()
        await limited.send_input(2, "full", key_prefix=CHANNEL)


async def _dead_letters() -> None:
    run = str((await seen("fails", "FAILED")).id)
    for value in ("one", "two"):
        await send_input(value, run, key_prefix=CHANNEL)
    async with receiver(run, group="shop", on_invalid="dead-letter", timeout=0.5) as shop:
        with pytest.raises(TimeoutError):
            await shop.next()
    first, second = await read_dead_letters(run)
    await first.resend()
    await second.discard()


def receiver(of: str = "r", **options: Any) -> Any:
    return receive_input(int, **{"flow_run_id": of, "key_prefix": CHANNEL, "timeout": 20, **options})


@flow
async def asks() -> int:
    return int(await pause_flow_run(int))


async def _pauses() -> None:
    async with started(asks) as flowing:
        waiting = await seen("asks", "PAUSED")
        await send_input(1, waiting.id, key_prefix=CHANNEL)
        await resume_flow_run(waiting.id, {"value": 5})
        assert await flowing == 5
    async with started(asks) as flowing:
        await cancel_flow_run((await seen("asks", "PAUSED")).id)
        await asyncio.wait([flowing])


@flow
def fails() -> None:
    raise OSError("on purpose")


def _runs_and_blocks() -> None:
    fails(return_state=True)
    wait_for_flow_run(seen_sync("fails", "FAILED").id)
    JSON(value=1).save("it")  # type: ignore[unused-coroutine]
    JSON(value=2).save("it", overwrite=True)  # type: ignore[unused-coroutine]
    assert JSON.load("it").value == 2  # type: ignore[attr-defined]
    JSON.delete("it")  # type: ignore[unused-coroutine]


def _deployments(folder: Path) -> None:
    path = folder / "served.py"
    path.write_text(SERVED)
    server = Program("-W", "error", str(path))
    try:
        server.says("$ flowchan run")
        done: Any = run_deployment("add/it", {"a": 1}, timeout=20)
        assert done.state.result() == 2
        run_deployment("later/it", {"a": 1}, timeout=0)  # type: ignore[unused-coroutine]
        waiting = seen_sync("later", "SUSPENDED")
        resume_flow_run(waiting.id, {"value": 2})  # type: ignore[unused-coroutine]
        ended: Any = wait_for_flow_run(waiting.id, timeout=20)
        assert ended.state.result() == 3
    finally:
        server.close()


def _command_line() -> None:
    def ends_well(*arguments: str) -> str:
        shown = run(*FLOWCHAN, *arguments)
        assert shown.returncode == 0, shown
        return shown.stdout

    ends_well("send", "r", "5", "--type", "int", "--channel", CHANNEL)
    heard = ends_well("listen", "r", "--channel", CHANNEL, "--timeout", "1", "--json")
    assert [json.loads(line)["value"] for line in heard.splitlines()] == [1, 5]
    assert "fails" in ends_well("runs", "--json")
    ends_well("show", str(seen_sync("fails", "FAILED").id))
    with started_sync(sync_asks) as flowing:
        ends_well("resume", str(seen_sync("sync-asks", "PAUSED").id), "--json", '{"value": 1}')
        assert flowing.result().is_completed()


@flow
def sync_asks() -> Any:
    return pause_flow_run(int)


LEAVER = """
import os
from flowchan import receive_input
receive_input(int, flow_run_id="left", key_prefix="numbers", group="rare", timeout=20).next()
os._exit(0)
"""


def _a_worker_that_dies(tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWCHAN_LEASE", "0.05")
    for number in (1, 5):
        sync.send_input(number, "left", key_prefix=CHANNEL)
    assert run("-c", LEAVER).returncode == 0
    with receiver("left", group="rare") as second:
        assert {next(second), next(second)} == {1, 5}
        # Its name is forgotten, twenty leases later, when somebody looks
        numbers = itertools.count(6)

        def is_forgotten() -> bool:
            number = next(numbers)
            sync.send_input(number, "left", key_prefix=CHANNEL)
            assert next(second) == number
            return "xgroup|delconsumer" in tenancy.used()

        eventually(is_forgotten, "the end of a consumer")


# --- and nothing else -------------------------------------------------------------------------------------

FORBIDDEN = [
    "FLUSHALL", "FLUSHDB", "KEYS *", "SCAN 0", "RANDOMKEY", "DBSIZE", "SELECT 1", "SWAPDB 0 1",
    "CONFIG GET *", "CONFIG SET maxmemory 1", "CONFIG REWRITE", "CONFIG RESETSTAT", "ACL LIST", "ACL WHOAMI",
    "ACL SETUSER me on", "SCRIPT FLUSH", "SCRIPT LOAD return", "SCRIPT KILL", "FUNCTION LOAD x", "FUNCTION FLUSH",
    "MODULE LIST", "CLIENT LIST", "CLIENT KILL ID 1", "CLIENT PAUSE 1", "CLIENT NO-EVICT on", "MONITOR", "SHUTDOWN",
    "SAVE", "BGSAVE", "BGREWRITEAOF", "REPLICAOF NO ONE", "FAILOVER", "SYNC", "PSYNC ? -1",
    "SLOWLOG GET", "LATENCY DOCTOR", "MEMORY STATS", "COMMAND", "PUBLISH x y", "SUBSCRIBE x", "SPUBLISH x y",
    "CLUSTER NODES", "WAIT 0 0", "LOLWUT",
    # In its own namespace, too: what flowchan does not need
    "DUMP {own}:x", "RESTORE {own}:x 0 x", "RENAME {own}:x {own}:y", "COPY {own}:x {own}:y", "MOVE {own}:x 1",
    "OBJECT ENCODING {own}:x", "XGROUP CREATECONSUMER {own}:x g c", "SORT {own}:x",
    "PERSIST {own}:x", "APPEND {own}:x y", "LPUSH {own}:x y", "PFADD {own}:x y", "SETRANGE {own}:x 9 y",
    "MIGRATE host 1 {own}:x 0 1", "BLPOP {own}:x 1",
]  # fmt: skip

OF_OTHERS = [
    "GET {key}", "SET {key} x", "DEL {key}", "UNLINK {key}", "EXISTS {key}", "PTTL {key}", "PEXPIRE {key} 1",
    "HGETALL {key}", "HSET {key} a b", "HDEL {key} a", "HMGET {key} a", "HINCRBY {key} a 1",
    "ZADD {key} 1 a", "ZRANGE {key} 0 -1", "ZSCORE {key} a", "ZREM {key} a",
    "XADD {key} * a b", "XRANGE {key} - +", "XREVRANGE {key} + -", "XDEL {key} 1-1", "XINFO STREAM {key}",
    "XGROUP CREATE {key} g 0 MKSTREAM", "XREADGROUP GROUP g c STREAMS {key} >", "XACK {key} g 1-1",
    "XPENDING {key} g", "XCLAIM {key} g c 0 1-1", "XGROUP DESTROY {key} g",
    "EVAL", "EVALSHA 0000000000000000000000000000000000000000 1 {key}",
]  # fmt: skip


@pytest.mark.parametrize("command", FORBIDDEN)
def test_the_user_may_not(command: str, tenancy: Tenancy) -> None:
    with pytest.raises(NoPermissionError):
        tenancy.user.execute_command(*command.replace("{own}", tenancy.namespace).split())


def test_the_user_may_not_touch_what_is_another_namespaces(tenancy: Tenancy) -> None:
    own = tenancy.namespace
    others = [
        "other:{53}:a:c",
        "x",
        own,
        f"{own}x:{{53}}:a:c",
        f"{own}.x:a",
        f"other:{own}:a",
        f"{{{own}:}}:a",
        f" {own}:a",
    ]
    for key in others:
        for command in OF_OTHERS:
            words = ["EVAL", "return 1", "1", key] if command == "EVAL" else command.replace("{key}", "\0").split()
            with pytest.raises(NoPermissionError):
                tenancy.user.execute_command(*(word.replace("\0", key) for word in words))


def test_a_script_may_not_reach_further_than_its_user(tenancy: Tenancy) -> None:
    tenancy.admin.set("other:secret", "sesame")
    for call in ("'GET', 'other:secret'", "'SET', 'other:secret', 'x'", "'KEYS', '*'", "'FLUSHALL'", "'SCAN', '0'"):
        with pytest.raises(redis.ResponseError, match=r"permission|ACL|not allowed|can't"):
            tenancy.user.execute_command("EVAL", f"return redis.call({call})", "0")
    assert tenancy.admin.get("other:secret") == b"sesame"


@pytest.mark.anyio
async def test_flowchan_says_what_is_missing_to_who_uses_another_namespace(tenancy: Tenancy) -> None:
    other = Channels(namespace="other")
    with pytest.raises(BrokerRefused, match=r"docs/security\.md") as refused:
        await other.send_input(1, "r", key_prefix=CHANNEL)
    assert refused.value.code == "NOPERM"
    with pytest.raises(BrokerRefused, match=r"docs/security\.md"):
        await other.receive_input(int, flow_run_id="r", key_prefix=CHANNEL, timeout=5).next()
    assert list(tenancy.admin.scan_iter("other:*")) == []


def test_who_may_not_look_through_all_keys_names_the_channel(tenancy: Tenancy) -> None:
    shown = run(*FLOWCHAN, "listen", "r", "--timeout", "1")
    assert shown.returncode == 1
    assert "name them with --channel" in shown.stderr
    assert tenancy.denied() == {"scan"}


def test_the_doctor_makes_do_with_what_it_may_ask(tenancy: Tenancy) -> None:
    shown = run(*FLOWCHAN, "doctor", "--json")
    assert shown.returncode == 0
    found = {each["check"]: each for each in map(json.loads, shown.stdout.splitlines())}
    assert found["messages"]["mark"] == "ok"
    assert tenancy.denied() <= {"config|get", "command|info", "command|docs"}


# --- what may be left out -----------------------------------------------------------------------------------


def optional() -> list[str]:
    """The commands of which the page says what is missing without them."""
    found = re.search(r"^\| without \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert found
    return [line.split("`")[1].replace("\\|", "|") for line in found[1].splitlines()]


@pytest.mark.anyio
@pytest.mark.parametrize("command", optional())
async def test_without_it_messages_and_runs_go_on(command: str, tenancy: Tenancy) -> None:
    tenancy.admin.execute_command("ACL", "SETUSER", tenancy.namespace, f"-{command}")
    options = {"flow_run_id": "r", "timeout": 20, "poll_interval": 0.2}
    async with (
        receive_input(int, key_prefix="a", **options) as one,  # type: ignore[call-overload]
        receive_input(int, key_prefix="b", **options) as two,  # type: ignore[call-overload]
    ):
        first = asyncio.ensure_future(one.next())
        await eventually_async(lambda: tenancy.admin.info("clients")["blocked_clients"], "a read")  # type: ignore[index]
        second = asyncio.ensure_future(two.next())
        await send_input(1, "r", key_prefix="a")
        await send_input(2, "r", key_prefix="b")
        assert (await first, await second) == (1, 2)
    async with started(asks) as flowing:
        await resume_flow_run((await seen("asks", "PAUSED")).id, {"value": 5})
        assert await flowing == 5
