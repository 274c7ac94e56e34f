"""A value to the bytes of a body, and back: what comes out has the type of what went in.

msgpack, with the extension types of ``docs/wire-format.md`` for what it has no form for. A body is checked
before it is unpacked, so a hostile one costs its receiver a bounded amount of memory and one ``DecodeError``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

import msgpack
from msgpack import ExtType

from flowchan.errors import DecodeError, EncodeError
from flowchan.wire import extensions, limits
from flowchan.wire.extensions import FROZENSET, MAP, SET, TUPLE, Unreadable

Fallback = Callable[[object], object]
"""Turns a value that has no form on the wire into one that has, or raises."""

_SCALARS = frozenset({type(None), bool, int, float, str, bytes})
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1
_KEPT_BUFFER = 64 * 1024
_ALIKE = 64


def encode(value: object, fallback: Fallback | None = None) -> bytes:
    """The body that :func:`decode` turns into an equal value of the same type.

    Of a member of an ``Enum`` its value is sent, of an instance of a subclass (of ``str``, of ``dict``, …) the
    plain one. A value of any other type goes to ``fallback``, and what that returns is sent in its place.

    Raises:
        EncodeError: a part of it cannot be sent; names the type and the place of the part, never the part.
    """
    body = _packed_as_it_is(value)
    if body is None:
        body = _own.pack(_Outgoing(fallback).portable(value, None, limits.MAX_DEPTH))
    if len(body) > _KEPT_BUFFER:
        _own.forget()
    if len(body) > limits.LIGHT:
        trouble = limits.trouble_with(body)
        if trouble is not None:
            raise EncodeError(f"Cannot send the message: {trouble}.")
    return body


def decode(body: bytes, *, max_bytes: int) -> object:
    """The value that was encoded.

    Takes at most 32 times the size of the body in memory, or 32 MiB for one of less than a MiB.

    Raises:
        DecodeError: it is larger than ``max_bytes``, or no body that this version reads.
    """
    if len(body) > max_bytes:
        raise DecodeError(
            f"The body takes {len(body):,} bytes; at most {max_bytes:,} are read (FLOWCHAN_MAX_MESSAGE_BYTES)."
        )
    reason = limits.trouble_with(body)
    if reason is None:
        try:
            return _unpack(body)
        except (MemoryError, RecursionError):
            raise  # the plight of this process, not the fault of the message
        except Exception as error:  # noqa: BLE001 - whatever hostile bytes make an unpacker raise
            reason = _reason(error)
    # Only here: while an error is handled, it and the payload that it quotes become this one's context.
    raise DecodeError(f"The body cannot be read: {reason}.")


def _unpack(body: bytes) -> object:
    value: object = msgpack.unpackb(body, raw=False, strict_map_key=True, timestamp=3, ext_hook=_value_of_extension)
    return value


def _value_of_extension(code: int, payload: bytes) -> object:
    if code not in extensions.HOLDERS:
        return extensions.read(code, payload)
    members = _unpack(payload)
    if not isinstance(members, list):
        raise Unreadable(f"its extension of type {code} holds no array")
    if code == TUPLE:
        return tuple(members)
    if code == MAP:
        if len(members) % 2:
            raise Unreadable("a map in it has a key without a value")
        found = _spread(members[::2])
        return dict(zip(found, members[1::2], strict=True))
    return set(_spread(members)) if code == SET else frozenset(_spread(members))


def _spread(members: list[Any]) -> list[Any]:
    """The members, unless so many share a hash that to make a set of them would take minutes.

    The hashes of numbers, UUIDs and tuples are no secret, so a sender can choose members that collide.
    """
    if len(members) > _ALIKE and len(members) - len(set(map(hash, members))) > _ALIKE:
        raise Unreadable("too many keys of a map or members of a set in it have the same hash")
    return members


def _reason(error: Exception) -> str:
    if isinstance(error, Unreadable):
        return str(error)
    if isinstance(error, UnicodeDecodeError):
        return "it holds text that is not UTF-8"
    if isinstance(error, TypeError):
        return "it holds a key or a member of a set that cannot be one"
    if isinstance(error, msgpack.ExtraData):
        return limits.MORE_BEHIND
    if "map key" in str(error):
        return "it holds a map with a key that is no text"
    return "it is not msgpack, or not all of it"


def _packed_as_it_is(value: object) -> bytes | None:
    """The short way, or None where a part takes the long one: an extension, or one that is at fault."""
    if not _is_plain(value, limits.MAX_DEPTH):
        return None
    try:
        return _own.pack(value)
    except (OverflowError, UnicodeEncodeError):
        return None


def _is_plain(value: Any, levels: int) -> bool:
    """Whether msgpack packs a value as it is: scalars in lists and in dicts of strings, not too deep."""
    kind = type(value)
    if kind is dict:
        if not levels:
            return False
        for key, item in value.items():
            if type(key) is not str or (type(item) not in _SCALARS and not _is_plain(item, levels - 1)):
                return False
        return True
    if kind is list:
        if not levels:
            return False
        if _SCALARS.issuperset(map(type, value)):
            return True
        return all(type(item) in _SCALARS or _is_plain(item, levels - 1) for item in value)
    return kind in _SCALARS


class _Own(threading.local):
    """Each thread's packer: one is not to be used by two at a time, and to make one takes longer than to pack."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Give back the buffer, which has grown to the largest body so far."""
        self.pack: Callable[[object], bytes] = msgpack.Packer(strict_types=True, buf_size=4096).pack


_own = _Own()


# --- the long way: a part at a time, knowing where it is ----------------------------------------------

_Place = tuple["_Place | None", "str | int | tuple[int] | None"]
"""Where a part is: in what, and there under a name, at an index, at a key of that number, or somewhere in a set."""

_HOLDERS: Mapping[type, int] = {tuple: TUPLE, set: SET, frozenset: FROZENSET}
_CONTAINERS = frozenset({dict, list, *_HOLDERS})

_PLAIN: Mapping[type, Callable[[Any], object]] = {
    # By the base's own method, whatever a subclass makes of it.
    Enum: lambda member: member.value,
    int: int.__int__,
    float: float.__float__,
    str: str.__str__,
    **dict.fromkeys((bytes, bytearray, memoryview), lambda value: memoryview(value).tobytes()),
    **{kind: kind for kind in _CONTAINERS},
}
_WITH_FORM = (type(None), *_PLAIN, *extensions.WRITERS)


class _Outgoing:
    """One value on its way out, turned into what a packer takes as it is."""

    def __init__(self, fallback: Fallback | None) -> None:
        self._fallback = fallback
        self._open: set[int] = set()

    def portable(self, value: Any, place: _Place | None, levels: int, *, hashable: bool = False) -> object:
        """Scalars, lists, dicts of strings, and extensions for the rest.

        Raises:
            EncodeError: there is no such form, or ``hashable`` is asked for and what arrives would not be.
        """
        kind = type(value)
        if kind is str:
            return value if value.isascii() else _text(value, place)
        if kind is int and not _SMALLEST <= value <= _LARGEST:
            return ExtType(extensions.INTEGER, _by(extensions.write_integer, value, place))
        if kind in _SCALARS:
            return value
        if kind in _CONTAINERS:
            return self._container(value, place, levels, hashable=hashable)
        for base, (code, write) in extensions.WRITERS.items():
            if isinstance(value, base):
                return ExtType(code, _by(write, value, place))
        for base, plain in _PLAIN.items():
            if isinstance(value, base):
                return self.portable(_by(plain, value, place), place, levels, hashable=hashable)
        sent = _by(self._fallback or _unknown, value, place)
        if not isinstance(sent, _WITH_FORM):
            raise _not_serialisable(value, place)
        return self.portable(sent, place, levels, hashable=hashable)

    def _container(self, value: Any, place: _Place | None, levels: int, *, hashable: bool) -> object:
        kind = type(value)
        if hashable and kind not in (tuple, frozenset):
            raise _error(place, f"it would arrive as a {kind.__name__}, which can be neither a key nor in a set")
        if id(value) in self._open:
            raise _error(place, "it contains itself")
        if not levels:
            raise _error(place, f"it nests more than {limits.MAX_DEPTH} levels deep")
        self._open.add(id(value))
        if kind is dict:
            sent = self._map(value, place, levels - 1)
        elif kind in (list, tuple):
            sent = [
                self.portable(item, (place, index), levels - 1, hashable=hashable) for index, item in enumerate(value)
            ]
        else:
            sent = [self.portable(item, (place, None), levels - 1, hashable=True) for item in value]
        self._open.remove(id(value))
        return ExtType(_HOLDERS[kind], _own.pack(sent)) if kind in _HOLDERS else sent

    def _map(self, value: dict[Any, Any], place: _Place | None, levels: int) -> object:
        keys: list[Any] = []
        items: list[object] = []
        for number, (key, item) in enumerate(value.items()):
            here = (place, key if type(key) is str and key.isidentifier() else (number,))
            keys.append(self.portable(key, here, levels, hashable=True))
            items.append(self.portable(item, here, levels))
        if len(set(keys)) < len(keys):
            raise _error(place, "two of its keys would arrive as one")
        if all(type(key) is str for key in keys):
            return dict(zip(keys, items, strict=True))
        return ExtType(MAP, _own.pack([part for pair in zip(keys, items, strict=True) for part in pair]))


def _by(step: Callable[[Any], object], value: object, place: _Place | None) -> Any:
    """What a step makes of a value."""
    problem = None
    try:
        return step(value)
    except (MemoryError, RecursionError):
        raise
    except Unreadable as error:
        problem = str(error)
    except Exception:  # noqa: BLE001, S110 - the user's code, whose words may quote the value
        pass
    raise _error(place, problem) if problem else _not_serialisable(value, place)


def _unknown(value: object) -> object:
    return value


def _not_serialisable(value: object, place: _Place | None) -> EncodeError:
    return _error(place, f"a value of type '{type(value).__name__}' is not serialisable")


def _text(value: str, place: _Place | None) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        pass  # and only then raise: the caught error holds the text
    else:
        return value
    raise _error(place, "a text holds half of a surrogate pair, which is no character")


_LONGEST = 160


def _error(place: _Place | None, problem: str) -> EncodeError:
    parts: list[str] = []
    while place is not None:
        place, part = place
        if isinstance(part, str):
            parts.append(f".{part[:_LONGEST]}")
        elif isinstance(part, tuple):
            # Not a field's name, so it may be what somebody wrote: it is counted, not shown.
            parts.append(f"[key no. {part[0] + 1}]")
        else:
            parts.append("[*]" if part is None else f"[{part}]")
    path = "".join(reversed(parts)).removeprefix(".")
    if len(path) > _LONGEST:
        path = f"{path[: _LONGEST // 2]}…{path[-_LONGEST // 2 :]}"
    return EncodeError(f"Cannot send {path or 'the message'}: {problem}.")
