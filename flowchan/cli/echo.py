"""An echo: a message to oneself, which tells whether the broker is there and what it takes to reach it."""

from __future__ import annotations

import time

from flowchan import open_run, receive_input, send_input


async def echo() -> float:
    """Send a message to a run that is nobody's, and receive it.

    Afterwards this loop's connections to the broker are open, so that the next message takes no longer than the ones
    behind it.

    Returns:
        How long it took, in seconds.

    Raises:
        BrokerError: the broker cannot be reached, or refuses to store a message.
    """
    started = time.perf_counter()
    async with open_run(name="echo"):
        receiver = receive_input(str)
        first = asyncio.ensure_future(receiver.next())
