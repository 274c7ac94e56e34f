"""From a type to its channels: what a sender calls the class of its value, and where a receiver listens for it.

A sender knows its value and so its class; a receiver knows an annotation. They meet when the receiver
takes the annotation apart into the classes that its values have: ``Optional[User]`` into ``User`` and
``NoneType``. Only the class counts, never what it inherits from or could be turned into: an ``int`` is
not received as ``float``, nor a ``bool`` as ``int``.

.. code-block:: text

    class of the value          carried by                 channel                         body
    a RunInput                  itself                     <name>-auto                     its fields
    a BaseModel                 <Name>RunInput             <name>runinput-auto             its fields
    anything else               <name>AutomaticRunInput    <name>automaticruninput-auto    {"value": ...}

A receiver of ``User`` validates the fields as they come. A receiver of ``Optional[User]`` is one of
``AutomaticRunInput`` with ``value: Optional[User]``, and yet must take what a sender of a plain ``User``
sends: so for each of its channels :func:`members` tells the body's form, and a body of fields is put
under ``value`` before it is validated.
"""

from __future__ import annotations

import functools
import inspect
import pathlib
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from enum import Enum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, ForwardRef, Literal, NewType, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, RootModel

from flowchan.wire import keys

_R = TypeVar("_R")


def remembered(derive: Callable[[type], _R]) -> Callable[[type], _R]:
    """Derive something of a class once; for what sending asks of each value."""
    # Declared as it is called: lru_cache itself wants a Hashable, which
    # type[object] is not in the eyes of a type checker.
    return functools.lru_cache(maxsize=1024)(derive)


class Body(Enum):
    """The form in which the body of a message carries what was sent."""

    FIELDS = "fields"
    """The model's own fields."""
    VALUE = "value"
    """One field, ``value``, that holds it."""


def class_name(cls: type) -> str:
    """The name of the RunInput class that carries the values of a plain class.

    ``Box[int]`` and ``Box`` are one, as ``list[int]`` and ``list`` are: what is sent is often a bare ``Box(...)``.
    """
    generic: dict[str, Any] = getattr(cls, "__pydantic_generic_metadata__", {})
    plain: type = generic.get("origin") or _FLAVOURS.get(cls, cls)
    name = plain.__name__
    if getattr(cls, "__flowchan_input__", False):
        return name
    if body_of(cls) is Body.FIELDS:
        return f"{name}RunInput"
    return f"{name.lower()}AutomaticRunInput"


@remembered
def body_of(cls: type) -> Body:
    """The form in which a sender puts the values of a plain class on the wire.

    A root model has no fields to be upgraded with, so it travels as a value.
    """
    return Body.FIELDS if issubclass(cls, BaseModel) and not issubclass(cls, RootModel) else Body.VALUE


@remembered
def channel_of(cls: type) -> str:
    """The channel on which values of exactly this class are sent: ``channel_of(type(value))``."""
    return keys.channel_from_class_name(class_name(cls))


def channels_of(input_type: Any) -> tuple[str, ...]:
    """The channels on which a receiver of a type listens, each once, in the order of the type's members.

    Raises:
        TypeError: as :func:`members`.
    """
    return tuple(members(input_type))


def members(input_type: Any) -> Mapping[str, Body]:
    """The channels of a type, and the form of the bodies that come over each.

    Where :func:`unwraps` is true and a channel's bodies are ``Body.FIELDS``, a body is validated as
    ``{"value": body}``; in every other case as it is.

    Raises:
        TypeError: the classes of its values are not known (``Any``, a type variable, a protocol, an
            abstract class, a name in quotes); names the part that is at fault and says to give ``key_prefix``.
    """
    found: dict[str, Body] = {}
    for cls in _classes(input_type, {}):
        found.setdefault(channel_of(cls), body_of(cls))
    return MappingProxyType(found)


def unwraps(input_type: Any) -> bool:
    """Whether a receiver yields the ``value`` of what it validated, rather than the validated model itself.

    False for a RunInput or BaseModel class. True for all that goes through ``AutomaticRunInput``, which
    takes in ``Optional[User]``, ``Annotated[User, ...]`` and a union of models.
    """
    return not (isinstance(input_type, type) and body_of(input_type) is Body.FIELDS)


_FLAVOURS: Mapping[type, type] = {
    # On the wire they are bytes, and there is no annotation for them that pydantic would take.
    bytearray: bytes,
    memoryview: bytes,
    # Path(...) makes the platform's own class, and the platforms of two sides may differ.
    pathlib.PosixPath: pathlib.Path,
    pathlib.WindowsPath: pathlib.Path,
    pathlib.PurePosixPath: pathlib.PurePath,
    pathlib.PureWindowsPath: pathlib.PurePath,
}

_STAND_INS: Mapping[str, tuple[type, ...]] = {
    # Classes that only annotate: their values are of other classes. By name, because importing
    # pydantic.networks takes 30 ms.
    "pydantic.networks.EmailStr": (str,),
    "pydantic.networks.IPvAnyAddress": (IPv4Address, IPv6Address),
    "pydantic.networks.IPvAnyInterface": (IPv4Interface, IPv6Interface),
    "pydantic.networks.IPvAnyNetwork": (IPv4Network, IPv6Network),
    "pydantic.types.AwareDatetime": (datetime,),
    "pydantic.types.FutureDate": (date,),
    "pydantic.types.FutureDatetime": (datetime,),
    "pydantic.types.ImportString": (str,),
    "pydantic.types.Json": (str, bytes),
    "pydantic.types.NaiveDatetime": (datetime,),
    "pydantic.types.PastDate": (date,),
    "pydantic.types.PastDatetime": (datetime,),
}

_READ_FROM_TEXT = frozenset({"pydantic.types.ImportString", "pydantic.types.Json"})
"""``Json[int]`` is ``Annotated[int, Json()]``: the mark says what is sent, the type only what is made of it."""

_ABSTRACT_MODULES = frozenset({"numbers", "typing", "typing_extensions"})

_Bound = Mapping[Any, tuple[Any, "_Bound"]]
"""What the type parameters of an alias stand for: an annotation, and what the parameters *in it* stand for."""


def _classes(annotation: Any, bound: _Bound) -> Iterator[type]:
    """The classes that values of an annotation have; may repeat."""
    parts = _parts(annotation, bound)
    if parts is None:
        yield from _classes_of_leaf(annotation)
        return
    for part, meaning in parts:
        yield from _classes(part, meaning)


def _parts(annotation: Any, bound: _Bound) -> list[tuple[Any, _Bound]] | None:
    """What an annotation consists of, one step down; None where it stands for itself."""
    origin, args = get_origin(annotation), get_args(annotation)
    parts: list[tuple[Any, _Bound]] | None = None
    if isinstance(annotation, TypeVar):
        parts = [bound[annotation]] if annotation in bound else None
    elif isinstance(annotation, NewType):
        parts = [(annotation.__supertype__, {})]
    elif _is_alias(annotation):
        parts = [(annotation.__value__, {})]
    elif _is_alias(origin):
        parameters = origin.__type_params__
        # Of unequal length with variadic parameters and defaults: left unbound rather than bound wrongly.
        pairs = zip(parameters, args, strict=True) if len(parameters) == len(args) else ()
        parts = [(origin.__value__, {parameter: (arg, bound) for parameter, arg in pairs})]
    elif origin is Annotated:
        marks = (_full_name(mark if isinstance(mark, type) else type(mark)) for mark in args[1:])
        sent = next((_STAND_INS[mark] for mark in marks if mark in _READ_FROM_TEXT), None)
        parts = [(cls, {}) for cls in sent] if sent else [(args[0], bound)]
    elif origin is Literal:
        parts = [(value if _is_alias(value) else type(value), {}) for value in args]
    elif origin is Union or origin is UnionType:
        parts = [(arg, bound) for arg in args]
    return parts


def _classes_of_leaf(annotation: Any) -> tuple[type, ...]:
    cls = get_origin(annotation) or annotation
    if cls is None:
        return (NoneType,)
    if isinstance(cls, str | ForwardRef):
        raise _underivable(annotation, "it is a type's name and not the type; pass the type, or")
    if isinstance(cls, TypeVar):
        raise _underivable(annotation, "it may stand for any class;")
    if not isinstance(cls, type):
        raise _underivable(annotation, "it is no class;")
    if cls_sent := _STAND_INS.get(_full_name(cls)):
        return cls_sent
    if _is_typed_dict(cls):
        return (dict,)
    if _has_no_values(cls):
        raise _underivable(annotation, "no value has exactly this class, so no sender uses its name;")
    return (cls,)


def _has_no_values(cls: type) -> bool:
    return (
        cls is object
        or inspect.isabstract(cls)
        or cls.__module__ in _ABSTRACT_MODULES
        or getattr(cls, "_is_protocol", False)
        or (issubclass(cls, Enum) and not cls.__members__)
    )


def _is_alias(annotation: Any) -> bool:
    # By name: typing has TypeAliasType from 3.12 on only, and typing_extensions a class of its own.
    return type(annotation).__name__ == "TypeAliasType"


def _is_typed_dict(cls: type) -> bool:
    # Here, too, typing and typing_extensions have a metaclass each. A value is a plain dict.
    return type(cls).__name__ == "_TypedDictMeta"


def _full_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _underivable(annotation: Any, why: str) -> TypeError:
    named = isinstance(annotation, type) and annotation.__module__ != "builtins"
    shown = _full_name(annotation) if named else repr(annotation)
    return TypeError(f"Cannot derive a channel from {shown}: {why} give key_prefix.")
