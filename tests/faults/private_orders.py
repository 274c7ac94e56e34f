"""Private receivers in whatever order things happen: sends, waits that are cancelled, connections that are cut, a
channel that is deleted. Each has had every number of every sender once, in order, or was told that it is missing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from flowchan.errors import MessagesLost
from flowchan.input import InputReceiver
from flowchan.wire import keys
from tests.faults.fault import Fault, Progress, Seen
from tests.faults.machines import Machine, Process, play, turns
from tests.support.streams import CHANNEL

STEPS = 50
MOST = 4


@dataclass
class Sender:
    """One process's; its numbers are those that its messages bear."""

    name: str
    process: Process = field(default_factory=Process)
    sent: int = 0


@dataclass(eq=False)
class Receiver:
    """What one was given: for each sender the numbers, those that were told to be missing among them."""

    handle: InputReceiver[Any]
    knows_all: bool
    had: dict[str, list[int]] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    """Of what it was given, in this order."""

    def take(self, message: Any) -> None:
        name, number = message.value
        self.had.setdefault(name, []).append(number)
        self.keys.append(message.metadata.key)

    def told(self, lost: MessagesLost) -> None:
        assert lost.sender is not None
        self.had.setdefault(lost.sender, []).extend(range(lost.first, lost.last + 1))


class PrivateOrders(Machine):
    """Two processes that send and receive."""

    @initialize()
    def it_begins(self) -> None:
        self.senders = [Sender("a"), Sender("b")]
        for sender in self.senders:
            self.do(sender.process.begin())
        self.receivers: list[Receiver] = []
        self.sends: list[Any] = []
        self.was_deleted = False

    # --- what can happen -------------------------------------------------------------------------

    @rule(which=st.integers(0, 1), count=st.integers(1, 5), is_awaited=st.booleans())
    def some_are_sent(self, which: int, count: int, is_awaited: bool) -> None:
        async def send() -> None:
            for _ in range(count):
                self._send(self.senders[which])
            if is_awaited:
                await self._settle()

        self.do(send())

    @precondition(lambda self: len(self.receivers) < MOST)
    @rule(which=st.integers(0, 1))
    def one_begins(self, which: int) -> None:
        self.receivers.append(Receiver(self._receive(which), knows_all=True))

    @precondition(lambda self: len(self.receivers) < MOST)
    @rule(which=st.integers(0, 1), key=st.integers(0, 100))
    def one_begins_behind_a_key(self, which: int, key: int) -> None:
        known = [each for receiver in self.receivers for each in receiver.keys]
        options = {"after": known[key % len(known)]} if known else {}
        self.receivers.append(Receiver(self._receive(which, **options), knows_all=not known))

    @precondition(lambda self: self.receivers)
    @rule(data=st.data(), count=st.integers(1, 8))
    def one_takes_some(self, data: st.DataObject, count: int) -> None:
        self.do(self._take(data.draw(st.sampled_from(self.receivers)), count))

    @precondition(lambda self: self.receivers)
    @rule(data=st.data(), waits=st.lists(st.integers(0, 12), min_size=1, max_size=4))
    def waits_are_cancelled(self, data: st.DataObject, waits: list[int]) -> None:
        receiver = data.draw(st.sampled_from(self.receivers))

        async def wait() -> None:
            for count in waits:
                waiting = asyncio.ensure_future(self._take_one(receiver))
                await turns(count)
                waiting.cancel()
                await asyncio.wait([waiting])
                if not waiting.cancelled():
                    waiting.result()

        receiver.handle._timeout = 10.0
        self.do(wait())
        receiver.handle._timeout = 0.0

    @precondition(lambda self: self.receivers)
    @rule(data=st.data())
    def one_leaves(self, data: st.DataObject) -> None:
        receiver = data.draw(st.sampled_from(self.receivers))
        self.receivers.remove(receiver)
        self.do(self._end(receiver))

    @rule(which=st.none() | st.integers(0, 20))
    def connections_are_cut(self, which: int | None) -> None:
        self.kill_connections(which)

    @rule()
    def time_passes(self) -> None:
        self.do(asyncio.sleep(0.01))

    @precondition(lambda self: any(each.sent for each in self.senders))
    @rule()
    def the_channel_is_deleted(self) -> None:
        self.do(self._settle())
        self.client.delete(self._stream())
        self.was_deleted = True

    def teardown(self) -> None:
        if not hasattr(self, "senders"):
            return
        self.do(self._all_is_told())

    # --- how -------------------------------------------------------------------------------------

    def _stream(self) -> str:
        return keys.stream(self.senders[0].process.channels.settings.namespace, self.run_id, CHANNEL)

    def _send(self, sender: Sender) -> None:
        sender.sent += 1
        value = (sender.name, sender.sent)
        self.sends.append(
            sender.process.channels.send_input(value, self.run_id, sender=sender.name, key_prefix=CHANNEL)
        )

    async def _settle(self) -> None:
        sends, self.sends = self.sends, []
        for send in sends:
            await send

    def _receive(self, which: int, **options: Any) -> InputReceiver[Any]:
        options |= {"flow_run_id": self.run_id, "key_prefix": CHANNEL, "timeout": 0, "with_metadata": True}
        return self.senders[which].process.channels.receive_input(tuple, **options)

    async def _take_one(self, receiver: Receiver) -> None:
        try:
            receiver.take(await receiver.handle.next())
        except MessagesLost as lost:
            receiver.told(lost)

    async def _take(self, receiver: Receiver, count: int) -> None:
        for _ in range(count):
            try:
                await self._take_one(receiver)
            except TimeoutError:
                return

    async def _end(self, receiver: Receiver) -> None:
        receiver.handle.close()
        self._check(receiver)

    async def _all_is_told(self) -> None:
        for sender in self.senders:  # a gap shows by what follows it
            self._send(sender)
        await self._settle()
        for receiver in self.receivers:
            async with asyncio.timeout(20):
                while not self._has_all(receiver):
                    receiver.handle._timeout = 10.0
                    await self._take_one(receiver)
            receiver.handle.close()
            self._check(receiver)
        again = Receiver(self._receive(0), knows_all=True)
        await self._take(again, 10_000)
        assert self._has_all(again)
        self._check(again)
        again.handle.close()
        for sender in self.senders:
            await sender.process.close()

    def _has_all(self, receiver: Receiver) -> bool:
        return all(receiver.had.get(each.name, [0])[-1] == each.sent for each in self.senders)

    def _check(self, receiver: Receiver) -> None:
        for sender in self.senders:
            had = receiver.had.get(sender.name, [])
            first = 1 if receiver.knows_all or not had else had[0]
            assert had == list(range(first, first + len(had))), (sender.name, had)
        if not self.was_deleted:
            # A stream that is deleted and written to within a millisecond gives that millisecond's IDs again.
            assert len(receiver.keys) == len(set(receiver.keys))
            assert sum(map(len, receiver.had.values())) == len(receiver.keys), "nothing was missing, and it was told so"


def in_any_order(count: int, progress: Progress) -> Seen:
    """``count`` stories of :data:`STEPS` steps."""
    begun = play(PrivateOrders, count, STEPS, progress)
    return Seen(f"{begun:,} stories of ≤ {STEPS} steps", "each number once, in order, or told to be missing")


FAULTS = (
    Fault(
        "private receivers in any order (hypothesis): send, wait, cancel, cut, delete",
        "all once and in order, or told to be missing",
        25,
        250,
        in_any_order,
    ),
)
