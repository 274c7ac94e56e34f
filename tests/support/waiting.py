"""Waiting for what must come to pass: looked for again and again until a deadline, never slept for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import anyio

from flowchan.broker.subscription import Subscription
from flowchan.input import InputReceiver

T = TypeVar("T")

PATIENCE = 20.0


def eventually(look: Callable[[], T], what: str = "it", seconds: float = PATIENCE) -> T:
    """What ``look`` returns once that is true; blocks the thread."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what} did not happen in time"
        time.sleep(0.005)
    return found


async def eventually_async(look: Callable[[], T], what: str = "it", seconds: float = PATIENCE) -> T:
    """What ``look`` returns once that is true; the event loop goes on meanwhile."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what} did not happen in time"
        await anyio.sleep(0.005)
    return found


def waiters(receiver: InputReceiver[Any]) -> int:
    """How many wait for a receiver's next message."""
    bound = receiver._bound
    if bound is None:
        return 0
    return len(bound[1]._waiters) if isinstance(bound[1], Subscription) else bound[1]._waiting
