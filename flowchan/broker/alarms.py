"""Many deadlines on one timer of the loop: a timer each would take half a KiB, and most never ring."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable

_FEW = 256


class Alarm:
    """A call that is to be made at a time, unless it is cancelled before."""

    __slots__ = ("call", "when")

    def __init__(self, when: float, call: Callable[[], None]) -> None:
        self.when = when
        self.call: Callable[[], None] | None = call
        """None when it is over."""

    def __lt__(self, other: Alarm) -> bool:
        return self.when < other.when


class Alarms:
    """The alarms of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._heap: list[Alarm] = []
        self._cancelled = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def at(self, when: float, call: Callable[[], None]) -> Alarm:
        """Have something called at a time of the loop's clock."""
        alarm = Alarm(when, call)
        heapq.heappush(self._heap, alarm)
        self._set_timer()
        return alarm

    def cancel(self, alarm: Alarm) -> None:
        """Have it not called. Cancelled alarms are not kept until their time: it may be an hour off."""
        if alarm.call is None:
            return
        alarm.call = None
        self._cancelled += 1
        if self._cancelled > _FEW and self._cancelled * 2 > len(self._heap):
            self._heap = [each for each in self._heap if each.call is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def _set_timer(self) -> None:
        when = self._heap[0].when
        if self._timer is not None:
            if self._timer_at <= when:
                return
            self._timer.cancel()
        self._timer_at = when
        self._timer = self._loop.call_at(when, self._ring)

    def _ring(self) -> None:
        self._timer = None
        # The timer's own time has come, whatever the clock says: it may be coarser.
        now = max(self._timer_at, self._loop.time())
        try:
            while self._heap and self._heap[0].when <= now:
                alarm = heapq.heappop(self._heap)
                call, alarm.call = alarm.call, None
                if call is None:
                    self._cancelled -= 1
                else:
                    call()
        finally:  # the others are to ring, whatever one call has raised
            if self._heap:
                self._set_timer()
