"""A group in whatever order things happen: send, claim, acknowledge, crash, come back, give back, bury, send again.

What the server knows is held against a model of it after each step. A lease that is over is made so, not waited for.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from dataclasses import dataclass, field
from typing import Any, ClassVar

import hypothesis
import redis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_as_test

from flowchan.broker.broker import Broker, broker_of_this_loop
from flowchan.broker.claims import Claim
from flowchan.broker.dead_letters import Letter
from flowchan.settings import current_settings
from flowchan.wire import keys
from flowchan.wire.envelope import FOR_GROUP_FIELD
from flowchan.wire.keys import EntryId

GROUP = "shop"
MOST = 2
OVERDUE = 10_000_000

_numbers = itertools.count()


@dataclass(eq=False)
class Consumer:
    """One process's: what it knows it has."""

    name: str = field(default_factory=lambda: f"flowchan-{secrets.token_hex(6)}")
    held: set[EntryId] = field(default_factory=set)


@dataclass
class Pending:
    """What the group's list should say of a message."""

    consumer: str
    count: int
    is_overdue: bool = False


def works(group: Group) -> bool:
    """Whether any consumer has a message, as far as it knows."""
    return any(each.held for each in group.consumers)


class Group(RuleBasedStateMachine):
    """A group of one channel, and what should be so."""

    runner: ClassVar[asyncio.Runner]
    client: ClassVar[redis.Redis]

    def __init__(self) -> None:
        super().__init__()
        self.run = f"r-{next(_numbers)}"
        self.stream = keys.stream(current_settings().namespace, self.run, "numbers")
        self.consumers = [Consumer()]
        self.new: list[EntryId] = []
        self.pending: dict[EntryId, Pending] = {}
        self.done: set[EntryId] = set()
        self.dead: dict[str, int] = {}
        """The keys of messages that are dead letters, each with how often it was handed out."""
        self.sent = 0
        self.discarded = 0

    def do(self, act: Any) -> Any:
        async def ask() -> Any:
            return await act(broker_of_this_loop(current_settings()))

        return self.runner.run(ask())

    # --- what can happen -------------------------------------------------------------------------

    def one(self, data: st.DataObject) -> Consumer:
        return data.draw(st.sampled_from(self.consumers))

    def one_with_work(self, data: st.DataObject) -> tuple[Consumer, EntryId]:
        consumer = data.draw(st.sampled_from([each for each in self.consumers if each.held]))
        return consumer, data.draw(st.sampled_from(sorted(consumer.held)))

    @precondition(lambda self: len(self.consumers) < 4)
    @rule()
    def a_consumer_comes(self) -> None:
        self.consumers.append(Consumer())

    @initialize(count=st.integers(1, 5))
    def it_begins(self, count: int) -> None:
        self.some_are_sent(count)

    @rule(count=st.integers(1, 5))
    def some_are_sent(self, count: int) -> None:
        for _ in range(count):
            entry: Any = self.client.xadd(self.stream, {"number": self.sent})
            self.client.pexpire(self.stream, 60_000)
            self.new.append(EntryId.parse(entry))
            self.sent += 1

    @rule(data=st.data(), look=st.sampled_from(["", "1", "1", "2"]), is_lost=st.sampled_from([False, False, True]))
    def one_claims(self, data: st.DataObject, look: str, is_lost: bool) -> None:
        consumer = self.one(data)
        known = [entry for entry, each in self.pending.items() if each.consumer == consumer.name]
        if look != "2" and any(entry not in consumer.held for entry in known):
            look = "2"  # as one does that is in doubt

        async def claim(broker: Broker) -> Claim:
            return await broker.claims.claim(self.stream, GROUP, consumer.name, look, consumer.held, MOST)

        expected, buried = self.expected(consumer, look)
        found = self.do(claim)
        assert found.buried == tuple(buried)
        if expected is None:
            assert found.fields is None
            return
        assert (found.entry, found.deliveries) == (expected, self.pending[expected].count)
        assert b"number" in found.fields
        if not is_lost:  # else the answer never came: the consumer does not know what it has
            consumer.held.add(found.entry)

    def expected(self, consumer: Consumer, look: str) -> tuple[EntryId | None, list[EntryId]]:
        """What a claim should get, and what should become dead letters meanwhile; the model is changed."""
        buried: list[EntryId] = []
        for entry in sorted(self.pending) if look == "2" else ():
            each = self.pending[entry]
            if each.consumer == consumer.name and entry not in consumer.held:
                self.pending[entry] = Pending(consumer.name, max(each.count, 1))
                return entry, buried
        for entry in sorted(self.pending) if look else ():
            each = self.pending[entry]
            if not each.is_overdue or entry in consumer.held:
                continue
            if each.count < MOST:
                self.pending[entry] = Pending(consumer.name, each.count + 1)
                return entry, buried
            self.dies(entry)
            buried.append(entry)
        if not self.new:
            return None, buried
        self.pending[self.new[0]] = Pending(consumer.name, 1)
        return self.new.pop(0), buried

    def dies(self, entry: EntryId) -> None:
        self.dead[keys.message_key(self.stream, entry)] = self.pending.pop(entry).count

    @precondition(works)
    @rule(data=st.data())
    def one_acknowledges(self, data: st.DataObject) -> None:
        consumer, entry = self.one_with_work(data)
        consumer.held.discard(entry)
        self.do(lambda broker: broker.claims.acknowledge(self.stream, GROUP, entry))
        # It may have become another's meanwhile, or a dead letter: the work was done all the same.
        if self.pending.pop(entry, None) is not None:
            assert entry not in self.done
            self.done.add(entry)

    @precondition(works)
    @rule(data=st.data())
    def one_is_killed_and_its_lease_ends(self, data: st.DataObject) -> None:
        consumer, _ = self.one_with_work(data)
        self.consumers[self.consumers.index(consumer)] = Consumer()
        self.lease_ends(consumer)

    @precondition(works)
    @rule(data=st.data())
    def one_hangs_until_its_lease_ends(self, data: st.DataObject) -> None:
        self.lease_ends(self.one_with_work(data)[0])

    def lease_ends(self, consumer: Consumer) -> None:
        for entry, each in self.pending.items():
            if each.consumer == consumer.name:
                self.client.xclaim(
                    self.stream, GROUP, consumer.name, 0, [str(entry)], idle=OVERDUE, retrycount=each.count, justid=True
                )
                each.is_overdue = True

    @precondition(works)
    @rule(data=st.data())
    def one_is_heard_of(self, data: st.DataObject) -> None:
        consumer, _ = self.one_with_work(data)
        self.do(lambda broker: broker.claims.renew(self.stream, GROUP, consumer.name, consumer.held))
        for entry in consumer.held & self.pending.keys():
            if self.pending[entry].consumer == consumer.name:
                self.pending[entry].is_overdue = False

    @precondition(works)
    @rule(data=st.data(), were_handed_out=st.booleans())
    def one_leaves(self, data: st.DataObject, were_handed_out: bool) -> None:
        consumer, _ = self.one_with_work(data)
        self.consumers[self.consumers.index(consumer)] = Consumer()

        async def give_back(broker: Broker) -> None:
            entries = consumer.held
            await broker.claims.give_back(self.stream, GROUP, consumer.name, entries, were_handed_out=were_handed_out)

        self.do(give_back)
        for entry in consumer.held & self.pending.keys():
            each = self.pending[entry]
            if each.consumer == consumer.name:
                each.is_overdue = True
                each.count -= 0 if were_handed_out else 1
        # What it has and never heard of stays behind.
        self.lease_ends(consumer)

    @precondition(works)
    @rule(data=st.data(), times=st.integers(1, 2))
    def one_cannot_read_a_message(self, data: st.DataObject, times: int) -> None:
        consumer, entry = self.one_with_work(data)
        consumer.held.discard(entry)
        is_its = entry in self.pending and self.pending[entry].consumer == consumer.name
        for attempt in range(times):  # a lost answer has it done again
            was_moved = self.do(
                lambda broker: broker.claims.bury(self.stream, GROUP, consumer.name, entry, "invalid", "why")
            )
            assert was_moved == (is_its and attempt == 0)
        if is_its:
            self.dies(entry)

    @precondition(lambda self: self.dead)
    @rule(data=st.data(), times=st.integers(1, 2))
    def a_dead_letter_is_sent_again(self, data: st.DataObject, times: int) -> None:
        letter = data.draw(st.sampled_from(self.letters()))
        entries = {self.do(lambda broker: broker.dead_letters.resend(letter)) for _ in range(times)}
        (entry,) = entries
        del self.dead[letter.key]
        self.new.append(entry)
        ((_, fields),) = self.client.xrange(self.stream, str(entry), str(entry))  # type: ignore[misc]
        assert fields[FOR_GROUP_FIELD] == GROUP.encode()

    @precondition(lambda self: self.dead)
    @rule(data=st.data())
    def a_dead_letter_is_discarded(self, data: st.DataObject) -> None:
        letter = data.draw(st.sampled_from(self.letters()))
        assert self.do(lambda broker: broker.dead_letters.discard(letter))
        assert not self.do(lambda broker: broker.dead_letters.discard(letter))
        del self.dead[letter.key]
        self.discarded += 1

    def letters(self) -> list[Letter]:
        found: list[Letter] = self.do(lambda broker: broker.dead_letters.read(self.run))
        return found

    # --- what is so at any time ------------------------------------------------------------------

    @invariant()
    def the_group_s_list_is_as_it_should_be(self) -> None:
        try:
            found: Any = self.client.xpending_range(self.stream, GROUP, "-", "+", 1000)
        except redis.ResponseError:
            found = []  # nobody has claimed anything yet
        pending = {EntryId.parse(each["message_id"]): each for each in found}
        assert pending.keys() == self.pending.keys()
        for entry, each in self.pending.items():
            there = pending[entry]
            assert (there["consumer"].decode(), there["times_delivered"]) == (each.consumer, each.count)
            assert (there["time_since_delivered"] > 15_000) == each.is_overdue

    @invariant()
    def each_dead_letter_is_there_once(self) -> None:
        found = self.letters()
        assert {letter.key: letter.deliveries for letter in found} == self.dead
        assert len(found) == len(self.dead) == self.do(lambda broker: broker.dead_letters.count(self.run))

    @invariant()
    def no_message_is_lost(self) -> None:
        places = (self.new, self.pending, self.done, self.dead)
        assert sum(map(len, places)) + self.discarded == self.sent


def test_a_group_is_as_it_should_be_in_whatever_order_things_happen(client: redis.Redis) -> None:
    with asyncio.Runner() as runner:
        Group.runner, Group.client = runner, client
        run_as_test(Group, settings=hypothesis.settings(max_examples=80, stateful_step_count=60, deadline=None))
