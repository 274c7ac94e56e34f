"""Asks for names and has ``greeter.py`` greet them: two scripts for two terminals, started in any order."""

from __future__ import annotations

import asyncio
import signal

from flowchan import flow, receive_input, send_input

EXIT_SIGNAL = "__EXIT__"


@flow
async def sender() -> None:
    # One receiver for all greetings: each next() goes on behind the one before.
    receiver = receive_input(str, timeout=None)

    while True:
        try:
            name = input("What is your name? ")  # noqa: ASYNC250 - what comes while somebody thinks is there afterwards
        except EOFError:
            name = "quit"
        if not name:
            continue
        if name in ("q", "quit"):
            await send_input(EXIT_SIGNAL, flow_run_id="greeter")
            print("Goodbye!")
            break
        await send_input(name, flow_run_id="greeter")
        greeting = await receiver.next()
        print(greeting)


if __name__ == "__main__":
    # asyncio would keep Ctrl-C for the loop, which cannot see it before input() has returned.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    asyncio.run(sender())
