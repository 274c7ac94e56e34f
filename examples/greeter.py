"""A greeter that answers whoever sends it a name.

Start it in one terminal and ``sender.py`` in another, in any order. Stop it and start it again: it goes on where it was.
"""

from __future__ import annotations

import asyncio
import contextlib

from flowchan import open_run, receive_input, send_input

EXIT_SIGNAL = "__EXIT__"


async def greeter() -> None:
    async with open_run("greeter"):
        # Its inputs outlive this process. So it keeps the keys of those that it has seen, as messages to itself.
        seen_keys = [key async for key in receive_input(str, key_prefix="seen", timeout=0, raise_timeout_error=False)]

        print("Waiting for names. Ctrl-C ends.")
        async for name_input in receive_input(str, with_metadata=True, timeout=None, exclude_keys=seen_keys):
            await send_input(name_input.metadata.key, flow_run_id="greeter", key_prefix="seen")
            if name_input.value == EXIT_SIGNAL:
                print("Goodbye!")
                return
            await name_input.respond(f"Hello, {name_input.value}!")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(greeter())
