"""Sends whose answer never comes: the server has stored the message, and the connection ends before it can say so."""

from __future__ import annotations

import asyncio
import random
import threading
from pathlib import Path
from typing import Any

from flowchan.channels import Channels
from tests.faults.checker import Sender, hold
from tests.faults.fault import Broken, Fault, Progress, Seen
from tests.faults.surroundings import RUN, looking, own_proxy, own_server
from tests.support.proxy import Fate, Proxy
from tests.support.streams import CHANNEL

_CLIENTS = 10
_BATCH = 50


class _Droppings:
    """Drops the reply to every XADD that comes by, but for a few whose request gets lost instead.

    So no send ever has its answer: each that is stored is one whose reply was dropped.
    """

    def __init__(self) -> None:
        self.requests = 0
        self._lock = threading.Lock()
        self._chance = random.Random(1)

    def fate(self, request: bytes) -> Fate:
        sends = request.count(b"\r\nXADD\r\n")
        if not sends:
            return Fate.PASS
        with self._lock:
            # Where nothing was stored it must be sent again; who never does so would pass, too.
            if self._chance.random() < 0.05:
                self.requests += sends
                return Fate.LOSE_REQUEST
        return Fate.LOSE_REPLY


class _Client:
    """A sender with connections of its own: its settings are its own."""

    def __init__(self, number: int, done: Any) -> None:
        self.sender = Sender(str(number))
        self._channels = Channels(home=Path(f"/nowhere/{number}"))
        self._done = done

    async def send(self, count: int, batch: int) -> None:
        """So many in all, so many of them at once."""
        for first in range(0, count, batch):
            sends: list[tuple[str, Any]] = []
            for number in range(first, min(first + batch, count)):
                value = f"{self.sender.name}-{number}"
                self.sender.sends(value)
                sends.append((value, self._channels.send_input(value, RUN, key_prefix=CHANNEL)))
            for value, send in sends:
                await send
                self.sender.acknowledged(value)
                self._done()


async def _all(count: int, progress: Progress) -> list[Sender]:
    done = 0

    def one_more() -> None:
        nonlocal done
        done += 1
        progress(done)

    clients = [_Client(number, one_more) for number in range(2 * _CLIENTS)]
    each = count // len(clients)
    for those, batch in ((clients[:_CLIENTS], 1), (clients[_CLIENTS:], _BATCH)):
        async with asyncio.TaskGroup() as tasks:
            for client in those:
                tasks.create_task(client.send(each, batch))
    return [client.sender for client in clients]


def _under(proxy: Proxy, count: int, progress: Progress) -> tuple[list[Sender], int]:
    droppings = _Droppings()
    proxy.fate = droppings.fate
    senders = asyncio.run(_all(count, progress))
    return senders, droppings.requests


def _run(count: int, progress: Progress) -> Seen:
    with own_server(append_only=False) as server:
        with own_proxy(server) as proxy:
            senders, lost = _under(proxy, count, progress)
            cuts = proxy.cuts
        with looking(server) as streams:
            stored = streams.values(RUN)
    counted = (
        f"{count:,} sends, half of them {_BATCH} at once; the reply to each was dropped, in {cuts:,} cuts,"
        f" and {lost:,} requests besides"
    )
    text = hold(stored, senders).must_be_none(counted)
    if len(stored) != count:
        raise Broken(counted, f"{len(stored):,} entries")
    return Seen(counted, f"{len(stored):,} entries; {text}")


FAULTS = (Fault("dropped replies to XADD", "exactly as many entries as sends", 600, 10_000, _run),)
