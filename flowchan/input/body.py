"""From a value to the body of a message: what pydantic makes of it, in msgpack."""

from __future__ import annotations

import binascii
import json
from enum import Enum
from typing import Any

import pydantic
import pydantic_core
from pydantic import BaseModel, TypeAdapter
from pydantic_core import SchemaSerializer, core_schema

from flowchan.errors import EncodeError
from flowchan.input.types import Body, body_of, remembered
from flowchan.wire import codec

_PLAIN = frozenset({str, int, float, bool, bytes, type(None)})
_ANY = SchemaSerializer(core_schema.any_schema())


def body_of_value(value: Any) -> bytes:
    """The body that carries a value: a model's fields, or ``{"value": …}``.

    Field names, never aliases: they are what a receiver's own class surely knows. Values keep their types.

    Raises:
        EncodeError: pydantic cannot serialise it, or the wire cannot carry what it makes of it.
    """
    cls = type(value)
    if cls in _PLAIN:
        return codec.encode({"value": value})
    try:
        if body_of(cls) is Body.FIELDS:
            # round_trip: what comes out is valid input again, so without computed fields.
            return codec.encode(cls.__pydantic_serializer__.to_python(value, by_alias=False, round_trip=True), _plain)
        return codec.encode({"value": _ANY.to_python(value, by_alias=False, round_trip=True)}, _plain)
    except (pydantic_core.PydanticSerializationError, RecursionError, ValueError) as error:
        if isinstance(error, EncodeError):
            raise
        raise EncodeError(f"Cannot send a value of type {cls.__name__!r}: pydantic does not serialise it.") from error


def _plain(value: Any) -> Any:
    """A value that msgpack does not know, as one that it does."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, pydantic.SecretStr | pydantic.SecretBytes | pydantic.Secret):
        return value.get_secret_value()
    if isinstance(value, BaseModel):
        return type(value).__pydantic_serializer__.to_python(value, by_alias=False, round_trip=True)
    try:
        return _adapter(type(value)).dump_python(value, mode="json")
    except pydantic.PydanticSchemaGenerationError:
        return pydantic_core.to_jsonable_python(value)


@remembered
def _adapter(cls: type) -> TypeAdapter[Any]:
    return TypeAdapter(cls)


@remembered
def fingerprint(cls: type) -> str:
    """Eight hex digits that tell one shape of a class's values from another. For people and tools to compare."""
    try:
        schema: Any = TypeAdapter(cls).json_schema()
    except pydantic.errors.PydanticUserError:
        schema = cls.__qualname__
    text = json.dumps(schema, sort_keys=True, separators=(",", ":"), default=str)
    return f"{binascii.crc32(text.encode()):08x}"
