"""The commands of the hand-written loop, packed, for those who have no client to do it."""

from __future__ import annotations

from typing import Any

import hiredis

from benchmarks.contenders.by_hand import BLOCK, CONSUMER, COUNT, GROUP


def create_group(stream: str) -> bytes:
    return hiredis.pack_command(("XGROUP", "CREATE", stream, GROUP, "0", "MKSTREAM"))


def add(stream: str, text: bytes) -> bytes:
    return hiredis.pack_command(("XADD", stream, "*", "v", text))


def get(stream: str) -> bytes:
    return hiredis.pack_command(
        ("XREADGROUP", "GROUP", GROUP, CONSUMER, "COUNT", COUNT, "BLOCK", BLOCK, "NOACK", "STREAMS", stream, ">")
    )


def text_of(reply: Any) -> bytes:
    """The text of the first entry in XREADGROUP's reply."""
    ((_, ((_, (_, text)), *_)),) = reply
    assert isinstance(text, bytes)
    return text
