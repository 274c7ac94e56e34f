"""From a value to the body of a message: what pydantic makes of it, in msgpack."""

from __future__ import annotations

import binascii
import json
from typing import Any, ClassVar, TypeVar

import pydantic
import pydantic_core
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaWarningKind
from pydantic_core import SchemaSerializer, core_schema

from flowchan.errors import EncodeError
from flowchan.input.types import Body, body_of, remembered
from flowchan.wire import codec

M = TypeVar("M", bound=BaseModel)

_PLAIN = frozenset({str, int, float, bool, bytes, type(None)})
_ANY = SchemaSerializer(core_schema.any_schema())


def is_made_for_a_type(cls: type) -> bool:
    """Whether a RunInput class only carries the values of some type: sent, an instance is its value."""
    return "__flowchan_type__" in cls.__dict__


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
    except EncodeError:
        raise
    except Exception as error:
        # As a rule PydanticSerializationError; but also what a dict makes of a key that is one itself now.
        raise EncodeError(f"Cannot send a value of type {cls.__name__!r}: pydantic does not serialise it.") from error


def _plain(value: Any) -> Any:
    """A value that msgpack does not know, as one that it does."""
    if isinstance(value, pydantic.SecretStr | pydantic.SecretBytes | pydantic.Secret):
        return _ANY.to_python(value.get_secret_value(), by_alias=False, round_trip=True)
    try:
        return _adapter(type(value)).dump_python(value, mode="json")
    except pydantic.PydanticSchemaGenerationError:
        return pydantic_core.to_jsonable_python(value)


@remembered
def _adapter(cls: type) -> TypeAdapter[Any]:
    return TypeAdapter(cls)


class _QuietSchema(GenerateJsonSchema):
    # A default that JSON has no form for is no matter of who sends.
    ignored_warning_kinds: ClassVar[set[JsonSchemaWarningKind]] = {"skipped-choice", "non-serializable-default"}  # type: ignore[misc]


@remembered
def fingerprint(cls: type) -> str:
    """Eight hex digits that tell one shape of a class's values from another. For people and tools to compare."""
    try:
        schema: Any = TypeAdapter(cls).json_schema(schema_generator=_QuietSchema)
    except Exception:  # noqa: BLE001 - what classes of users may raise; a fingerprint is no reason not to send
        schema = cls.__qualname__
    text = json.dumps(schema, sort_keys=True, separators=(",", ":"), default=str)
    return f"{binascii.crc32(text.encode()):08x}"


def instance_of(model: type[M], body: Any) -> M:
    """The instance that a body carries.

    A strict model takes what its own instances are sent as, and nothing else: a path, a member of an enum
    and a dataclass have no form of their own on the wire, so there a text, a value or a dict stands for them.

    Raises:
        ValidationError: the body does not fit the model.
    """
    try:
        return model.__pydantic_validator__.validate_python(body, by_name=True, by_alias=False)  # type: ignore[no-any-return]
    except ValidationError as error:
        if not all(_may_be_form(problem["type"]) for problem in error.errors(include_url=False, include_input=False)):
            raise
        try:
            instance = model.model_validate(body, strict=False, by_name=True, by_alias=False)
        except ValidationError:
            raise error from None
        if _alike(_sent(instance), body):
            return instance
        raise


def _may_be_form(problem: str) -> bool:
    """Whether an error may only say that a value came in the form that the wire has for it."""
    return problem.endswith("_type") or problem == "is_instance_of"


def _sent(instance: BaseModel) -> Any:
    body = codec.encode(instance.__pydantic_serializer__.to_python(instance, by_alias=False, round_trip=True), _plain)
    return codec.decode(body, max_bytes=len(body))


def _alike(one: Any, other: Any) -> bool:
    """Whether two decoded bodies are equal and of equal types throughout."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_alike(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_alike, one, other))
    return bool(one == other) or (one != one and other != other)  # noqa: PLR0124 - not a number, twice
