"""``flowchan demo``: two processes talk. The two flows are all that it takes; the rest of this file starts them."""

from __future__ import annotations

import time

from flowchan import flow, receive_input, sync
from flowchan.cli import terminal
from flowchan.cli.peer import Peer
from flowchan.context import get_run_context

EXIT_SIGNAL = "__EXIT__"


@flow
async def greeter() -> None:
    """Greet whoever sends a name."""
    print(get_run_context().flow_run.id, flush=True)  # for the process that started this one
    async for name in receive_input(str, with_metadata=True, timeout=None):
        if name.value == EXIT_SIGNAL:
            return
        await name.respond(f"Hello, {name.value}!")


@sync.flow
def sender(greeter_flow_run: Peer) -> None:
    """Ask for names, send each to the greeter, and print what it answers."""
    receiver = sync.receive_input(str, timeout=None)
    while True:
        name = terminal.ask("What is your name? ")
        if not name:
            continue
        if name in ("q", "quit", EXIT_SIGNAL):
            sync.send_input(EXIT_SIGNAL, flow_run_id=greeter_flow_run.id)
            print("Goodbye!")
            return
        started = time.perf_counter()
        sync.send_input(name, flow_run_id=greeter_flow_run.id)
        greeting = receiver.next()
        terminal.show_answer(greeting, time.perf_counter() - started)
