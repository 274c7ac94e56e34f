"""Reaching the broker: what URLs may say, and what is said of one that leads nowhere."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import pytest
import redis

from flowchan import Channels, send_input
from flowchan.errors import BrokerRefused, BrokerUnavailable, FlowchanError, InvalidSettingError
from flowchan.wire import keys
from tests.support.server import Server
from tests.support.streams import CHANNEL, Streams
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """One loop does here: it has no part in dialling."""
    return "asyncio", {"use_uvloop": False}


SECRET = "s3cr3t"


async def send(url: str, value: int = 1, **settings: object) -> None:
    await Channels(url=url, **settings).send_input(value, "r", key_prefix=CHANNEL)


def values(server: Server, namespace: str, db: int = 0) -> list[object]:
    with server.client() as client:
        client.select(db)
        return Streams(client, namespace).values("r")


# --- what a URL may say --------------------------------------------------------------------------------


@pytest.fixture
def tcp(make_server: Callable[..., Server]) -> Server:
    return make_server(tcp=True, append_only=False)


@pytest.mark.parametrize("scheme", ["redis", "valkey"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_host_and_a_port(scheme: str, host: str, tcp: Server, namespace: str) -> None:
    await send(f"{scheme}://{host}:{tcp.port}")
    assert values(tcp, namespace) == [1]


@pytest.mark.parametrize("place", ["/3", "?db=3"])
async def test_a_database(place: str, tcp: Server, namespace: str) -> None:
    await send(f"redis://127.0.0.1:{tcp.port}{place}")
    await send(f"unix://{tcp.socket}?db=3", 2)
    assert values(tcp, namespace, 3) == [1, 2]
    assert values(tcp, namespace) == []


async def test_a_user_and_a_password_with_characters_that_a_url_escapes(tcp: Server, namespace: str) -> None:
    password = "p@ss/w:rd#?%"
    with tcp.client() as client:
        client.acl_setuser("alice", enabled=True, passwords=[f"+{password}"], keys=["*"], categories=["+@all"])
        await send(f"redis://alice:{quote(password, safe='')}@127.0.0.1:{tcp.port}")
        await send(f"unix://alice:{quote(password, safe='')}@{tcp.socket}", 2)
    assert values(tcp, namespace) == [1, 2]


async def test_a_password_alone(tcp: Server, namespace: str) -> None:
    with tcp.client() as client:
        client.config_set("requirepass", SECRET)
        await send(f"redis://:{SECRET}@127.0.0.1:{tcp.port}")
        client.config_set("requirepass", "")
    assert values(tcp, namespace) == [1]


async def test_a_user_who_may_do_little_more_than_streams_can_send_and_receive(tcp: Server, namespace: str) -> None:
    with tcp.client() as client:
        client.execute_command(
            *("ACL", "SETUSER", "bob", "on", f">{SECRET}", f"~{namespace}:*", "-@all"),
            *("+@stream", "+@connection", "+pexpire"),
        )
    channels = Channels(url=f"redis://bob:{SECRET}@127.0.0.1:{tcp.port}")
    async with channels.receive_input(int, flow_run_id="r", key_prefix=CHANNEL, timeout=10) as receiver:
        async with anyio.create_task_group() as tasks:
            found: list[int] = []

            async def follow() -> None:
                found.append(await receiver.next())

            tasks.start_soon(follow)
            await channels.send_input(1, "r", key_prefix=CHANNEL)
        assert found == [1]
    # Though it may run no script, what it sends is not kept for ever
    await channels.send_input(1, "other", key_prefix=CHANNEL)
    with tcp.client() as client:
        left = await eventually_async(lambda: max(client.pttl(keys.stream(namespace, "other", CHANNEL)), 0))  # type: ignore[type-var]
    assert left > 6 * 24 * 3_600_000


# --- what it may not say ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "://",
        f"http://user:{SECRET}@host",
        f"redis:/user:{SECRET}@host",
        f"redis//user:{SECRET}@host",
        f"redis://user:{SECRET}@host:port",
        f"redis://user:{SECRET}@host:99999",
        f"redis://user:{SECRET}@host:-1",
        f"redis://user:{SECRET}@host/database",
        f"redis://user:{SECRET}@host/-1",
        f"redis://user:{SECRET}@host/1/2",
        f"redis://user:{SECRET}@host?db=x",
        f"redis://user:{SECRET}@[::1",
        f"redis://user:{SECRET}/slash@host",
        f"redis://user:{SECRET}#hash@host",
        f"redis://user:{SECRET}@host?socket_timeout=soon",
        f"redis://user:{SECRET}@host?no_such_option={SECRET}",
        "unix://",
        f"unix://user:{SECRET}@",
        f"unix://tmp/{SECRET}",
        f"unix://user:{SECRET}@tmp/socket",
    ],
)
async def test_a_url_that_cannot_be_used_is_refused_at_once_without_what_it_may_hold(url: str) -> None:
    with anyio.fail_after(5), pytest.raises(InvalidSettingError, match="FLOWCHAN_URL") as raised:
        await send(url)
    assert SECRET not in everything_about(raised.value)


def everything_about(error: BaseException | None) -> str:
    """What a traceback would show of an error and its causes."""
    text = ""
    while error is not None:
        text += f"{error!r} {error} "
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return text


# --- a server that is not there, or not for us ----------------------------------------------------------------


async def unreachable(url: str, timeout: float = 0.5) -> str:
    start = time.monotonic()
    with pytest.raises(BrokerUnavailable, match="cannot be reached") as raised:
        await send(url, connect_timeout=timeout)
    assert time.monotonic() - start < timeout + 4
    assert SECRET not in everything_about(raised.value)
    return str(raised.value)


async def test_a_port_that_nobody_listens_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    assert f"127.0.0.1:{port}" in await unreachable(f"redis://user:{SECRET}@127.0.0.1:{port}")


async def test_a_host_that_does_not_exist() -> None:
    assert "nowhere.invalid:6379" in await unreachable(f"rediss://user:{SECRET}@nowhere.invalid", 3)


async def test_a_host_that_can_be_none() -> None:
    assert f"{'x' * 70}" in await unreachable(f"rediss://user:{SECRET}@{'x' * 70}.invalid")


async def test_a_socket_that_is_not_there(tmp_path: Path) -> None:
    assert f"unix://{tmp_path}/none" in await unreachable(f"unix://user:{SECRET}@{tmp_path}/none")


@contextlib.contextmanager
def listener(answer: Callable[[socket.socket], None] | None = None) -> Iterator[int]:
    """Somebody who takes connections and is no Redis."""
    sockets: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                sockets.append(server.accept()[0])
                if answer is not None:
                    threads.append(threading.Thread(target=answer, args=(sockets[-1],), daemon=True))
                    threads[-1].start()

    server = socket.create_server(("127.0.0.1", 0))
    threads.append(threading.Thread(target=accept, daemon=True))
    threads[0].start()
    try:
        yield server.getsockname()[1]
    finally:
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(10)
        for each in sockets:
            each.close()


async def test_a_listener_that_never_answers() -> None:
    with listener() as port:
        assert "no answer within 0.5 s" in await unreachable(f"redis://user:{SECRET}@127.0.0.1:{port}")


async def test_a_listener_that_answers_each_command_a_little_too_late() -> None:
    def drip(client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while client.recv(65536):
                time.sleep(0.4)  # what is tested is a slow server
                client.sendall(b"+OK\r\n")

    with listener(drip) as port:
        start = time.monotonic()
        with pytest.raises(FlowchanError):
            await send(f"redis://user:{SECRET}@127.0.0.1:{port}", connect_timeout=0.5)
        assert time.monotonic() - start < 1.5


async def test_a_listener_that_speaks_something_else() -> None:
    def http(client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            client.recv(65536)
            client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with listener(http) as port:
        assert f"127.0.0.1:{port}" in await unreachable(f"redis://user:{SECRET}@127.0.0.1:{port}")


async def test_a_listener_that_hangs_up() -> None:
    with listener(lambda client: client.shutdown(socket.SHUT_RDWR)) as port:
        assert f"127.0.0.1:{port}" in await unreachable(f"redis://user:{SECRET}@127.0.0.1:{port}")


@pytest.mark.parametrize("who", [f"nobody:{SECRET}@", f":{SECRET}@", ""])
async def test_a_wrong_password_or_none(who: str, tcp: Server) -> None:
    with tcp.client() as client:
        client.config_set("requirepass", "another")
        with anyio.fail_after(5), pytest.raises(BrokerRefused, match=f"127.0.0.1:{tcp.port}") as raised:
            await send(f"redis://{who}127.0.0.1:{tcp.port}")
        client.config_set("requirepass", "")
    assert SECRET not in everything_about(raised.value)


async def test_a_password_for_a_server_that_has_none(tcp: Server) -> None:
    with pytest.raises(BrokerRefused) as raised:
        await send(f"redis://:{SECRET}@127.0.0.1:{tcp.port}")
    assert SECRET not in everything_about(raised.value)


async def test_a_database_that_the_server_does_not_have(tcp: Server) -> None:
    with pytest.raises(BrokerRefused, match="out of range"):
        await send(f"redis://127.0.0.1:{tcp.port}/5000")


async def test_a_server_that_has_no_connection_left(tcp: Server) -> None:
    with tcp.client() as client:
        client.config_set("maxclients", 1)
        with pytest.raises(FlowchanError, match=f"127.0.0.1:{tcp.port}"):
            await send(f"redis://127.0.0.1:{tcp.port}", connect_timeout=0.5)
        client.config_set("maxclients", 100)


async def test_a_server_that_is_loading_its_data_is_waited_for(
    make_server: Callable[..., Server], namespace: str
) -> None:
    server = make_server("--key-load-delay", "50")
    load(server)
    await eventually_async(lambda: is_loading(server), "loading")
    await send(server.url, connect_timeout=20)
    assert not is_loading(server)
    assert values(server, namespace) == [1]


async def test_a_server_that_is_loading_for_too_long_is_unavailable(make_server: Callable[..., Server]) -> None:
    server = make_server("--key-load-delay", "200")
    load(server)
    await eventually_async(lambda: is_loading(server), "loading")
    await unreachable(server.url, 1)


def load(server: Server) -> None:
    """Have the server start with data that take some seconds to load."""
    with server.client() as client, client.pipeline(transaction=False) as pipe:
        for number in range(20_000):
            pipe.set(f"x{number}", "x")
        pipe.execute()
    server.kill()
    server.launch()


def is_loading(server: Server) -> bool:
    with contextlib.suppress(redis.ConnectionError), server.client() as client:
        return bool(client.info("persistence")["loading"])
    return False


async def test_a_namespace_that_was_laid_out_otherwise_is_refused(client: redis.Redis, namespace: str) -> None:
    for partitions in ("16", "nonsense"):
        client.hset(f"{namespace}:@about", "partitions", partitions)
        with pytest.raises(InvalidSettingError, match=f"{partitions} partitions"):
            await send_input(1, "r")
    client.delete(f"{namespace}:@about")


async def test_what_cannot_be_reached_is_tried_anew_by_the_next_call(make_server: Callable[..., Server]) -> None:
    server = make_server()
    server.kill()
    with pytest.raises(BrokerUnavailable):
        await send(server.url)
    with pytest.raises(BrokerUnavailable):
        await Channels(url=server.url).receive_input(int, flow_run_id="r", key_prefix=CHANNEL).next()
    server.start()
    await send(server.url)
    assert await Channels(url=server.url).receive_input(int, flow_run_id="r", key_prefix=CHANNEL).next() == 1


# --- the end of a process ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "verb, said", [("send_input(1, 'r')", "was not stored"), ("receive_input(int, flow_run_id='r').next()", "")]
)
def test_a_process_does_not_outlive_its_wait_for_a_server_that_never_answers(verb: str, said: str) -> None:
    program = f"""
        import os, signal, threading
        from flowchan import receive_input, send_input

        threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        try:
            {verb}
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    """
    with listener() as port:
        environment = {
            **os.environ,
            "FLOWCHAN_URL": f"redis://127.0.0.1:{port}",
            "FLOWCHAN_CONNECT_TIMEOUT": "60",
        }
        ended = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    assert ended.stdout == "interrupted\n"
    assert said in ended.stderr
    assert len(ended.stderr.splitlines()) == (1 if said else 0)
