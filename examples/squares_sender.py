"""Has ``squares_receiver.py`` square a number: ``python examples/squares_sender.py <its run's ID>``."""

from __future__ import annotations

import asyncio
import random
import sys
from uuid import UUID

from flowchan import RunInput, flow, get_run_logger


class NumberData(RunInput):
    """A number, or its square. Both sides have a class of this name; that is all they share."""

    number: int


@flow
async def sender_flow(receiver_flow_run_id: UUID) -> None:
    logger = get_run_logger()

    the_number = random.randint(1, 100)  # noqa: S311 - no secret
    await NumberData(number=the_number).send_to(receiver_flow_run_id)

    # What this run is sent. What the other one is sent would be the question.
    receiver = NumberData.receive()
    squared = await receiver.next()

    logger.info("%d squared is %d", the_number, squared.number)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"Usage: python {sys.argv[0]} <the run ID that squares_receiver.py prints>")
    asyncio.run(sender_flow(UUID(sys.argv[1])))
