"""A server that is stopped (SIGSTOP) for a while: connections stay, nothing is answered."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from flowchan.channels import Channels
from flowchan.errors import BrokerUnavailable, SendOutcomeUnknown
from tests.faults.checker import Sender, Told, Witness, all_told, hold
from tests.faults.fault import Broken, Fault, Progress, Seen
from tests.faults.surroundings import RUN, looking, own_server
from tests.support.server import Server
from tests.support.streams import CHANNEL
from tests.support.waiting import eventually_async

_SENDERS = 3
_WAIT = 1.0
_LATE = 1.0
"""Seconds that something may end behind its time: for a machine that is busy."""


class _Limits:
    """How long each call took beyond the time that it was given."""

    def __init__(self) -> None:
        self.calls = 0
        self.latest = 0.0

    @contextlib.contextmanager
    def within(self, seconds: float) -> Any:
        start = time.monotonic()
        try:
            yield
        finally:
            self.calls += 1
            self.latest = max(self.latest, time.monotonic() - start - seconds)


class _Ordeal:
    def __init__(self, send_timeout: float) -> None:
        self.limits = _Limits()
        self.senders = [Sender(f"{number}") for number in range(_SENDERS)]
        self.saw = {name: Witness(name) for name in ("private", "group", "sync")}
        self._send_timeout = send_timeout
        self._is_over = threading.Event()

    async def run(self, server: Server, seconds: float, progress: Callable[[int], None]) -> None:
        async with anyio.create_task_group() as tasks:
            for sender in self.senders:
                tasks.start_soon(self._send, sender)
            tasks.start_soon(self._receive, self.saw["private"], None)
            tasks.start_soon(self._receive, self.saw["group"], "shop")
            tasks.start_soon(anyio.to_thread.run_sync, self._receive_here, self.saw["sync"])
            await self._all_go_on()
            with server.paused():
                for second in range(int(seconds)):
                    await self._first_wait()  # of a receiver that is new: it takes a second, too
                    progress(second + 1)
            await self._all_go_on()
            self._is_over.set()
            await eventually_async(lambda: all(self._ended(saw) for saw in self.saw.values()), "the last message")
            tasks.cancel_scope.cancel()

    def _ended(self, saw: Witness) -> bool:
        return {f"{sender.name}-end" for sender in self.senders} <= set(saw.values[-1000:])

    async def _all_go_on(self) -> None:
        """Until each receiver has something of each sender's that is sent from now on."""
        counts = {sender.name: len(sender.told) for sender in self.senders}

        def is_new(value: Any) -> bool:
            name, _, number = value.partition("-")
            return int(number) >= counts[name]

        await eventually_async(
            lambda: all(
                {value.partition("-")[0] for value in saw.values[-1000:] if is_new(value)} == counts.keys()
                for saw in self.saw.values()
            ),
            "the next message",
            60,
        )

    async def _send(self, sender: Sender) -> None:
        # Connections of its own, because its settings are its own.
        client = Channels(home=Path(f"/nowhere/{sender.name}"))
        while not self._is_over.is_set():
            await self._send_one(client, sender, f"{sender.name}-{len(sender.told)}")
            await anyio.sleep(0.002)
        await self._send_one(client, sender, f"{sender.name}-end")

    async def _send_one(self, client: Channels, sender: Sender, value: str) -> None:
        sender.sends(value)
        # Until it is known that nobody answers, and then as long again.
        with self.limits.within(2 * self._send_timeout):
            try:
                await client.send_input(value, RUN, key_prefix=CHANNEL)
            except SendOutcomeUnknown:
                pass
            except BrokerUnavailable:
                sender.failed(value)
            else:
                sender.acknowledged(value)

    async def _receive(self, saw: Witness, group: str | None) -> None:
        receiver: Any = _receiver(group=group)
        async with receiver:
            while True:
                with self.limits.within(_WAIT), contextlib.suppress(TimeoutError, BrokerUnavailable):
                    saw.values.append(await receiver.next())

    def _receive_here(self, saw: Witness) -> None:
        with _receiver() as receiver:
            while not self._ended(saw):
                with self.limits.within(_WAIT), contextlib.suppress(TimeoutError, BrokerUnavailable):
                    saw.values.append(receiver.next())

    async def _first_wait(self) -> None:
        receiver: Any = _receiver()
        async with receiver:
            with self.limits.within(_WAIT), contextlib.suppress(TimeoutError, BrokerUnavailable):
                await receiver.next()


def _receiver(**options: Any) -> Any:
    return Channels().receive_input(
        str, flow_run_id=RUN, key_prefix=CHANNEL, timeout=_WAIT, poll_interval=10, **options
    )


def _run(seconds: int, progress: Progress) -> Seen:
    send_timeout = seconds / 3
    with own_server(append_only=False, send_timeout=str(send_timeout)) as server:
        ordeal = _Ordeal(send_timeout)
        asyncio.run(ordeal.run(server, seconds, progress))
        with looking(server) as streams:
            stored = streams.values(RUN)
    counted = (
        f"{seconds} s; {all_told(ordeal.senders)} sends of {_SENDERS} senders;"
        f" {ordeal.limits.calls:,} calls, waits of {_WAIT:g} s among them"
    )
    if all(sender.count(Told.ACKNOWLEDGED) == len(sender.told) for sender in ordeal.senders):
        raise Broken(counted, "it was not stopped")
    text = hold(stored, ordeal.senders).must_be_none(counted)
    for saw in ordeal.saw.values():
        saw.hold(stored, ordeal.senders).must_be_none(f"{counted}, seen by the {saw.name} receiver")
    if ordeal.limits.latest > _LATE:
        raise Broken(counted, f"{text}; a call ended {ordeal.limits.latest:.1f} s too late")
    return Seen(counted, f"{text}; none ended more than {max(ordeal.limits.latest, 0):.2f} s behind its time")


FAULTS = (Fault("server stopped (SIGSTOP)", "nothing hangs past its timeout; no duplicate", 3, 30, _run),)
