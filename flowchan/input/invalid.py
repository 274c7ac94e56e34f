"""Why a message cannot be given to anybody, told without a word of what it holds."""

from __future__ import annotations

import logging
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticKnownError

from flowchan.errors import DecodeError
from flowchan.input.types import remembered
from flowchan.wire import keys
from flowchan.wire.keys import EntryId

logger: logging.Logger = logging.getLogger(__name__)

INVALID = "invalid"
"""The message does not fit the type that was asked for."""
UNREADABLE = "unreadable"
"""The message cannot be decoded."""
MAX_DELIVERIES = "max-deliveries"
"""The message was handed out as often as it may be, and never acknowledged."""

_MOST = 3
_ELSEWHERE = "…"


def reason_of(error: DecodeError | ValidationError) -> str:
    """The reason, in a word."""
    return UNREADABLE if isinstance(error, DecodeError) else INVALID


def told(error: DecodeError | ValidationError, model: type[BaseModel]) -> str:
    """What is wrong with a message, for logs and dead letters: fields of the model, and pydantic's names for errors."""
    if isinstance(error, DecodeError):
        return str(error)
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    known = _names(model)
    texts = [f"{_place(problem['loc'], known)}: {_what(problem['type'])}" for problem in problems[:_MOST]]
    more = len(problems) - _MOST
    return "; ".join(texts) + (f"; and {more} more" if more > 0 else "")


def log(stream: str, entry: EntryId, group: str, outcome: str, why: str) -> None:
    """Say what became of a message that nobody could be given."""
    _, run, channel = keys.address(stream)
    key = keys.message_key(stream, entry)
    logger.warning("Message %s of group %s %s (run %s, channel %s): %s", key, group, outcome, run, channel, why)


def _what(kind: str) -> str:
    try:
        known: Any = PydanticKnownError
        return f"{known(kind).message()} ({kind})"
    except (KeyError, TypeError):
        return kind  # it is a user's own, or its text says something of the value


def _place(parts: tuple[int | str, ...], known: frozenset[str]) -> str:
    # A key of a dict is the sender's word, too.
    return ".".join(str(part) if isinstance(part, int) or part in known else _ELSEWHERE for part in parts) or "value"


@remembered
def _names(model: type[BaseModel]) -> frozenset[str]:
    """The names of the fields of a model, and of the models in it."""
    try:
        schema: Any = model.model_json_schema(by_alias=False)
    except Exception:  # noqa: BLE001 - what classes of users may raise; the first level is known all the same
        return frozenset(model.model_fields)
    return frozenset(_properties(schema)) | frozenset(model.model_fields)


def _properties(schema: Any) -> set[str]:
    if isinstance(schema, list):
        return {name for each in schema for name in _properties(each)}
    if not isinstance(schema, dict):
        return set()
    own = schema.get("properties")
    return {*(own if isinstance(own, dict) else ()), *(name for each in schema.values() for name in _properties(each))}
