"""Metadata that is made when one looks at it: nobody can tell it from metadata that was made at once."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pydantic
import pytest

from flowchan.input import RunInputMetadata
from flowchan.input.metadata import metadata_later, metadata_of
from flowchan.wire import keys
from flowchan.wire.keys import EntryId

STREAM = keys.stream("ns", "0193d0b2-7b7a-7cc0-8000-0123456789ab", "c")
AT_ONCE = metadata_of(STREAM, EntryId(1_763_000_000_000, 3), "somebody")


class Holder(pydantic.BaseModel):
    metadata: RunInputMetadata


def matched(metadata: object) -> object:
    match metadata:
        case RunInputMetadata(key=key):
            return key
    return None


LOOKS: dict[str, Callable[[Any], Any]] = {
    **{name: lambda each, name=name: getattr(each, name) for name in RunInputMetadata.model_fields},  # type: ignore[misc]
    "class": lambda each: each.__class__,
    "repr": repr,
    "str": str,
    "hash": hash,
    "dict": dict,
    "vars": vars,
    "list": list,
    "dump": lambda each: each.model_dump(),
    "json": lambda each: each.model_dump_json(),
    "schema": lambda each: each.model_json_schema(),
    "fields set": lambda each: each.model_fields_set,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "model_copy": lambda each: each.model_copy(update={"sender": "another"}),
    "pickle": lambda each: pickle.loads(pickle.dumps(each)),
    "in a model": lambda each: Holder(metadata=each),
    "in a model, dumped": lambda each: Holder(metadata=each).model_dump_json(),
    "validated": RunInputMetadata.model_validate,
    "in a set": lambda each: {each},
    "as a key": lambda each: {each: 1},
    "isinstance": lambda each: isinstance(each, RunInputMetadata),
    "matched": matched,
}


@pytest.mark.parametrize("name", LOOKS)
def test_it_looks_like_metadata_that_was_made_at_once(name: str) -> None:
    look = LOOKS[name]
    assert look(metadata_later(STREAM, b"1763000000000-3", "somebody")) == look(AT_ONCE)


def test_it_equals_it_on_either_side_and_itself() -> None:
    def later() -> RunInputMetadata:
        return metadata_later(STREAM, b"1763000000000-3", "somebody")

    assert later() == AT_ONCE
    assert later() == AT_ONCE
    assert later() == later()
    assert later() != metadata_later(STREAM, b"1763000000000-4", "somebody")
    assert later() != 3


def test_it_is_as_frozen() -> None:
    with pytest.raises(pydantic.ValidationError):
        metadata_later(STREAM, b"1763000000000-3", "somebody").sender = "another"  # type: ignore[misc]


def test_a_copy_that_was_made_before_anybody_looked_can_be_looked_at() -> None:
    assert copy.copy(metadata_later(STREAM, b"1763000000000-3", None)).key == AT_ONCE.key
