"""Two versions of the library on one stream: the older says what it cannot read, the newer reads both.

What the newer reads of the older was stored by the first flowchan there was (``first_entries.json``). The older is
this one, before entries of a version that does not exist yet.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from flowchan import receive_input, send_input
from flowchan.errors import DecodeError
from flowchan.input import read_dead_letters
from flowchan.wire import keys
from flowchan.wire.envelope import VERSION
from tests.faults.fault import Broken, Fault, Progress, Seen
from tests.faults.surroundings import own_server
from tests.support.server import Server

FIRST: Any = json.loads((Path(__file__).parent / "first_entries.json").read_text(encoding="utf-8"))
VALUES: list[Any] = [
    *(0, "text", b"\x00\xff", 1.5, True, 2**70, datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), date(2026, 1, 2)),
    *(timedelta(seconds=1.5), Decimal("1.10"), UUID(int=7), (1, 2), {1, 2}, [1, "a", None], {"a": [1]}, {1: "x"}),
    "nobody",
]
"""What the first version stored."""
SENDER = "flowchan.flow-run.other"
CHANNEL = "mixed"
NEWER = f"format version {VERSION + 1}, and this flowchan reads version {VERSION}"


def of_first() -> list[list[bytes | str]]:
    """The entries of the first version, as XADD takes them."""
    return [
        [part for name, text in entry.items() for part in (name, base64.b64decode(text) if name == "body" else text)]
        for entry in FIRST["entries"]
    ]


def of_next(number: int) -> list[bytes | str]:
    """An entry of the next version, of which nothing is known but that it says so."""
    return ["v", str(VERSION + 1), "number", str(number), "body", b"\xc1 whatever"]


class Stream:
    """One run's channel, written to by three versions."""

    def __init__(self, server: Server, run: str) -> None:
        self.run = run
        self.key = keys.stream(os.environ["FLOWCHAN_NAMESPACE"], run, CHANNEL)
        self.expected: list[Any] = []
        """The values, and None for each message of the next version."""
        self._server = server

    async def fill(self, rounds: int) -> None:
        with self._server.client() as client:
            for fields in of_first():
                client.execute_command("XADD", self.key, "*", *fields)
            self.expected += VALUES
            for number in range(rounds):
                client.execute_command("XADD", self.key, "*", *of_next(number))
                await send_input(f"own {number}", self.run, key_prefix=CHANNEL)
                self.expected += (None, f"own {number}")

    async def received(self, **options: Any) -> list[Any]:
        """What a receiver is given; None for each error that says what a person has to know."""
        found: list[Any] = []
        async with receive_input(object, flow_run_id=self.run, key_prefix=CHANNEL, timeout=0, **options) as receiver:
            while True:
                try:
                    found.append(await receiver.next())
                except DecodeError as error:
                    if NEWER not in str(error) or error.key is None:
                        raise Broken("1 message", f"it is not told which version it is of: {error}") from None
                    found.append(None)
                except TimeoutError:
                    return found


async def _all(server: Server, count: int) -> int:
    stream = Stream(server, "r")
    await stream.fill(count)
    counted = f"{len(stream.expected):,} messages"
    for options in ({}, {"group": "raises"}):
        if (found := await stream.received(**options)) != stream.expected:
            raise Broken(counted, f"received {found[:20]}")
    readable = [value for value in stream.expected if value is not None]
    for on_invalid in ("skip", "dead-letter"):
        if (found := await stream.received(group=on_invalid, on_invalid=on_invalid)) != readable:
            raise Broken(counted, f"received {found[:20]} under {on_invalid}")
    letters = await read_dead_letters("r")
    if len(letters) != count or not all(NEWER in letter.error for letter in letters):
        raise Broken(counted, f"{len(letters)} dead letters")
    return len(stream.expected)


def reads_both(count: int, progress: Progress) -> Seen:
    """``count`` messages of the next version among those of the first and of this one."""
    place = FIRST["stream"].partition(":")[0]
    with own_server(append_only=False, namespace=place) as server:
        if keys.stream(place, "r", CHANNEL) != FIRST["stream"]:
            raise Broken("1 stream", "it is not where the first version has it")
        messages = asyncio.run(_all(server, count))
        progress(count)
    return Seen(
        f"{messages:,} messages, {len(VALUES)} of the first version, {count:,} of the next",
        "DecodeError names the next version and its message's key; all others received, alone and in groups",
    )


FAULTS = (
    Fault(
        "two library versions on one stream",
        "the older says what it cannot read; the newer reads both",
        100,
        2_000,
        reads_both,
    ),
)
