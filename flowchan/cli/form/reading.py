"""From the text of an answer to a value, and from a value to the text that would give it."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import math
import re
import uuid
from collections.abc import Callable
from typing import Any

from flowchan.cli.form.fields import MISSING, Field, Kind, Missing, Question
from flowchan.cli.form.schema import faults, printable

EMPTY_TEXT = '""'
"""What is typed for a text without a character."""

_ITEM = re.compile(r'\s*+(?:"((?:[^"]|"")*+)"|(?!")([^,]*+))\s*+(?:,|$)')
_TRUE = ("yes", "y", "true", "t", "on", "1")
_FALSE = ("no", "n", "false", "f", "off", "0")


class Unreadable(ValueError):  # noqa: N818 - it is an answer's, not the program's
    """What was typed is no answer to the question; says why."""


def read(question: Question, text: str, *, offered: Any = MISSING) -> Any:
    """The value that an answer stands for.

    Args:
        question: what was asked.
        text: what was typed.
        offered: what an empty answer stands for, where there is that.

    Returns:
        A value that fits the question's schema, None for no value, or ``MISSING`` where the field is left out.

    Raises:
        Unreadable: it stands for none; the reason is a sentence.
    """
    text = text.strip() if question.kind is not Kind.PASSWORD else text
    if not text:
        return _nothing(question, offered)
    return checked(question, value_of(question, text))


def cleared(question: Question) -> Any:
    """The value of an answer that a person has deleted: what was offered is not wanted."""
    if question.nullable:
        return None
    if question.kind is Kind.TEXT:
        return checked(question, "")
    if question.kind is Kind.LIST:
        return checked(question, [])
    return _nothing(question, question.default)


def checked(field: Field, value: Any) -> Any:
    """The value, if it fits; raises ``Unreadable`` if it does not."""
    if value is MISSING or (value is None and field.nullable):
        return value
    secret = isinstance(field, Question) and field.kind is Kind.PASSWORD
    for fault in faults(field.schema, value, secret=secret):
        within = "".join(f"[{part}]" if isinstance(part, int) else f".{printable(part)}" for part in fault.path)
        raise Unreadable(f"{within.lstrip('.')}: {fault.reason}" if within else fault.reason)
    return value


def shown(question: Question, value: Any) -> str:
    """The text that :func:`read` takes for the value; empty for no value."""
    if value is None or isinstance(value, Missing):
        return ""
    if question.kind is Kind.JSON:
        return json.dumps(value, ensure_ascii=False)
    if question.kind is Kind.LIST and isinstance(value, list):
        return _shown_list(question, value)
    if isinstance(value, bool):
        return ("yes" if value else "no") if question.kind is Kind.BOOLEAN else str(value).lower()
    if value == "":
        return EMPTY_TEXT
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def value_of(question: Question, text: str) -> Any:
    """As :func:`read`, of a text that is not empty, and without a look at the schema."""
    return _READERS[question.kind](question, text)


def _nothing(question: Question, offered: Any) -> Any:
    if offered is not MISSING:
        return offered
    if question.nullable:
        return None
    if not question.required:
        return MISSING
    hint = f" ({EMPTY_TEXT} for an empty text)" if question.kind is Kind.TEXT else ""
    raise Unreadable(f"An answer is needed{hint}.")


def _text(_: Question, text: str) -> str:
    return "" if text == EMPTY_TEXT else text


def _integer(_: Question, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise Unreadable(f"{_quoted(text)} is no whole number.") from None


def _number(_: Question, text: str) -> float:
    with contextlib.suppress(ValueError):
        return int(text)
    with contextlib.suppress(ValueError):
        if math.isfinite(number := float(text)):
            return number
    raise Unreadable(f"{_quoted(text)} is no number.")


def _boolean(_: Question, text: str) -> bool:
    if text.casefold() in _TRUE:
        return True
    if text.casefold() in _FALSE:
        return False
    raise Unreadable(f"{_quoted(text)} is neither yes nor no.")


def _date(_: Question, text: str) -> str:
    try:
        return dt.date.fromisoformat(text).isoformat()
    except ValueError:
        raise Unreadable(f"{_quoted(text)} is no date: 2026-01-31 is one.") from None


def _time(_: Question, text: str) -> str:
    try:
        return dt.time.fromisoformat(text).isoformat()
    except ValueError:
        raise Unreadable(f"{_quoted(text)} is no time: 14:30 is one.") from None


def _datetime(_: Question, text: str) -> str:
    try:
        return dt.datetime.fromisoformat(text).isoformat()
    except ValueError:
        raise Unreadable(f"{_quoted(text)} is no date and time: 2026-01-31 14:30 is one.") from None


def _duration(_: Question, text: str) -> str:
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415 - durations are rare

    durations: TypeAdapter[dt.timedelta] = TypeAdapter(dt.timedelta)
    try:
        duration: str = durations.dump_python(durations.validate_python(text), mode="json")
    except ValidationError:
        raise Unreadable(f"{_quoted(text)} is no duration: 1:30:00 and P2DT4H are some.") from None
    return duration


def _uuid(_: Question, text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise Unreadable(f"{_quoted(text)} is no UUID.") from None


def _choice(question: Question, text: str) -> Any:
    names = {shown(question, each): each for each in question.choices}
    if text in names:
        return names[text]
    alike = [each for name, each in names.items() if name.casefold() == text.casefold()]
    if len(alike) == 1:
        return alike[0]
    raise Unreadable(f"{_quoted(text)} is none of {', '.join(map(printable, names))}.")


def _union(question: Question, text: str) -> Any:
    reasons: list[str] = []
    has_text = any(member.kind is Kind.TEXT for member in question.members)
    for member in question.members:
        try:
            value = checked(member, value_of(member, text))
        except Unreadable as reason:
            reasons.append(str(reason))
            continue
        # 1.10 is not 1.1 for whom digits count, so where text will do they are kept.
        if not has_text or isinstance(value, str) or shown(member, value) == text:
            return value
    raise Unreadable(reasons[-1] if reasons else f"{_quoted(text)} is of none of the types.")


def _list(question: Question, text: str) -> list[Any]:
    if text.startswith("["):
        whole: list[Any] = _json(question, text)
        return whole
    (item,) = question.members
    parts: list[str] = []
    at = 0
    while at < len(text):
        found = _ITEM.match(text, at)
        if found is None:
            raise Unreadable('Its quotation marks do not match: a, "b, with a comma", c is a list of three.')
        quoted, plain = found.groups()
        parts.append(plain if quoted is None else quoted.replace('""', '"') or EMPTY_TEXT)
        at = found.end()
    values: list[Any] = []
    for number, part in enumerate(parts, 1):
        try:
            values.append(read(item, part))
        except Unreadable as reason:
            raise Unreadable(f"{number}: {reason}") from None
    return values


def _shown_list(question: Question, values: list[Any]) -> str:
    if not values:
        return "[]"
    (item,) = question.members
    pretty = ", ".join(_csv(shown(item, value)) for value in values)
    with contextlib.suppress(Unreadable):
        if _list(question, pretty) == values:
            return pretty
    return json.dumps(values, ensure_ascii=False)


def _csv(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if "," in text or text.startswith('"') else text


def _json(_: Question, text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except ValueError as error:
        where = f" at character {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        what = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise Unreadable(f"It is no JSON: {what}{where}.") from None
    except RecursionError:
        raise Unreadable("It is nested too deeply.") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _quoted(text: str) -> str:
    text = printable(text)
    return f"“{text if len(text) <= 40 else text[:39] + '…'}”"


_READERS: dict[Kind, Callable[[Question, str], Any]] = {
    Kind.TEXT: _text,
    Kind.PASSWORD: lambda _, text: text,
    Kind.INTEGER: _integer,
    Kind.NUMBER: _number,
    Kind.BOOLEAN: _boolean,
    Kind.DATE: _date,
    Kind.TIME: _time,
    Kind.DATETIME: _datetime,
    Kind.DURATION: _duration,
    Kind.UUID: _uuid,
    Kind.CHOICE: _choice,
    Kind.UNION: _union,
    Kind.LIST: _list,
    Kind.JSON: _json,
}
