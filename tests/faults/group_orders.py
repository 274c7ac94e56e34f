"""A group in whatever order things happen to its receivers, as a user sees them.

Each number is handed out at least once; and once only, unless a process crashed or a receiver left that had it and had
not acknowledged it. (What the server knows of a group is held against a model in ``tests/groups/test_every_order.py``.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from flowchan.broker.work import Work
from flowchan.wire import keys
from tests.faults.fault import Fault, Progress, Seen
from tests.faults.machines import Machine, Process, play
from tests.support.streams import CHANNEL

GROUP = "shop"
STEPS = 50
MOST = 4
OVERDUE = 10_000_000


class Worker:
    """A task that works for the group: what it was handed is its own until it acknowledges it or asks for the next."""

    def __init__(self, process: Process, run: str) -> None:
        self.process = process
        self.held: int | None = None
        self._handle = process.channels.receive_input(int, flow_run_id=run, key_prefix=CHANNEL, group=GROUP, timeout=0)
        self._orders: asyncio.Queue[tuple[Callable[[], Awaitable[Any]], asyncio.Future[Any]]] = asyncio.Queue()
        self.task = asyncio.ensure_future(self._work())

    @property
    def consumer(self) -> str | None:
        """Its name in the group; None before it has asked for anything."""
        bound = self._handle._bound
        return bound[1].consumer if bound is not None and isinstance(bound[1], Work) else None

    async def _work(self) -> None:
        while True:
            order, outcome = await self._orders.get()
            try:
                outcome.set_result(await order())
            except Exception as error:  # noqa: BLE001 - told to who has ordered it
                outcome.set_exception(error)

    async def _do(self, order: Callable[[], Awaitable[Any]]) -> Any:
        outcome = asyncio.get_running_loop().create_future()
        self._orders.put_nowait((order, outcome))
        return await outcome

    async def next(self, patience: float | None = None) -> int | None:
        """The next number, if there is one; ``patience`` is when the wait is cancelled."""

        async def take() -> int | None:
            self.held = None
            self._handle._timeout = 0.0 if patience is None else 10.0
            try:
                async with asyncio.timeout(patience):
                    self.held = await self._handle.next()
            except TimeoutError:
                return None
            return self.held

        found: int | None = await self._do(take)
        return found

    async def ack(self) -> None:
        await self._do(self._handle.ack)
        self.held = None

    def leave(self) -> None:
        self._handle.close()
        self.task.cancel()

    def die(self) -> None:
        """With its process: nobody renews a lease."""
        assert self._handle._sharing is not None
        self._handle._sharing.forget()
        self.task.cancel()


class GroupOrders(Machine):
    """One process sends; in others, workers share what it sends."""

    @initialize()
    def it_begins(self) -> None:
        self.sender = Process()
        self.do(self.sender.begin())
        self.workers: list[Worker] = []
        self.sent = 0
        self.handed: set[int] = set()
        self.acknowledged: set[int] = set()
        self.may_come_again: set[int] = set()

    # --- what can happen -------------------------------------------------------------------------

    @rule(count=st.integers(1, 6))
    def some_are_sent(self, count: int) -> None:
        async def send() -> None:
            channels = self.sender.channels
            sends = [channels.send_input(self.sent + n, self.run_id, key_prefix=CHANNEL) for n in range(count)]
            for each in sends:
                await each

        self.do(send())
        self.sent += count

    @precondition(lambda self: len(self.workers) < MOST)
    @rule(shares=st.booleans())
    def one_comes(self, *, shares: bool) -> None:
        async def come() -> None:
            process = self.workers[0].process if shares and self.workers else Process()
            await process.begin()
            self.workers.append(Worker(process, self.run_id))

        self.do(come())

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), patience=st.sampled_from([None, None, 0.0, 0.001, 0.003]))
    def one_asks_for_the_next(self, data: st.DataObject, patience: float | None) -> None:
        worker = self._one(data)
        if worker.held is not None:
            self.may_come_again.discard(worker.held)
        self._given(self.do(worker.next(patience)))

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def one_acknowledges(self, data: st.DataObject) -> None:
        worker = self._one(data)
        held = worker.held
        self.do(worker.ack())
        if held is not None:
            self.acknowledged.add(held)

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def one_leaves(self, data: st.DataObject) -> None:
        worker = self._one(data)
        self.workers.remove(worker)
        if worker.held is not None:
            self.may_come_again.add(worker.held)

        async def leave() -> None:
            worker.leave()

        self.do(leave())

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def a_process_crashes(self, data: st.DataObject) -> None:
        process = self._one(data).process
        dead = [worker for worker in self.workers if worker.process is process]
        self.workers = [worker for worker in self.workers if worker.process is not process]
        names = [worker.consumer for worker in dead]

        async def crash() -> None:
            await process.crash()
            for worker in dead:
                worker.die()

        self.do(crash())
        for name in names:
            self._lease_ends(name)

    @rule(which=st.none() | st.integers(0, 20))
    def connections_are_cut(self, which: int | None) -> None:
        self.kill_connections(which)

    @rule()
    def time_passes(self) -> None:
        self.do(asyncio.sleep(0.01))

    def teardown(self) -> None:
        if hasattr(self, "sender"):
            self._ends()

    # --- how -------------------------------------------------------------------------------------

    def _one(self, data: st.DataObject) -> Worker:
        return data.draw(st.sampled_from(self.workers))

    def _stream(self) -> str:
        return keys.stream(self.sender.channels.settings.namespace, self.run_id, CHANNEL)

    def _given(self, number: int | None) -> None:
        if number is None:
            return
        assert number not in self.acknowledged, f"{number} was acknowledged"
        assert number not in self.handed or number in self.may_come_again, f"{number} was handed out before"
        self.handed.add(number)
        self.may_come_again.discard(number)

    def _pending(self, consumer: str | None = None) -> list[Any]:
        if not self.client.exists(self._stream()):
            return []
        groups: Any = self.client.xinfo_groups(self._stream())
        if GROUP.encode() not in [each["name"] for each in groups]:
            return []
        found: Any = self.client.xpending_range(self._stream(), GROUP, "-", "+", 1000, consumer)
        return list(found)

    def _lease_ends(self, consumer: str | None) -> None:
        """What a crashed consumer still had, by the server's word, comes again."""
        if consumer is None:
            return
        for each in self._pending(consumer):
            entry = each["message_id"]
            self.client.xclaim(
                *(self._stream(), GROUP, consumer, 0, [entry]),
                idle=OVERDUE,
                retrycount=each["times_delivered"],
                justid=True,
            )
            earlier: Any = self.client.xrange(self._stream(), "-", entry)
            self.may_come_again.add(len(earlier) - 1)

    def _ends(self) -> None:
        """Whoever is left acknowledges; one who comes last is given all that nobody else was."""

        async def end() -> None:
            for worker in self.workers:
                held = worker.held
                await worker.ack()
                if held is not None:
                    self.acknowledged.add(held)
                worker.leave()
            last = Worker(Process(), self.run_id)
            await last.process.begin()
            # What the others give back may be on its way, over a connection that was cut.
            async with asyncio.timeout(20):
                while True:
                    while (number := await last.next()) is not None:
                        self._given(number)
                        await last.ack()
                    if not self._pending() and self.handed == set(range(self.sent)):
                        break
                    await asyncio.sleep(0.02)
            last.leave()

        self.do(end())
        assert self.handed == set(range(self.sent)), f"never handed out: {set(range(self.sent)) - self.handed}"
        assert not self._pending()


def in_any_order(count: int, progress: Progress) -> Seen:
    """``count`` stories of :data:`STEPS` steps."""
    begun = play(GroupOrders, count, STEPS, progress)
    return Seen(
        f"{begun:,} stories of ≤ {STEPS} steps",
        "each number handed out; once only, but for those of processes that crashed and receivers that left",
    )


FAULTS = (
    Fault(
        "a group in any order (hypothesis): send, receive, acknowledge, cancel, leave, cut, crash",
        "all at least once; once only where nobody crashed or left",
        25,
        300,
        in_any_order,
    ),
)
