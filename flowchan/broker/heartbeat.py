"""The heartbeat of one event loop's receivers: by it their groups are known to be somebody's, or to be left over."""

from __future__ import annotations

import asyncio
import functools
import logging
import random
from collections.abc import Collection, Iterable
from typing import Any

from flowchan.broker.commands import Commands
from flowchan.broker.connection import ignore, pack
from flowchan.broker.script import script
from flowchan.wire import keys

logger = logging.getLogger(__name__)

LEASES = 20
"""A client counts as dead when it was not heard of for so many leases: five minutes, as a rule."""

_AT_ONCE = 256
"""Streams that one command looks at."""

_GROUPS = 100
"""In streams with so many groups, or fewer, every beat looks for such as are left over; with more, in proportion fewer."""


class Heartbeat:
    """Tells each partition in which this client has groups that it lives, and frees there what dead clients have left.

    Guarantees: while this client's loop turns and reaches the broker, nobody takes its groups for left over. A group
    of a client that died is freed by whoever reads the same stream, within seven minutes by default (27 leases). Any
    number may do so at once. One that was held up for longer finds its groups gone, and makes them anew where it was.

    It costs a command for each partition every hundred seconds, so less than one a second. Where many read the same
    streams, only some of the beats look at these: what they look at grows with the number of clients, not its square.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, commands: Commands, client: str, lease: float, streams: Collection[str]
    ) -> None:
        """``streams`` are those that this client reads, at any time."""
        self._loop = loop
        self._commands = commands
        self._client = client
        self._lives_ms = int(lease * LEASES * 1000)
        self._every = lease * LEASES / 3
        self._streams = streams
        self._marked: dict[str, float] = {}
        self._most_groups: dict[str, int] = {}
        self._spares: set[str] = set()
        """Marks that were refused: the next beat frees nothing, for others may not have been heard of either."""
        self._timer: asyncio.TimerHandle | None = None

    def mark(self, stream: str) -> None:
        """See to it that this client is known to live, before it makes a group in a stream."""
        if self._timer is None:
            self._timer = self._loop.call_later(self._every, self._beat_all)
        mark = keys.alive(stream, self._client)
        if self._loop.time() >= self._marked.get(mark, 0.0):
            self._beat(mark, [stream])

    def doubt(self, streams: Iterable[str]) -> None:
        """The broker may have forgotten of it: to be told again before groups are made anew."""
        for stream in streams:
            self._marked.pop(keys.alive(stream, self._client), None)

    def close(self) -> bool:
        """Have this client forgotten, for its groups are gone; whether that is under way."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        marked, self._marked = self._marked, {}
        if self._commands.connection is None:
            return False  # not to be opened for that: the marks fall to their time to live
        for mark in marked:
            self._commands.request(ignore, "UNLINK", mark)
        return bool(marked)

    def _beat_all(self) -> None:
        self._timer = None
        by_mark: dict[str, list[str]] = {}
        for stream in self._streams:
            by_mark.setdefault(keys.alive(stream, self._client), []).append(stream)
        for mark, streams in by_mark.items():
            for start in range(0, len(streams), _AT_ONCE):
                self._beat(mark, streams[start : start + _AT_ONCE])
        if by_mark:
            self._timer = self._loop.call_later(self._every, self._beat_all)

    def _beat(self, mark: str, streams: Collection[str]) -> None:
        self._marked[mark] = self._loop.time() + self._every
        # By chance, so that in each period some look, of however many.
        looks = random.random() * self._most_groups.get(mark, 0) < _GROUPS  # noqa: S311 - nobody's secret
        looked_at = streams if looks and mark not in self._spares else ()
        command = ("EVAL", script("heartbeat")[0], 1 + len(looked_at), mark, *looked_at, self._client, self._lives_ms)
        self._commands.write(pack(command), functools.partial(self._beaten, mark))

    def _beaten(self, mark: str, reply: Any) -> None:
        if isinstance(reply, Exception):
            # It is to be told again at the next occasion; this one was one of three.
            self._marked.pop(mark, None)
            self._spares.add(mark)
            return
        self._spares.discard(mark)
        freed, most, looked_at = reply
        if looked_at:  # others of its streams may have more
            self._most_groups[mark] = max(most, self._most_groups.get(mark, 0) // 2)
        if freed:
            logger.info("%d groups were freed that receivers of a dead process had left.", freed)
