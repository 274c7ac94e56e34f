"""Packed commands, looked into: what each one is, and which key it is about."""

from __future__ import annotations

from flowchan.broker.connection import pack
from flowchan.wire import keys

ASKING = pack(("ASKING",))
"""Before a command for a key whose slot is still on its way."""

PING = pack(("PING",))
_SCRIPT = b"\r\n$4\r\nEVAL\r\n$"
_ONE_KEY = b"$1\r\n1\r\n"


def split(packed: bytes, count: int) -> list[bytes]:
    """Commands that were packed together, one by one."""
    if count == 1:
        return [packed]
    commands = []
    start = 0
    for _ in range(count):
        end = packed.index(b"\r\n", start) + 2
        for _ in range(int(packed[start + 1 : end - 2])):
            head = packed.index(b"\r\n", end) + 2
            end = head + int(packed[end + 1 : head - 2]) + 2
        commands.append(packed[start:end])
        start = end
    return commands


def is_script(packed: bytes) -> bool:
    """Whether the first of packed commands is a script about several keys."""
    at = packed.find(_SCRIPT, 0, 24)
    if at < 0:
        return False
    start = at + len(_SCRIPT)
    end = packed.index(b"\r\n", start)
    return not packed.startswith(_ONE_KEY, end + 2 + int(packed[start:end]) + 2)


def slot_of(packed: bytes, marker: bytes) -> int | None:
    """The slot of the first key in packed commands; None if there is none.

    ``marker`` is what all keys begin with, and the end of the line before: no word and no name that stands
    before a key does.
    """
    at = packed.find(marker)
    if at < 0:
        return None
    key = packed[at + 1 : packed.index(b"\r", at)]
    return keys.slot(key.decode())
