"""Receivers that are killed (-9) while they have a message in their hands."""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flowchan import receive_input, sync
from tests.faults.checker import Sender, hold
from tests.faults.fault import Broken, Fault, Progress, Seen
from tests.faults.surroundings import RUN, looking, own_server
from tests.support.groups import pending
from tests.support.streams import CHANNEL

_LEASE = 1.0
_AT_ONCE = 6
_MOST_TAKES = 3
_PATIENCE = 30.0
GROUP = "shop"


class Nest:
    """Receivers in processes of their own, of which one costs a fork."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("nest.py")
        self._process = subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._buffer = b""
        self.pids: set[int] = set()
        """Those that have told of themselves, and were not killed."""

    def hatch(self, takes: int, group: str | None = None, after: str | None = None) -> None:
        """Have one more receiver, which is to take so many messages and then to stay."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"takes": takes, "group": group, "after": after}).encode() + b"\n")
        self._process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """What a receiver says next."""
        assert self._process.stdout is not None
        while b"\n" not in self._buffer:
            readable, _, _ = select.select([self._process.stdout], [], [], _PATIENCE)
            assert readable, "no receiver gets anything"
            data = os.read(self._process.stdout.fileno(), 1 << 16)
            assert data, "the receivers have ended"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        told: dict[str, Any] = json.loads(line)
        self.pids.add(told["pid"])
        return told

    def kill(self, pid: int) -> None:
        """As a crash would end it."""
        self.pids.remove(pid)
        os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        for pid in list(self.pids):
            self.kill(pid)
        self._process.kill()
        self._process.communicate()


@contextlib.contextmanager
def nest() -> Iterator[Nest]:
    made = Nest()
    try:
        yield made
    finally:
        made.close()


class _Shop:
    """What is known of a group's messages: who has which, and which were done with."""

    def __init__(self) -> None:
        self.kills = 0
        self.again = 0
        """How often one was handed out that a killed receiver had."""
        self.finished: list[str] = []
        self._dropped: Counter[str] = Counter()
        """How often each was in the hands of one who was killed."""
        self._in_hand: dict[int, str] = {}

    def took(self, pid: int, value: str, deliveries: int) -> None:
        """A receiver has a message; by asking for it, it has said that it is done with the one before."""
        self.finish(pid)
        if value in self._in_hand.values():
            raise Broken(f"{self.kills:,} kills", f"{value} was handed to two at once")
        if deliveries != (expected := self._dropped[value] + 1):
            raise Broken(f"{self.kills:,} kills", f"{value} was handed out {expected} times; it says {deliveries}")
        self.again += deliveries > 1
        self._in_hand[pid] = value

    def finish(self, pid: int) -> None:
        """It is done with what it has."""
        if pid in self._in_hand:
            self.finished.append(self._in_hand.pop(pid))

    def killed(self, pid: int) -> None:
        self.kills += 1
        self._dropped[self._in_hand.pop(pid)] += 1


def _kill_many(shop: _Shop, count: int, progress: Progress) -> None:
    chance = random.Random(1)
    with nest() as receivers:
        hatched = 0
        while shop.kills < count:
            while hatched < min(count, shop.kills + _AT_ONCE):
                receivers.hatch(chance.randint(1, _MOST_TAKES), GROUP)
                hatched += 1
            told = receivers.hear()
            shop.took(told["pid"], told["took"], told["deliveries"])
            if told["stays"]:
                receivers.kill(told["pid"])
                shop.killed(told["pid"])
                progress(shop.kills)


def _take_the_rest(shop: _Shop) -> None:
    receiver: Any = receive_input(
        *(str, 3 * _LEASE, 10.0), flow_run_id=RUN, key_prefix=CHANNEL, group=GROUP, with_metadata=True
    )
    with receiver, contextlib.suppress(TimeoutError):
        while True:
            message = receiver.next()
            shop.took(0, message.value, message.metadata.delivery_count)
    shop.finish(0)


def _run(count: int, progress: Progress) -> Seen:
    sender, shop = Sender(), _Shop()
    with own_server(append_only=False, lease=str(_LEASE)) as server:
        for number in range(_MOST_TAKES * count):
            sender.sends(f"{number}")
            sync.send_input(f"{number}", RUN, key_prefix=CHANNEL)
            sender.acknowledged(f"{number}")
        _kill_many(shop, count, progress)
        _take_the_rest(shop)
        with looking(server) as streams:
            left = pending(streams, GROUP)
    counted = (
        f"{shop.kills:,} receivers of a group killed, each with a message in its hands; {len(sender.told):,} messages"
    )
    hold(shop.finished, [sender]).must_be_none(counted, besides=["swapped"])
    if shop.again != shop.kills or left:
        raise Broken(counted, f"{shop.again:,} redelivered, {left:,} still pending")
    return Seen(counted, f"{shop.again:,} redelivered; each done with once, 0 lost")


FAULTS = (
    Fault(
        "receiver killed mid-message, named group", "all redelivered, and nothing that was done with", 60, 1_000, _run
    ),
)
