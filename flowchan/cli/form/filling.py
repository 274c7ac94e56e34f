"""The way through a form: field after field, each asked until its answer fits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from flowchan.cli import terminal
from flowchan.cli.form.fields import MISSING, Field, Fixed, Group, Question, Series, form_of
from flowchan.cli.form.reading import Unreadable, checked
from flowchan.cli.form.schema import Schema, faults
from flowchan.errors import FlowchanError


class Prompter(Protocol):
    """Who reaches the person."""

    def describe(self, description: str) -> None:
        """Show what the form is about, which is Markdown."""

    def heading(self, field: Field) -> None:
        """Say that the fields of an object follow."""

    def end(self, field: Field) -> None:
        """Say that there are no more of them."""

    def complain(self, field: Field | None, reason: str) -> None:
        """Say what was wrong, and where."""

    def ask(self, question: Question, offered: Any) -> Any:
        """The value that is the answer, checked; ``MISSING`` if there is none and need be none."""

    def confirm(self, field: Field, question: str, *, offered: bool) -> bool:
        """Yes or no."""
        ...


def fill(
    schema: Schema,
    description: str | None,
    *,
    known: dict[str, Any] | None = None,
    problem: str | None = None,
) -> dict[str, Any]:
    """Ask for what a JSON Schema describes, field by field, until it fits the schema.

    At a terminal each field is a prompt. Otherwise each line of standard input is an answer, an empty one stands
    for the default or for nothing, and what is wrong with one is told on standard error.

    Args:
        schema: of an object, as pydantic makes it.
        description: what it is about, in Markdown; shown first, at a terminal.
        known: the values of an earlier try, offered in place of the defaults.
        problem: why that was rejected; shown before anything is asked.

    Returns:
        Values that fit the schema; what was left out is not there.

    Raises:
        FlowchanError: standard input ended before the last answer, or the schema cannot be used.
        KeyboardInterrupt: Ctrl-C or Ctrl-D at a prompt.
    """
    form = form_of(schema)
    prompter = _prompter()
    if description:
        prompter.describe(description)
    if problem:
        prompter.complain(None, problem)
    values: dict[str, Any] = dict(known or {})
    while True:
        if isinstance(form, Group):
            values = _group(prompter, form, values)
        elif not isinstance(answer := _value(prompter, form, values or form.default), dict):
            raise FlowchanError("This input is no object, so it cannot be filled in field by field: use --json.")
        else:
            values = answer
        found = faults(schema, values)
        if not found:
            return values
        for fault in found:
            prompter.complain(_field_at(form, fault.path), fault.reason)


def _prompter() -> Prompter:
    if terminal.is_a_person() and terminal.can_prompt():
        from flowchan.cli.form.prompts import Prompts  # noqa: PLC0415 - who pipes has no use for it

        return Prompts()
    from flowchan.cli.form.lines import Lines  # noqa: PLC0415 - and the other way round

    return Lines()


def _group(prompter: Prompter, group: Group, known: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field in group.fields:
        name = str(field.path[-1])
        value = _value(prompter, field, known.get(name, field.default))
        if value is not MISSING:
            values[name] = value
    return values


def _value(prompter: Prompter, field: Field, offered: Any) -> Any:
    """The value of a field, or ``MISSING``; asked again while it does not fit."""
    while True:
        if isinstance(field, Question):
            return prompter.ask(field, offered)
        value = _composed(prompter, field, offered)
        if not isinstance(field, Fixed):
            prompter.end(field)
        try:
            return checked(field, value)
        except Unreadable as reason:
            prompter.complain(field, str(reason))
            offered = value


def _composed(prompter: Prompter, field: Field, offered: Any) -> Any:
    if isinstance(field, Fixed):
        return field.value
    nothing = None if field.nullable else MISSING
    if isinstance(field, Group):
        if field.may_be_empty and not (isinstance(offered, dict) and not field.nullable):
            prompter.heading(field)
            if not prompter.confirm(field, f"Fill in {_lowered(field.title)}?", offered=isinstance(offered, dict)):
                return nothing
        else:
            prompter.heading(field)
        return _group(prompter, field, offered if isinstance(offered, dict) else {})
    assert isinstance(field, Series)  # noqa: S101 - there is no other kind
    prompter.heading(field)
    items = _series(prompter, field, offered if isinstance(offered, list) else [])
    if not items and not isinstance(offered, list) and field.may_be_empty:
        return nothing
    return items


def _series(prompter: Prompter, field: Series, offered: list[Any]) -> list[Any]:
    items: list[Any] = []
    least, most = field.schema.get("minItems", 0), field.schema.get("maxItems")
    while most is None or len(items) < most:
        known = offered[len(items)] if len(items) < len(offered) else {}
        if len(items) >= least:
            question = "Add another one?" if items else "Add one?"
            if not prompter.confirm(field, question, offered=bool(known)):
                break
        items.append(_value(prompter, field.at(len(items)), known))
    return items


def _field_at(form: Field, path: tuple[str | int, ...]) -> Field | None:
    """The field that a path leads to, or the one around it."""
    found: Field | None = None
    while isinstance(form, Group):
        inner = next((each for each in form.fields if each.path == path[: len(each.path)]), None)
        if inner is None:
            break
        found = form = inner
    return found


def _lowered(title: str) -> str:
    return title if title.isupper() else title[:1].lower() + title[1:]
