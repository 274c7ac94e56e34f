"""A group on one run's channel, and what the server says of it."""

from __future__ import annotations

from typing import Any

import redis

from flowchan import receive_input, sync
from flowchan.input import InputReceiver
from tests.support.streams import CHANNEL, Streams

RUN = "r"
GROUP = "shop"
LEASE = 1.0
"""Seconds, where a test waits for its end; ``short_lease`` sets it."""


def send(*values: object) -> list[str]:
    """The keys of what was sent."""
    return [sync.send_input(value, RUN, key_prefix=CHANNEL).key for value in values]


def receiver(group: str = GROUP, timeout: float | None = 0, kind: Any = int, **options: Any) -> InputReceiver[Any]:
    """A receiver that ends quietly when nothing is there."""
    options = {"key_prefix": CHANNEL, "flow_run_id": RUN, "raise_timeout_error": False, **options}
    return receive_input(kind, group=group, timeout=timeout, **options)


async def all_of(mine: InputReceiver[Any]) -> list[Any]:
    """What a receiver yields until nothing is there."""
    return [value async for value in mine]


def pending(streams: Streams, group: str = GROUP) -> int:
    """How many messages were handed out and not acknowledged."""
    try:
        found: Any = streams.client.xpending(streams.key(RUN), group)
    except redis.ResponseError:  # there is no such group yet
        return 0
    return int(found["pending"])


def idle(streams: Streams, group: str = GROUP) -> int:
    """For how many milliseconds nobody was heard of who has one of those; the longest."""
    found: Any = streams.client.xpending_range(streams.key(RUN), group, "-", "+", 1000)
    return max((each["time_since_delivered"] for each in found), default=0)


def consumers(streams: Streams, group: str = GROUP) -> list[str]:
    """The group's consumers; none where there is no such group yet."""
    try:
        found: Any = streams.client.xinfo_consumers(streams.key(RUN), group)
    except redis.ResponseError:
        return []
    return [each["name"].decode() for each in found]
