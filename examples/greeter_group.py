"""The greeter once more, without keys to remember: a group keeps its position.

Start it in one terminal and ``sender.py`` in another, in any order. Stop it, kill it, start two of it: each name is
greeted, and one whose greeter was killed before it answered is greeted by the next.
"""

from __future__ import annotations

import asyncio
import contextlib

from flowchan import open_run, receive_input

EXIT_SIGNAL = "__EXIT__"


async def greeter() -> None:
    async with open_run("greeter"), receive_input(str, with_metadata=True, timeout=None, group="greeters") as names:
        print("Waiting for names. Ctrl-C ends.")
        async for name_input in names:
            if name_input.value == EXIT_SIGNAL:
                await names.ack()
                print("Goodbye!")
                return
            await name_input.respond(f"Hello, {name_input.value}!")  # acknowledged when the next one is asked for


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(greeter())
