"""One to many and many to one, with flowchan and by hand. A message is the time at which it was sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import redis.asyncio

from benchmarks.contenders.by_hand import packed, unpacked
from benchmarks.contenders.crowd_redis_py import Outbox
from benchmarks.conversation import PATIENCE, Place
from flowchan import open_run, receive_input, send_input
from flowchan.input import InputReceiver


class Typed:
    """Receivers are of one channel of one run."""

    def __init__(self, place: Place) -> None:
        self._place = place

    async def open(self, receivers: int) -> None:
        run = self._place.mine
        self._receivers: list[InputReceiver[int]] = [receive_input(int, flow_run_id=run) for _ in range(receivers)]

    async def close(self) -> None:
        for receiver in self._receivers:
            receiver.close()

    async def receive(self, messages: int) -> dict[str, Any]:
        """Have each receiver take so many messages."""
        times: list[tuple[int, int]] = []

        async def take(receiver: InputReceiver[int]) -> None:
            for _ in range(messages):
                sent = await receiver.next()
                times.append((sent, time.monotonic_ns()))

        return await _told(times, *(take(receiver) for receiver in self._receivers))

    async def send(self, senders: int, messages: int) -> None:
        """Have so many senders, each a run, send so many messages, each awaited."""

        async def send(sender: int) -> None:
            with open_run(f"{self._place.mine}-{sender}"):
                for _ in range(messages):
                    await send_input(time.monotonic_ns(), self._place.theirs)

        await asyncio.gather(*(send(sender) for sender in range(senders)))


class ByHand:
    """Each receiver reads the stream on a connection of its own; senders share one, pipelined."""

    def __init__(self, place: Place) -> None:
        self._place = place

    async def open(self, receivers: int) -> None:
        self._clients: list[Any] = [self._client() for _ in range(receivers)]
        self._sender = self._client()
        self._outbox = Outbox(self._sender)
        self._last = [b"0"] * receivers

    async def close(self) -> None:
        await self._outbox.close()
        for client in (self._sender, *self._clients):
            await client.aclose()

    async def receive(self, messages: int) -> dict[str, Any]:
        times: list[tuple[int, int]] = []

        async def take(number: int) -> None:
            left, client = messages, self._clients[number]
            while left:
                wanted = {self._place.mine: self._last[number]}
                ((_, entries),) = await client.xread(wanted, count=min(left, 100), block=int(PATIENCE * 1000))
                for entry, fields in entries:
                    times.append((unpacked(fields[b"v"]), time.monotonic_ns()))
                    self._last[number] = entry
                left -= len(entries)

        return await _told(times, *(take(number) for number in range(len(self._clients))))

    async def send(self, senders: int, messages: int) -> None:
        async def send() -> None:
            for _ in range(messages):
                await self._outbox.call("XADD", self._place.theirs, "*", "v", packed(time.monotonic_ns()))

        await asyncio.gather(*(send() for _ in range(senders)))

    def _client(self) -> Any:
        return redis.asyncio.Redis(
            unix_socket_path=self._place.socket, socket_timeout=None, single_connection_client=True
        )


async def _told(times: list[tuple[int, int]], *work: Coroutine[Any, Any, None]) -> dict[str, Any]:
    """How long it was from the first send to the last receipt, and each message on its way."""
    await asyncio.gather(*work)
    seconds = (max(received for _, received in times) - min(sent for sent, _ in times)) / 1e9
    return {"seconds": seconds, "nanoseconds": [received - sent for sent, received in times]}
