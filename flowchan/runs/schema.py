"""A JSON Schema that came with a run, and whether a value is what it says."""

from __future__ import annotations

import datetime as dt
import unicodedata
from collections.abc import Callable
from typing import Any, NamedTuple

import jsonschema_rs
from pydantic import TypeAdapter, ValidationError

from flowchan.errors import FlowchanError

Schema = dict[str, Any]

_MASK = "the value"


class Fault(NamedTuple):
    """What is wrong with a value: where in it, and a sentence."""

    path: tuple[str | int, ...]
    reason: str
    member: str = ""
    """The member of an object that is missing, or that it should not have."""


def faults(schema: Schema, value: Any, *, secret: bool = False) -> list[Fault]:
    """What is wrong with a value; nothing is fetched from anywhere to find that out.

    A time is what pydantic takes for one, which is more than what JSON Schema's formats allow. Where the value is
    ``secret``, no reason quotes it.

    Raises:
        FlowchanError: the schema is none.
    """
    try:
        validator = jsonschema_rs.validator_for(
            schema, validate_formats=True, formats=_FORMATS, retriever=_refuse, mask=_MASK if secret else None
        )
        return [
            Fault(tuple(error.instance_path), printable(error.message).rstrip(".") + ".", _member(error.kind))
            for error in validator.iter_errors(value)
        ]
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        raise FlowchanError(
            f"The schema of this input cannot be used: {printable(str(error)).splitlines()[0]}"
        ) from None


def _member(kind: Any) -> str:
    unexpected = getattr(kind, "unexpected", None)
    return str(unexpected[0]) if unexpected else str(getattr(kind, "property", None) or "").strip('"')


def printable(text: object) -> str:
    """A text as it may be shown: what others have written must not move a terminal's cursor."""
    return "".join(each for each in str(text) if each in "\n\t" or unicodedata.category(each) not in ("Cc", "Cf"))


def _taken_as(kind: Any) -> Callable[[str], bool]:
    adapter = TypeAdapter(kind)

    def is_taken(text: str) -> bool:
        try:
            adapter.validate_python(text)
        except ValidationError:
            return False
        return True

    return is_taken


_FORMATS: dict[str, Callable[[str], bool]] = {
    "date": _taken_as(dt.date),
    "date-time": _taken_as(dt.datetime),
    "time": _taken_as(dt.time),
    "duration": _taken_as(dt.timedelta),
}


def _refuse(_: str) -> Any:
    raise ValueError("it refers to another document")
