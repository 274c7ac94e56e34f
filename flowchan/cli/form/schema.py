"""A JSON Schema, which others have written: what it says, and whether a value is what it says."""

from __future__ import annotations

from typing import Any, NamedTuple

from flowchan.runs.schema import Fault, Schema, faults, printable


class Resolved(NamedTuple):
    """A schema without a reference at its top."""

    schema: Schema
    followed: frozenset[str]
    """The references that led there: one that comes again further down leads in a circle."""


def resolved(schema: Schema, root: Schema, followed: frozenset[str] = frozenset()) -> Resolved:
    """Follow the reference at a schema's top; what stands beside it counts more than what it leads to."""
    while True:
        parts = schema.get("allOf")
        if isinstance(parts, list) and len(parts) == 1 and isinstance(parts[0], dict):
            schema = {**parts[0], **{name: value for name, value in schema.items() if name != "allOf"}}
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return Resolved(schema, followed)
        if reference in followed:
            return Resolved({}, followed)
        followed |= {reference}
        schema = {**_target(reference, root), **{name: value for name, value in schema.items() if name != "$ref"}}


def complete(schema: Schema, root: Schema) -> Schema:
    """A part of a schema, with all that its references lead to."""
    return {**{name: root[name] for name in ("$schema", "$defs", "definitions") if name in root}, **schema}


def _target(reference: str, root: Schema) -> Schema:
    found: Any = root
    for part in reference.removeprefix("#").split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, dict) else None
    return found if reference.startswith("#") and isinstance(found, dict) else {}


__all__ = ["Fault", "Resolved", "Schema", "complete", "faults", "printable", "resolved"]
