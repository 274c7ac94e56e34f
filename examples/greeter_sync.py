"""``greeter.py`` without async and await. It speaks to ``sender.py`` as well as to ``sender_sync.py``."""

from __future__ import annotations

import contextlib

from flowchan.sync import open_run, receive_input, send_input

EXIT_SIGNAL = "__EXIT__"


def greeter() -> None:
    with open_run("greeter"):
        seen_keys = list(receive_input(str, key_prefix="seen", timeout=0, raise_timeout_error=False))

        print("Waiting for names. Ctrl-C ends.")
        for name_input in receive_input(str, with_metadata=True, timeout=None, exclude_keys=seen_keys):
            send_input(name_input.metadata.key, flow_run_id="greeter", key_prefix="seen")
            if name_input.value == EXIT_SIGNAL:
                print("Goodbye!")
                return
            name_input.respond(f"Hello, {name_input.value}!")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        greeter()
