"""Receivers whose processes are stopped (SIGSTOP) for a while, in the middle of a wait or with a message in the hand."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, Self

from flowchan import sync
from tests.faults.checker import Sender, Value, Witness, hold
from tests.faults.fault import Broken, Fault, Progress, Seen
from tests.faults.surroundings import RUN, own_server
from tests.support.streams import CHANNEL
from tests.support.waiting import eventually

_LEASE = 1.0
_TIMEOUT = 1.0
_LATE = 1.0
"""Seconds that something may end behind its time: for a machine that is busy."""
_PAUSE = 0.005


class _Follower:
    """A receiver in a process of its own, and what it has told."""

    def __init__(self, name: str, group: str | None = None) -> None:
        self.saw = Witness(name)
        self.deliveries: Counter[Value] = Counter()
        """How often each value had been handed out, as it was told."""
        self.longest = 0.0
        """Seconds that the longest wait lasted."""
        script = Path(__file__).with_name("follower.py")
        arguments = [str(_TIMEOUT), *([group] if group else [])]
        self._process = subprocess.Popen([sys.executable, script, *arguments], stdout=subprocess.PIPE)
        self._listening = threading.Thread(target=self._listen)

    def __enter__(self) -> Self:
        self._listening.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._listening.join()
        self._process.communicate()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            told: dict[str, Any] = json.loads(line)
            self.longest = max(self.longest, told["lasted"])
            if "took" in told:
                self.deliveries[told["took"]] = told["deliveries"]
                self.saw.values.append(told["took"])

    @contextlib.contextmanager
    def stopped(self) -> Any:
        os.kill(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._process.pid, signal.SIGCONT)


class _Speaker:
    """Sends without end, in a thread of its own."""

    def __init__(self) -> None:
        self.sender = Sender("a")
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._speak)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _speak(self) -> None:
        while not self._is_over.wait(_PAUSE):
            value = f"{len(self.sender.told)}"
            self.sender.sends(value)
            sync.send_input(value, RUN, key_prefix=CHANNEL)
            self.sender.acknowledged(value)


def _stop_some(seconds: int, progress: Progress) -> tuple[Sender, list[_Follower], list[_Follower], float]:
    """The sender; the private receivers, the group's, of each the first one was stopped; how late those went on."""
    with contextlib.ExitStack() as stack:
        private = [stack.enter_context(_Follower(f"{name} private")) for name in ("stopped", "other")]
        group = [stack.enter_context(_Follower(f"{name} shared", "shop")) for name in ("stopped", "other")]
        with _Speaker() as speaker:
            eventually(lambda: all(follower.saw.values for follower in private + group), "the first message")
            with private[0].stopped(), group[0].stopped():
                for second in range(seconds):
                    time.sleep(1)  # the fault itself
                    progress(second + 1)
                sent_meanwhile = len(speaker.sender.told) - len(private[0].saw.values)
                counts = [len(private[0].saw.values), len(group[0].saw.values)]
            if sent_meanwhile < seconds:
                raise Broken(f"{seconds} s", "it was not stopped")
            on = time.monotonic()
            eventually(lambda: len(private[0].saw.values) > counts[0] and len(group[0].saw.values) > counts[1])
            late = time.monotonic() - on
        sent = speaker.sender.told.keys()
        eventually(lambda: all(len(follower.saw.values) >= len(sent) for follower in private), "the last message", 60)
        eventually(lambda: {value for follower in group for value in follower.saw.values} >= sent, "likewise", 60)
        return speaker.sender, private, group, late


def _run(seconds: int, progress: Progress) -> Seen:
    with own_server(append_only=False, lease=str(_LEASE)):
        sender, private, group, late = _stop_some(seconds, progress)
    counted = f"{seconds} s, a private receiver and one of a group; {len(sender.told):,} messages"
    for follower in private:
        follower.saw.hold(list(sender.told), [sender]).must_be_none(f"{counted}; seen by the {follower.saw.name} one")
    hold([value for each in group for value in each.saw.values], [sender]).must_be_none(
        counted, besides=["swapped", "doubled"]
    )
    stopped, other = (Counter(follower.saw.values) for follower in group)
    twice = [value for value, times in (stopped + other).items() if times > 1]
    untold = [value for value in twice if max(each.deliveries[value] for each in group) < 2]
    result = f"private: 0 lost, 0 twice, in order; group: {len(twice)} that the stopped one had, redelivered"
    if len(twice) > 1 or untold:
        raise Broken(counted, f"{result}, {len(untold)} not said to be")
    late = max(late, *(follower.longest - _TIMEOUT for follower in (private[1], group[1])))
    if late > _LATE:
        raise Broken(counted, f"{result}; {late:.1f} s behind its time")
    return Seen(counted, f"{result}; none more than {max(late, 0):.2f} s behind its time")


FAULTS = (Fault("receiver stopped (SIGSTOP)", "nothing hangs past its timeout; no duplicate", 2, 60, _run),)
