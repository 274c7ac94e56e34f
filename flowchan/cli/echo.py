"""An echo: messages to oneself, which tell whether the broker is there and how far away it is."""

from __future__ import annotations

import time

from flowchan import open_run, receive_input, send_input


async def echo() -> float:
    """Send a message to oneself and receive it, over and over.

    The first round trips open this event loop's connections to the broker; who talks afterwards need not wait for
    that.

    Returns:
        What the last one took, in seconds.

    Raises:
        BrokerError: the broker cannot be reached, or does not take messages.
    """
    took = 0.0
    async with open_run(name="echo") as run, receive_input(str) as receiver:
        for _ in range(3):  # to store, to look, to listen: each has a connection of its own
            started = time.perf_counter()
            await send_input("echo", run.id)
            await receiver.next()
            took = time.perf_counter() - started
    return took
