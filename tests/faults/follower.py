"""A receiver in a process of its own, which tells all that it gets: a script. Arguments: the timeout, perhaps a group.

Each wait is a line of JSON: how many seconds it ``lasted``, and what it ``took`` with how often that was handed out
(``deliveries``), unless nothing came. Each message takes it a few milliseconds.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from flowchan import receive_input


def main(timeout: float, group: str | None) -> None:
    receiver: Any = receive_input(
        *(str, timeout, 10.0), flow_run_id="r", key_prefix="numbers", group=group, with_metadata=True
    )
    while True:
        start = time.monotonic()
        told: dict[str, Any] = {}
        try:
            message = receiver.next()
            told = {"took": message.value, "deliveries": message.metadata.delivery_count}
        except TimeoutError:
            pass
        sys.stdout.write(json.dumps(told | {"lasted": time.monotonic() - start}) + "\n")
        sys.stdout.flush()
        time.sleep(0.002)


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)
