"""``flowchan demo``: two processes talk. The two flows are what it is about; what follows them starts them."""

from __future__ import annotations

import logging
import time

from flowchan import bridge, flow, receive_input, sync
from flowchan.cli import terminal
from flowchan.cli.echo import echo
from flowchan.cli.peer import Peer, run_as_peer
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
        if name == "":
            continue
        if name in (None, "q", "quit", EXIT_SIGNAL):
            sync.send_input(EXIT_SIGNAL, flow_run_id=greeter_flow_run.id)
            print("Goodbye!")
            return
        greeter_id = greeter_flow_run.id  # its process may be starting still; that is not what an answer takes
        asked_at = time.perf_counter()
        sync.send_input(name, flow_run_id=greeter_id)
        greeting = receiver.next()
        show(greeting, time.perf_counter() - asked_at)


def show(greeting: str, seconds: float) -> None:
    """Print an answer, and how long it took."""
    from rich.text import Text  # noqa: PLC0415 - the greeter's process has no use for it

    terminal.output().print(Text.assemble(greeting, (f"  {seconds * 1000:.1f} ms", "dim")))


def demo() -> None:
    r"""Talk to a greeter that runs in a process of its own.

    You type names and it greets each; q, quit or Ctrl-D ends both. Names may also be piped in:

        printf 'andrew\nmarvin\nq\n' | flowchan demo

    The two processes meet at a server that flowchan starts for you, or at the one that FLOWCHAN_URL names.
    """
    terminal.prepare()
    for name in ("flowchan.engine", "flowchan.flow_runs"):
        # It talks to a person; what goes wrong is told in a line.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    bridge.call(lambda _: echo())  # before anybody has typed anything, for this is where a missing broker is noticed
    with Peer("greeter", __name__) as peer:
        if terminal.is_a_person():
            terminal.output().print(f"The greeter is process {peer.pid}. It greets whom you name; q ends.", style="dim")
        sender(peer)


if __name__ == "__main__":
    run_as_peer(greeter)
