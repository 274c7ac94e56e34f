"""A process that has imported all that receivers need, and forks one whenever it is asked to: a script of its own.

It reads a JSON object a line: ``group`` (or null), ``after`` (a key, or null) and ``takes``. The child takes so many messages of the run ``r`` and
says of each, in a line of JSON, its own ``pid``, what it ``took``, how often that was handed out (``deliveries``) and
whether it ``stays``: with the last message in its hand it does, until it is killed.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import Any

from flowchan import receive_input


async def receive(order: dict[str, Any]) -> None:
    receiver = receive_input(
        *(str, 30, 10.0),
        flow_run_id="r",
        key_prefix="numbers",
        group=order["group"],
        after=order["after"],
        with_metadata=True,
    )
    for left in reversed(range(order["takes"])):
        message = await receiver.next()
        told = {
            "pid": os.getpid(),
            "took": message.value,
            "deliveries": message.metadata.delivery_count,
            "stays": not left,
        }
        os.write(1, json.dumps(told).encode() + b"\n")  # at once, and whole: other children write there, too
    await asyncio.Event().wait()


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies
    for line in sys.stdin:
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            try:
                asyncio.run(receive(json.loads(line)))
            finally:
                os._exit(1)  # by itself it never ends: stderr says why it did


if __name__ == "__main__":
    main()
