"""Squares the numbers that it is sent. It prints the command for ``squares_sender.py``, with its run's ID."""

from __future__ import annotations

import asyncio
import contextlib

from flowchan import RunInput, flow
from flowchan.context import get_run_context


class NumberData(RunInput):
    """A number, or its square. Both sides have a class of this name; that is all they share."""

    number: int


@flow
async def receiver_flow() -> None:
    print(f"python examples/squares_sender.py {get_run_context().flow_run.id}")
    async for data in NumberData.receive(timeout=None):
        squared = data.number**2
        await data.respond(NumberData(number=squared))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(receiver_flow())
