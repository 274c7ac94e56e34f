"""A form at a terminal: each question a prompt that can be edited, or a list to choose from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import questionary
from prompt_toolkit.filters import Condition
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent, merge_key_bindings
from prompt_toolkit.output import create_output
from questionary import Choice
from rich.markdown import Markdown
from rich.padding import Padding
from rich.text import Text

from flowchan.cli import terminal
from flowchan.cli.form.fields import MISSING, Field, Kind, Question
from flowchan.cli.form.reading import Unreadable, checked, cleared, read, shown
from flowchan.cli.form.schema import printable

_STYLE = questionary.Style(
    [
        ("qmark", "fg:ansicyan bold"),
        ("question", "bold"),
        ("answer", "fg:ansicyan"),
        ("pointer", "fg:ansicyan bold"),
        ("highlighted", "fg:ansicyan bold"),
        ("selected", "noinherit"),
        ("instruction", "fg:ansibrightblack"),
    ]
)
_NOTHING = "(nothing)"
_WIDEST = 100  # columns of prose


class Prompts:
    """Asks with questionary; Ctrl-C and Ctrl-D both raise KeyboardInterrupt."""

    def __init__(self) -> None:
        self._console = terminal.dialogue()
        self._has_gap = True

    def describe(self, description: str) -> None:
        """Show what the form is about, as Markdown."""
        width = min(self._console.width, _WIDEST)
        self._console.print(Markdown(printable(description), hyperlinks=False), width=width, soft_wrap=False)
        self._console.print()

    def heading(self, field: Field) -> None:
        """Say that the fields of an object follow."""
        if field.path:
            self._leave_gap()
            self._console.print(Text(field.title, style="bold underline"))
            self._explain(field)

    def end(self, field: Field) -> None:
        """Set apart what follows an object."""
        if field.path:
            self._leave_gap()

    def complain(self, field: Field | None, reason: str) -> None:
        """Say what was wrong, and where."""
        where = f"{field.title}: " if field is not None and field.path else ""
        text = Text.assemble(("✗ ", "bold red"), (where, "bold red"), (printable(reason), "red"))
        self._console.print(text, soft_wrap=False)

    def ask(self, question: Question, offered: Any) -> Any:
        """What the person answers; not before it is an answer."""
        self._has_gap = False
        if question.description:
            self._explain(question)
        if question.kind is Kind.CHOICE or (question.kind is Kind.BOOLEAN and _may_be_nothing(question)):
            return self._choose(question, offered)
        if question.kind is Kind.BOOLEAN:
            return self.confirm(question, question.title, offered=offered is True)
        return self._write(question, offered)

    def confirm(self, field: Field, question: str, *, offered: bool) -> bool:
        """Yes or no; one key is enough."""
        self._has_gap = False
        while True:
            answer = bool(_asked(questionary.confirm, question, default=offered))
            if not isinstance(field, Question):
                return answer
            try:
                return bool(checked(field, answer))
            except Unreadable as reason:
                self.complain(field, str(reason))

    def _choose(self, question: Question, offered: Any) -> Any:
        values: list[Any] = [True, False] if question.kind is Kind.BOOLEAN else list(question.choices)
        if question.nullable:
            values.append(None)
        elif _may_be_nothing(question):
            values.append(MISSING)
        choices = [
            Choice(printable(shown(question, value)) or _NOTHING, value=number) for number, value in enumerate(values)
        ]
        there = [number for number, value in enumerate(values) if _same(value, offered)]
        while True:
            picked: int = _asked(
                questionary.select,
                question.title,
                choices=choices,
                default=choices[there[0]] if there else None,
                instruction=" ",
                pointer="›",  # noqa: RUF001 - a pointer
            )
            try:
                return checked(question, values[picked])
            except Unreadable as reason:
                self.complain(question, str(reason))

    def _write(self, question: Question, offered: Any) -> Any:
        secret = question.kind is Kind.PASSWORD
        prefilled = "" if secret or offered in ("", [], {}) else shown(question, offered)

        def value_of(text: str) -> Any:
            if text == prefilled and (text or not question.required or offered is not MISSING):
                # As it is, though it may be one that no typed text would give.
                return checked(question, read(question, "", offered=offered) if not text else offered)
            return cleared(question) if prefilled and not text.strip() else read(question, text)

        ask = questionary.password if secret else questionary.text
        hint = _hint(question, is_empty=not prefilled)
        options = {"instruction": f"({hint})"} if hint else {}
        text = prefilled
        while True:
            text = _asked(ask, question.title, default=text, **options)
            try:
                return value_of(text)
            except Unreadable as reason:
                # Not as questionary would say it: in the terminal's last line, far from where one looks.
                self.complain(question, str(reason))
                text = "" if secret else text

    def _leave_gap(self) -> None:
        if not self._has_gap:
            self._console.print()
        self._has_gap = True

    def _explain(self, field: Field) -> None:
        if field.description:
            width = min(self._console.width, _WIDEST)
            # Two columns in, where the questions' words begin.
            self._console.print(
                Padding(Text(field.description, style="dim"), (0, 0, 0, 2)), width=width, soft_wrap=False
            )


def _may_be_nothing(question: Question) -> bool:
    return question.nullable or (not question.required and question.default is MISSING)


def _hint(question: Question, *, is_empty: bool) -> str:
    parts = [] if question.kind in (Kind.TEXT, Kind.UNION) else [question.kind.value]
    least, most = question.schema.get("minimum"), question.schema.get("maximum")
    if least is not None and most is not None:
        parts.append(f"{least} to {most}")
    elif least is not None:
        parts.append(f"at least {least}")
    elif most is not None:
        parts.append(f"at most {most}")
    if question.kind is Kind.UNION:
        names = dict.fromkeys(member.kind.value.split(",")[0] for member in question.members)
        parts.append(" or ".join(names))
    if question.may_be_empty and is_empty:
        parts.append("may be empty")
    return ", ".join(parts)


def _asked(kind: Callable[..., questionary.Question], title: str, **options: Any) -> Any:
    """The answer to one prompt, which is drawn on the terminal even where standard output is a pipe."""
    output = create_output(always_prefer_tty=True)
    question = kind(title, style=_STYLE, output=output, **options)
    application = question.application
    keys = KeyBindings()

    @Condition
    def is_empty() -> bool:
        return not application.current_buffer.text

    @keys.add("c-d", filter=is_empty, eager=True)
    def _(event: KeyPressEvent) -> None:
        event.app.exit(exception=KeyboardInterrupt(), style="class:aborting")

    own = application.key_bindings
    application.key_bindings = merge_key_bindings([own, keys] if own is not None else [keys])
    return question.unsafe_ask()


def _same(value: Any, other: Any) -> bool:
    """Whether two values are one: for Python, True is 1."""
    return type(value) is type(other) and bool(value == other)
