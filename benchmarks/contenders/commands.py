"""The commands of the hand-written loop, packed, for those who have no client to do it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import hiredis

from benchmarks.contenders.by_hand import BLOCK, CONSUMER, COUNT, GROUP

# hiredis declares a tuple of one part; what it takes is any number.
_pack = cast("Callable[[tuple[str | int | bytes, ...]], bytes]", hiredis.pack_command)


def create_group(stream: str) -> bytes:
    return _pack(("XGROUP", "CREATE", stream, GROUP, "0", "MKSTREAM"))


def add(stream: str, body: bytes) -> bytes:
    return _pack(("XADD", stream, "*", "v", body))


def get(*streams: str) -> bytes:
    return _pack(
        (
            *("XREADGROUP", "GROUP", GROUP, CONSUMER, "COUNT", COUNT, "BLOCK", BLOCK, "NOACK", "STREAMS"),
            *(*streams, *(">" for _ in streams)),
        )
    )


def body_of(reply: Any) -> bytes:
    """The body of the first entry in XREADGROUP's reply."""
    ((_, ((_, (_, body)), *_)),) = reply
    assert isinstance(body, bytes)
    return body
