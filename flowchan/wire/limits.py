"""How deep and how heavy a body may be, found out before anything of it is unpacked.

What an unpacker allocates is up to who wrote the bytes: a list that claims more than there is, a million
empty lists in a million bytes. So a body is walked first, without making an object of it.
"""

from __future__ import annotations

from flowchan.wire.extensions import FROZENSET, MAP, SET, TUPLE

MAX_DEPTH = 64
"""Arrays and maps, those inside extensions among them, that may be open at once."""

MAX_EXPANSION = 32
"""How many times its own size, or a MiB where it is smaller, a body may weigh."""

LIGHT = 64 * 1024
"""Bytes up to which no body can weigh too much: a byte brings at most 360, as an empty map in a set."""

MORE_BEHIND = "there is more behind its end"
_CUT_SHORT = "it ends before its last value does"
_MISFIT = "the length of an extension is not that of what it holds"

_MIB = 1024 * 1024
_SHORT = 4096

# Bytes that may begin an array, a map or an extension. Every level takes one, so few of them are few levels.
_OPENING = {*range(0x80, 0xA0), *range(0xC7, 0xCA), *range(0xD4, 0xD9), *range(0xDC, 0xE0)}
_OTHERS = bytes(set(range(256)) - _OPENING)

# What a value takes in CPython on 64 bits, from above, with the eight bytes of what refers to it.
_SMALL, _NUMBER, _TEXT, _BINARY, _ARRAY, _DICT, _PAIR, _LEAF = 8, 48, 88, 48, 80, 248, 48, 208
_HOLDER = {TUPLE: 16, SET: 168, FROZENSET: 168, MAP: 168}
_MEMBER = {TUPLE: 8, SET: 112, FROZENSET: 112, MAP: 48}
_TEXT_BYTE, _BINARY_BYTE = 4, 1

_NEVER_USED = 0xC1
_FIXEXT, _EXTENSIONS = 0xD4, {*range(0xC7, 0xCA), *range(0xD4, 0xD9)}
_ARRAYS, _MAPS = {*range(0x90, 0xA0), 0xDC, 0xDD}, {*range(0x80, 0x90), 0xDE, 0xDF}
_BINARIES = {0xC4, 0xC5, 0xC6}
_LENGTH_BYTES = {
    **dict.fromkeys((0xC4, 0xC7, 0xD9), 1),
    **dict.fromkeys((0xC5, 0xC8, 0xDA, 0xDC, 0xDE), 2),
    **dict.fromkeys((0xC6, 0xC9, 0xDB, 0xDD, 0xDF), 4),
}


def _tables() -> tuple[tuple[int, ...], tuple[int, ...]]:
    """By a value's first byte: its size where that alone tells (else 0), and what it weighs then."""
    sizes, weights = [0] * 256, [0] * 256
    for byte in (*range(0x80), 0xC0, 0xC2, 0xC3):
        sizes[byte], weights[byte] = 1, _SMALL
    for byte in range(0xE0, 0x100):  # negative: Python keeps at most five of these ready
        sizes[byte], weights[byte] = 1, _NUMBER
    for byte in range(0xA0, 0xC0):
        length = byte - 0xA0
        sizes[byte], weights[byte] = 1 + length, _TEXT + _TEXT_BYTE * length
    for byte, size in zip(range(0xCA, 0xD4), (4, 8, 1, 2, 4, 8, 1, 2, 4, 8), strict=True):
        sizes[byte], weights[byte] = 1 + size, _NUMBER
    return tuple(sizes), tuple(weights)


_SIZES, _WEIGHTS = _tables()


def trouble_with(body: bytes) -> str | None:
    """Why a body must not be unpacked, or None where unpacking is bounded in depth and memory.

    The memory is that of :data:`MAX_EXPANSION`; for a body of up to a MiB, 32 MiB. Says nothing of what only
    unpacking shows: whether text is UTF-8, whether extensions hold what they should.
    """
    # A short body may still lie about lengths: 64 lists of at most 4096 places each do no harm.
    if len(body) <= _SHORT and len(body.translate(None, _OTHERS)) <= MAX_DEPTH:
        return None
    try:
        return _walk(body)
    except IndexError:
        return _CUT_SHORT


def _walk(body: bytes) -> str | None:  # noqa: C901 - one loop: a call for each value would double its time
    sizes, weights = _SIZES, _WEIGHTS
    at, weight, left = 0, 0, 1
    around: list[tuple[int, int]] = []  # for each open container: what is left of the one around it, where it must end
    while True:
        while left:
            left -= 1
            first = body[at]
            size = sizes[first]
            if size:
                at += size
                weight += weights[first]
                continue
            if first == _NEVER_USED:
                return "it holds a byte that begins no value"
            end = member = 0
            if first in _EXTENSIONS:
                code, start, stop = _extension(body, at)
                weight += stop - start
                if code not in _HOLDER:
                    weight += _LEAF
                    at = stop
                    continue
                weight += _HOLDER[code]
                member = _MEMBER[code]
                at, end = start, stop
                first = body[at]
                if first not in _ARRAYS:
                    return f"its extension of type {code} holds no array"
            if first < 0xA0:
                count = first & 0x0F
                at += 1
            else:
                count, at = _count(body, at)
            if first in _ARRAYS:
                weight += _ARRAY + member * count
            elif first in _MAPS:
                weight += _DICT + _PAIR * count
                count *= 2
            else:
                weight += _BINARY + _BINARY_BYTE * count if first in _BINARIES else _TEXT + _TEXT_BYTE * count
                at += count
                continue
            if len(around) == MAX_DEPTH:
                return f"it nests more than {MAX_DEPTH} levels deep"
            if count:
                around.append((left, end))
                left = count
            elif end and at != end:
                return _MISFIT
        if not around:
            break
        left, end = around.pop()
        if end and at != end:
            return _MISFIT
    if at != len(body):
        return _CUT_SHORT if at > len(body) else MORE_BEHIND
    if weight > MAX_EXPANSION * max(len(body), _MIB):
        return "it consists of too many small values, which would take too much memory"
    return None


def _count(body: bytes, at: int) -> tuple[int, int]:
    """What the long head of a container, a text or a binary counts, and where the head ends."""
    start = at + 1 + _LENGTH_BYTES[body[at]]
    return int.from_bytes(body[at + 1 : start], "big"), start


def _extension(body: bytes, at: int) -> tuple[int, int, int]:
    """The code of an extension, where its payload begins and where that ends."""
    first = body[at]
    if first >= _FIXEXT:
        start = at + 2
        return body[at + 1], start, start + (1 << (first - _FIXEXT))
    start = at + 2 + _LENGTH_BYTES[first]
    return body[start - 1], start, start + int.from_bytes(body[at + 1 : start - 1], "big")
