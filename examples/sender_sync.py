"""``sender.py`` without async and await. It speaks to ``greeter.py`` as well as to ``greeter_sync.py``."""

from __future__ import annotations

import contextlib

from flowchan.sync import flow, receive_input, send_input

EXIT_SIGNAL = "__EXIT__"


@flow
def sender() -> None:
    receiver = receive_input(str, timeout=None)

    while True:
        try:
            name = input("What is your name? ")
        except EOFError:
            name = "quit"
        if not name:
            continue
        if name in ("q", "quit"):
            send_input(EXIT_SIGNAL, flow_run_id="greeter")
            print("Goodbye!")
            break
        send_input(name, flow_run_id="greeter")
        greeting = receiver.next()
        print(greeting)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sender()
