"""The way to the server: cut, reset, slow, silent in one direction or both, gone for a while."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio

from flowchan.broker import dialler, lane
from tests.faults.fault import Broken, Fault, Progress, Seen
from tests.faults.surroundings import RUN, looking, own_proxy, own_server
from tests.faults.talk import Talk
from tests.support.proxy import Proxy

_BOTH = (None, "shop")
_RATE = 20_000.0
_DELAY = 0.05
_GOES_AGAIN = 5.0
_SEND_TIMEOUT = "120"
_THROUGH = 60.0
"""Seconds for what is under way before the next message, where the way is slow."""
_FOUND_OUT = 1.0
_CLOSEST = 0.95
"""Seconds between two attempts; a twentieth for the clock of a machine that is busy."""


class _Told:
    """What the row says besides that nothing is lost."""

    def __init__(self) -> None:
        self.counted = ""
        self.slowest = 0.0
        self.closest = float("inf")
        self.remark = ""

    @contextlib.asynccontextmanager
    async def until(self, talk: Talk) -> Any:
        """After the block: until all go on, as quickly as it takes."""
        yield
        start = time.monotonic()
        await talk.goes_again()
        self.slowest = max(self.slowest, time.monotonic() - start)


Ordeal = Callable[[Proxy, Talk, int, Progress, _Told], Awaitable[None]]


def _run(
    count: int,
    progress: Progress,
    ordeal: Ordeal,
    *,
    tcp: bool = False,
    goes_again: float = _GOES_AGAIN,
    **options: Any,
) -> Seen:
    told = _Told()

    async def run(proxy: Proxy) -> Talk:
        talk = Talk(groups=_BOTH, **options)
        async with talk.under_way():
            await ordeal(proxy, talk, count, progress, told)
        return talk

    with own_server(append_only=False, send_timeout=_SEND_TIMEOUT) as server:
        with own_proxy(server, tcp=tcp) as proxy:
            talk = asyncio.run(run(proxy))
        with looking(server) as streams:
            stored = streams.values(RUN)
    counted = f"{told.counted}; {talk.sends:,} sends"
    text = f"{talk.hold(stored, counted)}; going again ≤ {told.slowest:.1f} s{told.remark}"
    if told.slowest > goes_again or told.closest < _CLOSEST:
        raise Broken(counted, text)
    return Seen(counted, text)


async def _cut(proxy: Proxy, talk: Talk, count: int, progress: Progress, told: _Told) -> None:
    await _end_again_and_again(proxy.cut, proxy, talk, count, progress, told)


async def _reset(proxy: Proxy, talk: Talk, count: int, progress: Progress, told: _Told) -> None:
    await _end_again_and_again(proxy.reset, proxy, talk, count, progress, told)


async def _end_again_and_again(
    end: Callable[[], int], proxy: Proxy, talk: Talk, count: int, progress: Progress, told: _Told
) -> None:
    chance, ended, before = random.Random(1), 0, len(proxy.calls)
    for number in range(count):
        # Where reads end at once, again and again, a lane takes longer and longer pauses: that is another fault.
        await anyio.sleep(0.15 + chance.random() * 0.1)
        async with told.until(talk):
            ended += await asyncio.to_thread(end)
        progress(number + 1)
    made = len(proxy.calls) - before
    told.counted = f"{count:,} times all connections, {ended:,} in all"
    told.remark = f"; {made:,} reconnects"
    if not count <= made <= ended:
        raise Broken(told.counted, f"{made:,} reconnects")


async def _gone(proxy: Proxy, talk: Talk, seconds: int, progress: Progress, told: _Told) -> None:
    """Half of the time who connects is turned away, half of the time he is never answered."""
    counts: list[int] = []
    for way in ("accepts", "answers"):
        setattr(proxy, way, False)
        start = time.monotonic()
        await asyncio.to_thread(proxy.cut)
        for second in range(seconds // 2):
            await anyio.sleep(1)  # the fault itself
            progress(seconds // 2 * len(counts) + second + 1)
        attempts = [when for when in proxy.calls if when > start]
        counts.append(len(attempts))
        # Each connection finds out by itself, at once; from then on one attempt stands for all.
        later = [when for when in attempts if when > start + _FOUND_OUT]
        told.closest = min([told.closest, *(b - a for a, b in itertools.pairwise(later))])
        setattr(proxy, way, True)
        async with told.until(talk):
            pass
    told.counted = f"{seconds // 2} s turned away, {seconds // 2} s not answered; one client"
    told.remark = f"; {counts[0]:,} and {counts[1]:,} attempts, {told.closest:.1f} s or more apart"
    if not all(counts):
        raise Broken(told.counted, "nobody tried to connect")


async def _half_open(proxy: Proxy, talk: Talk, count: int, progress: Progress, told: _Told) -> None:
    ways = ({"requests": False}, {"replies": False}, {})
    for number in range(count):
        before = proxy.connections
        proxy.swallow(**ways[number % len(ways)])
        async with told.until(talk):
            pass
        if proxy.connections == before:
            raise Broken(f"{number + 1} times", "nobody noticed")
        progress(number + 1)
    told.counted = f"{count} times all connections stay open and let nothing through, in one direction or both"


async def _slow(proxy: Proxy, talk: Talk, count: int, progress: Progress, told: _Told) -> None:
    proxy.delay, proxy.rate = _DELAY, _RATE
    before, start = talk.sends, time.monotonic()
    while (sent := talk.sends - before) < count:
        async with told.until(talk):
            pass
        progress(min(sent, count))
    seconds = time.monotonic() - start
    proxy.delay, proxy.rate = 0.0, None
    if told.slowest < 2 * _DELAY:
        raise Broken(f"{seconds:.0f} s", "it was not slow")
    told.counted = f"{seconds:.0f} s at {_RATE:,.0f} bytes a second and {_DELAY * 1000:.0f} ms each way"


@contextlib.contextmanager
def _patience(seconds: float | None) -> Iterator[None]:
    """For how long a silent connection is trusted: in the tests less than it is."""
    before = dialler.REPLY_PATIENCE, lane._GRACE
    if seconds is not None:
        dialler.REPLY_PATIENCE, lane._GRACE = seconds, seconds
    try:
        yield
    finally:
        dialler.REPLY_PATIENCE, lane._GRACE = before


def _run_half_open(count: int, progress: Progress) -> Seen:
    patience = 0.5 if count < 6 else None
    trusted = (patience or dialler.REPLY_PATIENCE) + 5
    with _patience(patience):
        return _run(count, progress, _half_open, goes_again=trusted + _GOES_AGAIN, poll_interval=0.5)


FAULTS = (
    Fault(
        *("connections cut", "recovered; no reconnect but for what was cut", 20, 200),
        lambda count, progress: _run(count, progress, _cut),
    ),
    Fault(
        *("connections reset", "recovered; no reconnect but for what was reset", 20, 200),
        lambda count, progress: _run(count, progress, _reset, tcp=True),
    ),
    Fault(
        *("server out of reach", "recovered; at most one attempt a second a client", 6, 60),
        lambda count, progress: _run(count, progress, _gone, are_apart=False),
    ),
    Fault("connections half-open", "recovered", 3, 6, _run_half_open),
    Fault(
        *("connections slow", "recovered; nothing lost, nothing twice", 20, 200),
        lambda count, progress: _run(count, progress, _slow, goes_again=_THROUGH),
    ),
)
