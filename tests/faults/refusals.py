"""A server that refuses for a while: what was to be sent is sent when it takes it again, once and in its order.

Each refusal is the server's own, brought about as operation brings it about; its own count of errors says that it was
met.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis

from flowchan import send_input
from flowchan.errors import BrokerRefused
from tests.faults.checker import hold
from tests.faults.conversation import Conversation, conversation
from tests.faults.fault import Broken, Fault, Progress, Seen
from tests.faults.surroundings import RUN, looking, own_server
from tests.support.ports import free_ports
from tests.support.server import Server
from tests.support.streams import CHANNEL
from tests.support.waiting import eventually

# --- what can be refused --------------------------------------------------------------------------------


@contextmanager
def loading(server: Server) -> Iterator[None]:
    """It was killed, and has a long file to read."""
    server.kill()
    server.launch()
    yield
    server.wait()


@contextmanager
def readonly(server: Server) -> Iterator[None]:
    """It was made a replica, of nobody who answers: so it keeps what it has."""
    (nobody,) = free_ports(1)
    with server.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", nobody)
        yield
        client.execute_command("REPLICAOF", "NO", "ONE")


@contextmanager
def masterdown(server: Server) -> Iterator[None]:
    """Likewise, and it is not to show what may be stale."""
    with server.client() as client:
        client.config_set("replica-serve-stale-data", "no")
        with readonly(server):
            yield
        client.config_set("replica-serve-stale-data", "yes")


@contextmanager
def misconf(server: Server) -> Iterator[None]:
    """It cannot save its data, and so takes no writes."""
    in_the_way = server.folder / "dump.rdb"
    in_the_way.mkdir()
    with server.client() as client:
        client.config_set("save", "3600 1")
        saved(client, "err")
        yield
        in_the_way.rmdir()
        saved(client, "ok")
        client.config_set("save", "")
    in_the_way.unlink()


def saved(client: redis.Redis, outcome: str) -> None:
    def is_so() -> bool:
        info: Any = client.info("persistence")
        return bool(info["rdb_last_bgsave_status"] == outcome)

    client.bgsave()
    eventually(is_so, f"a save that ends with {outcome}")


@contextmanager
def noreplicas(server: Server) -> Iterator[None]:
    """It is to have a replica, and has none."""
    with server.client() as client:
        client.config_set("min-replicas-to-write", 1)
        yield
        client.config_set("min-replicas-to-write", 0)


@contextmanager
def busy(server: Server) -> Iterator[None]:
    """A script keeps it busy."""

    def script() -> None:
        with server.client() as client, contextlib.suppress(redis.ResponseError):
            client.eval("while true do end", 0)

    thread = threading.Thread(target=script)
    thread.start()

    def is_busy() -> bool:
        with server.client() as client:
            try:
                client.ping()
            except redis.ResponseError:
                return True
        return False

    eventually(is_busy, "the busy script")
    yield
    with server.client() as client:
        client.script_kill()
    thread.join()


KINDS: dict[str, Callable[[Server], Any]] = {
    "LOADING": loading,
    "READONLY": readonly,
    "MASTERDOWN": masterdown,
    "MISCONF": misconf,
    "NOREPLICAS": noreplicas,
    "BUSY": busy,
}


def refused(server: Server) -> dict[str, int]:
    """How often it has refused anything, by code."""
    with server.client() as client:
        info: Any = client.info("errorstats")
    return {name.removeprefix("errorstat_"): each["count"] for name, each in info.items()}


def refuses_and_goes_on(count: int, progress: Progress) -> Seen:
    """``count`` times each."""
    counted = f"{count:,} times each"
    options = ("--key-load-delay", "400", "--loading-process-events-interval-bytes", "1024")
    met: dict[str, int] = dict.fromkeys(KINDS, 0)
    with own_server(*options, "--busy-reply-threshold", "50") as server:
        with server.client() as client, client.pipeline() as pipe:
            for number in range(5000):  # two seconds to load
                pipe.set(f"load:{number}", "x", px=3_600_000)
            pipe.execute()

        async def all_kinds() -> Conversation:
            async with conversation(count * len(KINDS)) as mine:
                for done in range(count):
                    for code, kind in KINDS.items():
                        before = 0 if kind is loading else refused(server).get(code, 0)
                        await mine.refused(lambda kind=kind: kind(server))  # type: ignore[misc]
                        met[code] += refused(server).get(code, 0) - before
                    progress(done + 1)
            return mine

        mine = asyncio.run(all_kinds())
        with looking(server) as streams:
            stored = streams.values(RUN)
            left = streams.groups()
    hold(stored, [mine.sender]).must_be_none(counted)
    if left != 1:
        raise Broken(counted, f"{left} groups were left in the stream, one of them the user's")
    return mine.seen(counted, len(stored), met)


def refuses_past_the_deadline(count: int, progress: Progress) -> Seen:
    """What is refused for good is told by the deadline, and nothing of it is stored."""
    longest = 0.0
    with own_server(send_timeout="1") as server, noreplicas(server):

        async def send(number: int) -> None:
            with contextlib.suppress(BrokerRefused):
                await send_input(number, RUN, key_prefix=CHANNEL)
                raise Broken("1 send", "it was acknowledged by a server that refuses")

        for number in range(count):
            start = time.monotonic()
            asyncio.run(send(number))
            longest = max(longest, time.monotonic() - start)
            progress(number + 1)
        with looking(server) as streams:
            stored = streams.length(RUN)
    if stored or longest > 3.0:
        raise Broken(f"{count:,} sends", f"{stored:,} stored, told after {longest:.1f} s")
    return Seen(f"{count:,} sends, 1 s each", f"BrokerRefused after ≤ {longest:.1f} s, none stored")


FAULTS = (
    Fault(
        "LOADING, READONLY, MASTERDOWN, MISCONF, NOREPLICAS, BUSY",
        "retried within the deadline; order kept",
        1,
        10,
        refuses_and_goes_on,
    ),
    Fault(
        "NOREPLICAS past the deadline",
        "a typed error by the deadline; nothing stored",
        2,
        20,
        refuses_past_the_deadline,
    ),
)
