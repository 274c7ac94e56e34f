"""A receiver that cannot keep up: what waits for it waits at the server, and harms nobody."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import threading
import time
from collections.abc import Iterator
from typing import Any, Self

import psutil
import redis

from flowchan.wire import codec, keys
from flowchan.wire.envelope import Envelope, to_fields
from tests.faults.fault import Broken, Fault, Progress, Seen
from tests.faults.surroundings import own_server
from tests.support.programs import running
from tests.support.streams import CHANNEL

MOST = 64 * 2**20
BODY = 100
"""Characters of each message."""
BATCH = 1000
LATEST = 2.0
"""Seconds within which another channel's message arrives, whatever happens to this one's receiver."""

PROGRAM = """
import asyncio, json, sys, time
from flowchan import receive_input, send_input

def number(text):
    return int(text.partition(" ")[0])

async def main():
    slow = receive_input(str, flow_run_id="slow", key_prefix="numbers", timeout=None)
    other = receive_input(str, flow_run_id="slow", key_prefix="numbers", timeout=None)
    echo = receive_input(float, flow_run_id="fast", key_prefix="numbers", timeout=None)
    assert number(await slow.next()) == number(await other.next()) == 0
    told, echoes, got, is_flooded = [0], [], 1, asyncio.Event()

    async def keep_up():
        async for text in other:
            assert number(text) == told[0] + 1, (text, told)
            told[0] += 1
            if told[0] == last:
                return

    async def fast():
        while True:
            start = time.perf_counter()
            await send_input(start, "fast", key_prefix="numbers")
            assert await echo.next() == start
            echoes.append(time.perf_counter() - start)
            await asyncio.sleep(0.002)

    async def listen():
        await asyncio.to_thread(sys.stdin.readline)
        is_flooded.set()

    last = LAST
    echoing = asyncio.ensure_future(fast())
    await asyncio.sleep(1)
    print(json.dumps({"quiet": sorted(echoes)}), flush=True)
    echoes.clear()
    keeping, listening = asyncio.ensure_future(keep_up()), asyncio.ensure_future(listen())
    while not is_flooded.is_set():  # slower than any sender, and never idle
        await asyncio.sleep(0.01)
        assert number(await slow.next()) == got
        got += 1
    before = got
    await keeping
    for expected in range(got, last + 1):
        assert number(await slow.next()) == expected
    echoing.cancel()
    print(json.dumps({"flooded": sorted(echoes), "waited": last + 1 - before}), flush=True)
    sys.stdin.readline()

asyncio.run(main())
"""


def fill(client: redis.Redis, stream: str, first: int, last: int) -> Iterator[int]:
    """What one sender would store, as quickly as a server takes it."""
    for start in range(first, last + 1, BATCH):
        with client.pipeline(transaction=False) as pipe:
            for number in range(start, min(start + BATCH, last + 1)):
                body = codec.encode({"value": f"{number} ".ljust(BODY, "x")})
                flat = to_fields(Envelope(f"{7:016x}-{number + 1:x}", None, number + 1, "0" * 8, {}, body))
                pipe.execute_command("XADD", stream, "*", *flat)
            pipe.pexpire(stream, 3_600_000)
            pipe.execute()
        yield min(start + BATCH, last + 1)


class Peak:
    """The most memory that a process has while the block lasts, and what it had at its beginning."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.before = self.most = self._process.memory_info().rss
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._is_over.wait(0.02):
            with contextlib.suppress(psutil.Error):
                self.most = max(self.most, self._process.memory_info().rss)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    @property
    def more(self) -> int:
        return self.most - self.before


def waits_for_the_slow(count: int, progress: Progress) -> Seen:
    """``count`` messages for one that takes a hundred a second, then all that are left."""
    with own_server("--save", "", append_only=False) as server, server.client() as client:
        stream = keys.stream(os.environ["FLOWCHAN_NAMESPACE"], "slow", CHANNEL)
        list(fill(client, stream, 0, 0))
        with running(PROGRAM.replace("LAST", str(count))) as child:
            assert child.stdout is not None
            assert child.stdin is not None

            def says() -> Any:
                line = child.stdout.readline()  # type: ignore[union-attr]
                assert line, child.stderr.read() if child.stderr is not None else ""
                return json.loads(line)

            quiet = says()["quiet"]
            with Peak(child.pid) as peak:
                for done in fill(client, stream, 1, count):
                    progress(done - 1)
                child.stdin.write("\n")
                child.stdin.flush()
                start = time.monotonic()
                told = says()
                taken = time.monotonic() - start
            child.stdin.write("\n")
            child.stdin.flush()
    flooded, waited = told["flooded"], told["waited"]
    counted = f"{count:,} messages of {BODY} characters, {waited:,} of them waiting"
    result = (
        f"RSS + {peak.more / 2**20:.1f} MiB, all received in order ({waited / taken:,.0f} a second); another channel's"
        f" echo: median {_ms(statistics.median(flooded))} instead of {_ms(statistics.median(quiet))} ms, longest"
        f" {_ms(flooded[-1])} ms"
    )
    if peak.more > MOST or flooded[-1] > LATEST or waited < count / 2:
        raise Broken(counted, result)
    return Seen(counted, result)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f}"


FAULTS = (Fault("slow consumer", "RSS + ≤ 64 MiB, others unaffected", 20_000, 1_000_000, waits_for_the_slow),)
