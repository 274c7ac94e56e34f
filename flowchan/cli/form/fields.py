"""The fields of a form, and how each can be asked: all that a schema says of it, and nothing of a terminal."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from flowchan.cli.form.schema import Schema, complete, printable, resolved

Path = tuple[str | int, ...]


class Missing(enum.Enum):
    """That there is no value, not even null."""

    MISSING = enum.auto()


MISSING = Missing.MISSING


class Kind(enum.StrEnum):
    """How the text of an answer is read; each is what a person may be told to type."""

    TEXT = "text"
    PASSWORD = "hidden"  # noqa: S105
    INTEGER = "whole number"
    NUMBER = "number"
    BOOLEAN = "yes or no"
    DATE = "date, as 2026-01-31"
    TIME = "time, as 14:30"
    DATETIME = "date and time, as 2026-01-31 14:30"
    DURATION = "duration, as 1:30:00 or P2DT4H"
    UUID = "UUID"
    CHOICE = "one of these"
    UNION = "one of several types"
    LIST = "list, separated by commas"
    JSON = "JSON, on one line"


@dataclass(frozen=True, kw_only=True)
class Field:
    """What all fields have."""

    path: Path
    title: str
    description: str
    schema: Schema
    """Complete; null is no part of it, even where the field may be null."""
    required: bool
    """Whether it may not be left out."""
    nullable: bool
    default: Any = MISSING

    @property
    def name(self) -> str:
        """Where it is, as a person is told: ``address.street``, ``lines[0].price``."""
        parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path)
        return printable("".join(parts)).lstrip(".")

    @property
    def may_be_empty(self) -> bool:
        """Whether there need be no answer."""
        return self.nullable or not self.required


@dataclass(frozen=True, kw_only=True)
class Question(Field):
    """A field that is answered by one line."""

    kind: Kind
    choices: tuple[Any, ...] = ()
    members: tuple[Question, ...] = ()
    """Of a union: what it may be, text last. Of a list: what its items are."""


@dataclass(frozen=True, kw_only=True)
class Group(Field):
    """An object: its fields are asked one after the other."""

    fields: tuple[Field, ...]


@dataclass(frozen=True, kw_only=True)
class Series(Field):
    """A list of objects."""

    item: Group

    def at(self, index: int) -> Group:
        """The item of a place, which is counted from 0."""
        return _moved(self.item, (*self.path, index), len(self.path) + 1, f"{self.title} {index + 1}")


@dataclass(frozen=True, kw_only=True)
class Fixed(Field):
    """A field that can only be one value: there is nothing to ask."""

    value: Any


def form_of(schema: Schema) -> Field:
    """The form for a schema: a group, or one question for JSON where it describes no object with named fields."""
    return _field((), schema, schema, frozenset())


_PLAIN = {
    "string": Kind.TEXT,
    "integer": Kind.INTEGER,
    "number": Kind.NUMBER,
    "boolean": Kind.BOOLEAN,
}
_FORMATS = {
    "date": Kind.DATE,
    "time": Kind.TIME,
    "date-time": Kind.DATETIME,
    "duration": Kind.DURATION,
    "uuid": Kind.UUID,
    "password": Kind.PASSWORD,
}


def _field(path: Path, schema: Schema, root: Schema, followed: frozenset[str], *, required: bool = True) -> Field:
    own, followed = resolved(schema, root, followed)
    inner, nullable, followed = _without_null(own, root, followed)
    common: dict[str, Any] = {
        "path": path,
        "title": printable(schema.get("title") or str(path[-1] if path else "").replace("_", " ").capitalize()),
        "description": printable(own.get("description") or inner.get("description") or "").strip(),
        "schema": complete(inner, root),
        "required": required,
        "nullable": nullable,
        "default": own.get("default", MISSING),
    }
    if "const" in inner and not nullable and (required or inner["const"] == common["default"]):
        return Fixed(**common, value=inner["const"])
    properties = inner.get("properties")
    if inner.get("type") == "object" and isinstance(properties, dict) and not _is_open(inner):
        needed = inner.get("required", [])
        fields = tuple(
            _field((*path, name), each if isinstance(each, dict) else {}, root, followed, required=name in needed)
            for name, each in properties.items()
        )
        return Group(**common, fields=fields)
    if inner.get("type") == "array" and isinstance(inner.get("items"), dict) and "prefixItems" not in inner:
        item = _field((*path, 0), inner["items"], root, followed)
        if isinstance(item, Group) and not item.nullable:
            return Series(**common, item=item)
        if isinstance(item, Question) and not item.nullable and item.kind not in (Kind.LIST, Kind.JSON, Kind.PASSWORD):
            return Question(**common, kind=Kind.LIST, members=(item,))
    return _question(common, inner, root, followed)


def _question(common: dict[str, Any], inner: Schema, root: Schema, followed: frozenset[str]) -> Question:
    choices = [inner["const"]] if "const" in inner else inner.get("enum")
    if isinstance(choices, list) and choices:
        nullable = common["nullable"] or None in choices
        common = {**common, "nullable": nullable}
        return Question(
            **common,
            kind=Kind.CHOICE,
            choices=tuple(each for each in choices if each is not None),
        )
    alternatives = inner.get("anyOf") or inner.get("oneOf")
    if isinstance(alternatives, list) and alternatives:
        members = [_field(common["path"], each, root, followed) for each in alternatives if isinstance(each, dict)]
        scalars = [each for each in members if isinstance(each, Question) and each.kind not in (Kind.LIST, Kind.JSON)]
        if len(scalars) == len(alternatives) and not any(each.nullable for each in scalars):
            scalars.sort(key=lambda each: each.kind is Kind.TEXT)
            return Question(**common, kind=Kind.UNION, members=tuple(scalars))
        return Question(**common, kind=Kind.JSON)
    kind = Kind.JSON
    declared = inner.get("type")
    if isinstance(declared, str):
        kind = _PLAIN.get(declared, Kind.JSON)
    if kind is Kind.TEXT:
        kind = _FORMATS.get(inner.get("format", ""), kind)
    if kind is Kind.PASSWORD:
        common = {**common, "default": MISSING}  # what stands there is no password but what hides one
    return Question(**common, kind=kind)


def _without_null(schema: Schema, root: Schema, followed: frozenset[str]) -> tuple[Schema, bool, frozenset[str]]:
    """What a schema says apart from that there may be nothing, and whether there may."""
    declared = schema.get("type")
    if isinstance(declared, list) and "null" in declared:
        rest = [each for each in declared if each != "null"]
        return {**schema, "type": rest[0] if len(rest) == 1 else rest}, True, followed
    for keyword in ("anyOf", "oneOf"):
        parts = schema.get(keyword)
        if not isinstance(parts, list) or {"type": "null"} not in parts:
            continue
        rest = [each for each in parts if each != {"type": "null"} and isinstance(each, dict)]
        around = {name: value for name, value in schema.items() if name not in (keyword, "default", "discriminator")}
        if len(rest) == 1:
            inner, followed = resolved(rest[0], root, followed)
            return {**inner, **around}, True, followed
        return {**around, keyword: rest}, True, followed
    return schema, False, followed


def _is_open(schema: Schema) -> bool:
    """Whether an object may have fields that nobody can know of."""
    more = schema.get("additionalProperties", False)
    return isinstance(more, Mapping) or bool(schema.get("patternProperties"))


def _moved(group: Group, path: Path, depth: int, title: str) -> Group:
    """A group as it is at another place of its list."""

    def move(field: Field) -> Field:
        moved = replace(field, path=path + field.path[depth:])
        if isinstance(moved, Group):
            return replace(moved, fields=tuple(map(move, moved.fields)))
        if isinstance(moved, Series):
            return replace(
                moved, item=_moved(moved.item, path + moved.item.path[depth:], len(moved.item.path), moved.item.title)
            )
        return moved

    return replace(group, path=path, title=title, fields=tuple(map(move, group.fields)))
