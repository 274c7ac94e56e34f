"""Messages whose others were lost before they came, and what a receiver makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import redis

from flowchan.errors import DecodeError, MessagesLost
from flowchan.input import InputReceiver
from flowchan.wire.codec import encode
from flowchan.wire.envelope import Envelope, to_fields

P, Q = "00000000000000aa", "00000000000000bb"
"""Producers."""

_NO_HEADERS: Mapping[str, str] = {}


def put(
    client: redis.Redis,
    stream: str,
    *numbers: int,
    producer: str = P,
    sender: str | None = None,
    headers: Mapping[str, str] = _NO_HEADERS,
    is_old: bool = False,
) -> list[str]:
    """Messages of a sender whose others were lost before they came here; each holds its own number.

    ``is_old``: they are such as no sender looks for any more.
    """
    entries: list[Any] = []
    for number in numbers:
        fields = to_fields(
            Envelope(f"{producer}-{number:x}", sender, number, "00000000", headers, encode({"value": number}))
        )
        pairs: Any = dict(zip(fields[::2], fields[1::2], strict=True))
        entries.append(client.xadd(stream, pairs, id=f"{number}-0" if is_old else "*"))
    client.pexpire(stream, 60_000)
    return [entry.decode() for entry in entries]


async def all_of(receiver: InputReceiver[Any]) -> list[Any]:
    """What it yields until nothing is left; what is lost, as the first and the last number."""
    got: list[Any] = []
    while True:
        try:
            async for value in receiver:
                got.append(value)  # noqa: PERF401 - what came before an error counts
        except MessagesLost as lost:
            got.append((lost.first, lost.last))
        except DecodeError as error:
            got.append(type(error))
        else:
            return got
