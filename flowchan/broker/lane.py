"""A lane: one connection on which one blocking read over some dozens of streams is always under way."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable
from typing import Any

from flowchan.broker.commands import Commands
from flowchan.broker.connection import Connection, ConnectionLost, Refusal, ignore, pack
from flowchan.broker.heartbeat import Heartbeat
from flowchan.broker.opener import Opener
from flowchan.broker.refusals import GONE, PASSING, translated
from flowchan.broker.tap import LONGEST_BLOCK, Tap
from flowchan.errors import FlowchanError
from flowchan.wire import keys
from flowchan.wire.keys import EntryId

logger = logging.getLogger(__name__)

WIDTH = 40
"""Streams a lane, as a rule. More cost each wake-up (the server looks at all), fewer cost connections."""

_NARROWEST = 16
_MOST_LANES = 250


def width(streams: int) -> int:
    """How many streams a lane may have in a process that waits on so many.

    Few have narrow lanes, which wake in half the time; beyond ten thousand, rather wide lanes than more connections
    than a server likes a client to have.
    """
    return max(_NARROWEST, min(WIDTH, streams // _NARROWEST), streams // _MOST_LANES)


_COUNT = 16
_SHORTEST_BLOCK = 0.05
_GRACE = 5.0
_HELPED = 0.1
"""Seconds that a read must have lasted for the repair before it to have been of use."""

_PAUSE = 0.5
_LONGEST_PAUSE = 5.0
_IDLE = 10.0

_WORTH_REPEATING = PASSING | GONE | {"BUSYGROUP", "ERR", "OOM"}
"""Refusals of a repair that the next one need not meet; ``ERR`` is that the stream is gone once more."""

_NOT_NOW = PASSING | {"OOM"}
"""Refusals of a write that is worth another try: memory is freed, too."""


class Lane:
    """One XREADGROUP at a time over the streams of its taps, each through a group of the lane's own.

    The read is never cancelled: what arrives for a listener that has left is dropped here, and its group
    is destroyed. The groups are read without acknowledgement, and a lost connection makes them anew at
    the last ID handed over, so a reply that died on the wire is read again. Anew and under a new name:
    the old connection may still be blocked in the server and would take the next message.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        dialler: Opener,
        commands: Commands,
        heartbeat: Heartbeat,
        name: str,
        retention_ms: int,
    ) -> None:
        self.taps: dict[bytes, Tap] = {}
        self._loop = loop
        self._dialler = dialler
        self._commands = commands
        self._heartbeat = heartbeat
        self._name = name
        self._retention_ms = retention_ms
        self._generation = 0
        self._connection: Connection | None = None
        self._opening = False
        self._reading = 0
        self._is_reading = False
        self._read_taps: dict[bytes, Tap] = {}
        self._waking = 0
        self._repairing = False
        self._departed = False
        self._pause = 0.0
        self._was_failing = False
        self._repaired_at = 0.0
        self._packed: bytes | None = None
        self._litter: dict[tuple[str, str], None] = {}
        """Groups that the server did not destroy when it was asked to, for it took no writes."""
        self._sweep_at: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def group(self) -> str:
        """The name that all of the lane's groups bear."""
        return f"{self._name}-{self._generation}"

    def join(self, tap: Tap) -> None:
        """Read one more stream, from behind ``tap.cursor``; if that is refused for a while, when it is not any more."""
        self.taps[tap.stream.encode()] = tap
        self._join(tap)

    def _join(self, tap: Tap) -> None:
        def created(reply: Any) -> None:
            if not self._repairing:  # which makes another
                tap.has_group = _may_be_made(reply)
            if self.taps.get(tap.stream.encode()) is not tap:
                return
            if not isinstance(reply, Exception):
                tap.ready = True
                self._packed = None
                self._kick()
            elif isinstance(reply, ConnectionLost) or (isinstance(reply, Refusal) and reply.code == "BUSYGROUP"):
                self._repair()
            elif isinstance(reply, Refusal) and reply.code in _NOT_NOW:
                # Not a repair: that would be one of the others, too, whose groups are there.
                logger.warning("%s: %s; listening to one more stream soon.", self._dialler.name, reply.code)
                self._loop.call_later(_LONGEST_PAUSE if reply.code == "OOM" else _PAUSE, self._join_again, tap)
            else:
                self._give_up(tap, reply)

        tap.has_group = True
        self._heartbeat.mark(tap.stream)
        self._commands.write(self._create(tap), created, ignore)

    def _join_again(self, tap: Tap) -> None:
        if self._closed or tap.ready or self.taps.get(tap.stream.encode()) is not tap:
            return
        if self._repairing:  # perhaps with this one, perhaps without
            self._loop.call_later(_PAUSE, self._join_again, tap)
        else:
            self._join(tap)

    def leave(self, tap: Tap) -> None:
        """Stop reading a stream, and free what the broker holds for it."""
        key = tap.stream.encode()
        if self.taps.get(key) is not tap:
            return
        del self.taps[key]
        self._packed = None
        self._departed = self._is_reading
        if tap.has_group:
            self._destroy(tap.stream, self.group)
        if not self.taps:
            self._loop.call_later(_IDLE, self._close_if_idle)

    def sweep(self) -> bool:
        """Free what the broker was asked to free before, and did not; whether there was anything."""
        if self._sweep_at is not None:
            self._sweep_at.cancel()
            self._sweep_at = None
        litter, self._litter = self._litter, {}
        for stream, group in litter:
            self._destroy(stream, group)
        return bool(litter)

    def close(self) -> None:
        """End the connection."""
        self._closed = True
        if self._sweep_at is not None:
            self._sweep_at.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def abandon(self) -> None:
        """Give back the socket only: the loop is closed, or another process's."""
        if self._connection is not None:
            self._connection.abandon()

    def poll(self) -> None:
        """Take what has arrived by now, without waiting for the loop to say so."""
        if self._connection is not None:
            self._connection.poll()

    # --- reading ---------------------------------------------------------------------------------

    def _kick(self) -> None:
        """Have the streams that are ready in the read that is under way."""
        if not self._is_reading:
            self._read()
        elif self._waking != self._reading:
            self._waking = self._reading
            self._wake(self._reading)

    def _wake(self, reading: int) -> None:
        connection = self._connection
        if not self._is_reading or self._reading != reading or connection is None or connection.identity is None:
            return

        def woken(reply: Any) -> None:
            # 0: the read has not reached the server yet, or is on its way back.
            if reply != 1 and not isinstance(reply, Exception):
                self._loop.call_later(0.001, self._wake, reading)
            elif isinstance(reply, Exception):
                self._waking = 0  # the read's own end brings the new streams in, a poll interval later

        self._commands.unblock(connection.identity, woken)

    def _read(self) -> None:
        if self._is_reading or self._repairing or self._closed:
            return
        if self._packed is None and not self._pack():
            return
        if self._connection is None:
            self._open()
            return
        self._read_taps = dict(self.taps)
        self._reading += 1
        self._is_reading = True
        self._departed = False
        assert self._packed is not None  # noqa: S101 - _pack has just said so
        self._connection.write(self._packed, self._replied)

    def _pack(self) -> bool:
        ready = [tap for tap in list(self.taps.values()) if tap.ready]
        if not ready:
            return False
        block = min(LONGEST_BLOCK, max(_SHORTEST_BLOCK, min(tap.poll_interval for tap in ready)))
        if self._connection is not None:
            self._connection.patience = block + _GRACE
        self._packed = pack(
            (
                *("XREADGROUP", "GROUP", self.group, "1", "COUNT", _COUNT, "BLOCK", int(block * 1000), "NOACK"),
                *("STREAMS", *(tap.stream for tap in ready), *(">" for _ in ready)),
            )
        )
        return True

    def _replied(self, reply: Any) -> None:
        self._is_reading = False
        if isinstance(reply, Refusal):
            self._refused(reply)
            return
        if isinstance(reply, ConnectionLost):
            return  # _lost follows, once for all
        self._pause = 0.0
        if reply:
            for key, entries in reply:
                tap = self.taps.get(key)
                # Not to one that has joined since then, for the same stream: between its place and this may be more.
                if tap is not None and tap is self._read_taps.get(key):
                    tap.feed(entries)
        # After those who were woken: what they send now goes out before the next read.
        self._loop.call_soon(self._read)

    def _refused(self, refusal: Refusal) -> None:
        if refusal.code in GONE and self._departed:
            # A listener left, and its group went under the read.
            self._read()
        elif refusal.code in GONE or refusal.code == "WRONGTYPE":
            for tap in self.taps.values():
                tap.rewind()
            self._repair()  # which finds out whose stream it is
        elif refusal.code in PASSING:
            logger.warning("%s: %s; reading again soon.", self._dialler.name, refusal.code)
            self._loop.call_later(_PAUSE, self._repair)
        else:
            for tap in list(self.taps.values()):
                self._give_up(tap, refusal)

    # --- the connection --------------------------------------------------------------------------

    def _open(self) -> None:
        if not self._opening and not self._closed:
            self._opening = True
            self._dialler.open(self._opened)

    def _opened(self, connection: Connection | FlowchanError) -> None:
        self._opening = False
        if isinstance(connection, FlowchanError):
            for tap in list(self.taps.values()):
                self._give_up(tap, connection)
            return
        if self._closed:
            connection.close()
            return
        connection.lost = self._lost
        self._connection = connection
        self._packed = None
        self._read()

    def _lost(self, _: ConnectionLost) -> None:
        self._connection = None
        self._is_reading = False
        if self.taps:
            self._repair()

    def _close_if_idle(self) -> None:
        if not self.taps and self._connection is not None:
            self._connection.close()
            self._connection = None
            self._is_reading = False

    # --- after a loss ----------------------------------------------------------------------------

    def _create(self, tap: Tap) -> bytes:
        create = ("XGROUP", "CREATE", tap.stream, self.group, str(tap.cursor), "MKSTREAM")
        # NX: a stream that has a time to live got it with its last message.
        return pack(create) + pack(("PEXPIRE", tap.stream, self._retention_ms, "NX"))

    def _destroy(self, stream: str, group: str) -> None:
        """Free a group, however often that is lost or refused meanwhile: a group outlives its reader."""

        def gone(reply: Any) -> None:
            if self._closed:
                return
            if isinstance(reply, ConnectionLost):
                self._destroy(stream, group)
            elif isinstance(reply, Refusal) and reply.code in PASSING:
                self._litter[stream, group] = None
                if self._sweep_at is None:
                    self._sweep_at = self._loop.call_later(_LONGEST_PAUSE, self.sweep)

        self._commands.request(gone, "XGROUP", "DESTROY", stream, group)

    def _repair(self) -> None:
        """Make every group anew, under a new name, where its listeners stopped; then read again."""
        if self._repairing or self._closed or not self.taps:
            return
        self._repairing = True
        old = self.group
        self._generation += 1
        self._packed = None
        taps = list(self.taps.values())
        left = len(taps)
        failed = False

        def finished(tap: Tap, error: Exception | None) -> None:
            nonlocal left, failed
            left -= 1
            if isinstance(error, Refusal) and error.code not in _WORTH_REPEATING:
                self._give_up(tap, error)
            elif error is not None:
                failed = True
            if not left:
                self._repaired(failed)

        self._heartbeat.doubt(tap.stream for tap in taps)
        for tap in taps:
            tap.ready = False
            if tap.has_group:
                self._destroy(tap.stream, old)
            self._renew(tap, functools.partial(finished, tap))

    def _renew(self, tap: Tap, finished: Callable[[Exception | None], None]) -> None:
        refused: list[Exception] = []

        def noted(reply: Any) -> None:
            if isinstance(reply, Exception):
                refused.append(reply)

        def looked(reply: Any) -> None:
            tap.has_group = not refused or _may_be_made(refused[0])
            noted(reply)
            if refused:
                finished(refused[0])
                return
            tap.ready = True
            about = dict(zip(reply[::2], reply[1::2], strict=True))
            if EntryId.parse(about[b"last-generated-id"]) < tap.cursor:
                tap.restart()
                self._commands.request(set_back, "XGROUP", "SETID", tap.stream, self.group, "0")
            else:
                finished(None)

        def set_back(reply: Any) -> None:
            finished(reply if isinstance(reply, Exception) else None)

        tap.has_group = True
        self._heartbeat.mark(tap.stream)
        self._commands.write(self._create(tap), noted, ignore)
        self._commands.request(looked, "XINFO", "STREAM", tap.stream)

    def _give_up(self, tap: Tap, error: Exception) -> None:
        """Read a stream no more that cannot be read; the others of the lane can."""
        self.leave(tap)
        tap.fail(translated(error, self._dialler.name, _where(tap.stream)))

    def _repaired(self, failed: bool) -> None:
        # A pause that grows where repairs do not help, so that nothing spins; none after a good read.
        if not failed and self._loop.time() - self._repaired_at > _HELPED:
            self._pause = 0.0
        pause = max(self._pause, _PAUSE) if failed else 0.0 if self._was_failing else self._pause
        self._was_failing = failed
        self._pause = min(max(_PAUSE, self._pause * 2), _LONGEST_PAUSE)
        if pause:
            self._loop.call_later(pause, self._after_repair, failed)
        else:
            self._after_repair(failed)

    def _after_repair(self, again: bool) -> None:
        self._repairing = False
        self._repaired_at = self._loop.time()
        self._packed = None
        if again:
            self._repair()
        else:
            self._read()


def _may_be_made(reply: Any) -> bool:
    return not isinstance(reply, Refusal) or reply.code == "BUSYGROUP"


def _where(stream: str) -> str:
    _, run, channel = keys.address(stream)
    return f"run {run}, channel {channel}"
