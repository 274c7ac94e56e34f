"""The hub: many receivers on few connections. It owns every read; nobody who waits ever cancels one."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Mapping

import anyio

from flowchan.broker.alarms import Alarms
from flowchan.broker.commands import Commands
from flowchan.broker.connection import ConnectionLost, Refusal
from flowchan.broker.dialler import Dialler
from flowchan.broker.heartbeat import Heartbeat
from flowchan.broker.lane import Lane, width
from flowchan.broker.opener import Opener
from flowchan.broker.pulse import Pulse
from flowchan.broker.source import Source
from flowchan.broker.subscription import Subscription
from flowchan.broker.tap import Tap
from flowchan.errors import FlowchanError
from flowchan.wire.excluded import Excluded
from flowchan.wire.keys import EntryId

_FAREWELL = 2.0


class Hub:
    """The receivers of one event loop, one connection for some dozens of streams that they wait on.

    All that listen to one stream share one tap of one lane, each with a cursor of its own: a thousand
    receivers of a channel cost the broker what one costs. In a Cluster the streams of a lane are of one partition.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, dialler: Dialler, commands: Commands) -> None:
        self.commands = commands
        self.alarms = Alarms(loop)
        self._loop = loop
        self._dialler = dialler
        self._retention_ms = int(dialler.settings.retention * 1000)
        self._name = f"flowchan-{secrets.token_hex(6)}"
        self._lanes: dict[Opener, list[Lane]] = {}
        self._lanes_made = 0
        self._taps: dict[str, tuple[Tap, Lane]] = {}
        self._pulse = Pulse(loop, commands, lambda: bool(self._taps))
        self._heartbeat = Heartbeat(loop, commands, self._name, dialler.settings.lease, self._taps.keys())

    @property
    def server(self) -> str:
        """The broker's name, for a message to a person."""
        return self._dialler.name

    def trouble(self, stream: str) -> Exception | None:
        """Why who has a stream cannot be reached at present; None while it can."""
        return self._dialler.way(stream).trouble

    @property
    def patience(self) -> float:
        """Seconds that a look may take at the end of a wait whose time is up."""
        return self._dialler.settings.connect_timeout

    def subscribe(
        self,
        streams: Mapping[str, EntryId],
        *,
        excluded: Mapping[str, Excluded],
        poll_interval: float,
    ) -> Subscription:
        """Begin to receive what each stream holds behind the ID given with it, and what comes."""
        return Subscription(self, self._loop, streams, excluded, poll_interval)

    def attach(self, source: Source) -> None:
        """Have what is new in a stream pushed to a source that has read what was there."""
        tap, lane = self._taps.get(source.stream, (None, None))
        if tap is None or lane is None:
            lane = self._lane_for(source.stream)
            source.rewind()
            tap = Tap(source.stream, source.cursor)
            self._taps[source.stream] = tap, lane
            self._listen(source, tap)
            lane.join(tap)
            if self._dialler.is_watched:
                self._pulse.begin()
        elif source.cursor < tap.cursor:
            # The lane is ahead of what this source has seen: fetch what lies between.
            source.look(reached=tap.cursor)
        else:
            self._listen(source, tap)

    def detach(self, source: Source) -> None:
        """Push nothing more to a source; the last one to leave a stream frees its group."""
        tap, source.tap = source.tap, None
        if tap is None:
            return
        tap.listeners.remove(source)
        if not tap.listeners:
            registered, lane = self._taps.get(tap.stream, (None, None))
            if registered is tap and lane is not None:
                del self._taps[tap.stream]
                lane.leave(tap)

    def poll(self, source: Source) -> None:
        """Take what has arrived for a source by now, though the loop has not said so."""
        _, lane = self._taps.get(source.stream, (None, None))
        if lane is not None:
            lane.poll()

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Have something called in a later turn of the loop."""
        self._loop.call_later(seconds, call)

    async def close(self) -> None:
        """Free what the broker holds for this loop's receivers, as far as it answers in time."""
        self._pulse.end()
        taps = dict(self._taps)
        self._taps.clear()
        for tap, lane in taps.values():
            for listener in tap.listeners:
                if isinstance(listener, Source):
                    listener.tap = None
            lane.leave(tap)
        was_known = self._heartbeat.close()
        swept = [lane.sweep() for lane in self._all_lanes()]
        if (taps or was_known or any(swept)) and self._dialler.trouble is None:
            # Answered in order, so after the groups; where it is not, they fall to their time to live.
            with anyio.move_on_after(_FAREWELL), contextlib.suppress(Refusal, ConnectionLost, FlowchanError):
                await self.commands.call("PING")
        for lane in self._all_lanes():
            lane.close()

    def abandon(self) -> None:
        """Give back the sockets only: the loop is closed, or another process's."""
        self._pulse.end()
        for lane in self._all_lanes():
            lane.abandon()

    def _lane_for(self, stream: str) -> Lane:
        # What one read is about must be with one server; in a Cluster, even in one slot.
        way = self._dialler.way(stream)
        lanes = self._lanes.setdefault(way, [])
        most = width(len(self._taps))
        if lanes and len(lanes[-1].taps) < most:
            return lanes[-1]
        return next((lane for lane in lanes if len(lane.taps) < most), None) or self._new_lane(way, lanes)

    def _new_lane(self, way: Opener, lanes: list[Lane]) -> Lane:
        name = f"{self._name}-{self._lanes_made}"
        lane = Lane(self._loop, way, self.commands, self._heartbeat, name, self._retention_ms)
        self._lanes_made += 1
        lanes.append(lane)
        return lane

    def _all_lanes(self) -> list[Lane]:
        return [lane for lanes in self._lanes.values() for lane in lanes]

    @staticmethod
    def _listen(source: Source, tap: Tap) -> None:
        tap.listeners.append(source)
        tap.poll_interval = min(tap.poll_interval, source.poll_interval)
        source.tap = tap
