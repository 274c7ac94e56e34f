"""A form that is filled in from a pipe or a file: one answer a line, and nothing that a terminal would understand."""

from __future__ import annotations

import sys
from typing import Any

from flowchan.cli import terminal
from flowchan.cli.form.fields import Field, Kind, Question
from flowchan.cli.form.reading import Unreadable, checked, read, shown
from flowchan.cli.form.schema import printable
from flowchan.errors import FlowchanError


class Lines:
    """Reads answers from standard input; what is wrong with one goes to standard error.

    Questions are shown only if somebody is there to read them, at a terminal that can do no more.
    """

    def describe(self, description: str) -> None:
        """Show what the form is about."""
        self._show(printable(description).strip() + "\n")

    def heading(self, field: Field) -> None:
        """Say that the fields of an object follow."""
        self._show(field.title + (f": {field.description}" if field.description else ""))

    def end(self, field: Field) -> None:
        """Set apart what follows an object."""
        if field.path:
            self._show("")

    def complain(self, field: Field | None, reason: str) -> None:
        """Say what was wrong, and where."""
        where = f"{field.name}: " if field is not None and field.path else ""
        print(f"{where}{printable(reason)}", file=sys.stderr, flush=True)

    def ask(self, question: Question, offered: Any) -> Any:
        """A line, read as an answer; the next one after a line that is none."""
        offer = "" if question.kind is Kind.PASSWORD else shown(question, offered)
        if question.description:
            self._show(question.description)
        if question.kind is Kind.CHOICE:
            self._show(f"One of {', '.join(printable(shown(question, each)) for each in question.choices)}.")
        while True:
            line = self._line(f"{question.title}{f' [{printable(offer)}]' if offer else ''}: ", question)
            try:
                return checked(question, read(question, line, offered=offered))
            except Unreadable as reason:
                self.complain(question, str(reason))

    def confirm(self, field: Field, question: str, *, offered: bool) -> bool:
        """A line that says yes or no."""
        asked = Question(
            path=field.path,
            title=f"{question} ({'Y/n' if offered else 'y/N'})",
            description="",
            schema={},
            required=True,
            nullable=False,
            kind=Kind.BOOLEAN,
        )
        while True:
            try:
                return bool(read(asked, self._line(f"{asked.title} ", field), offered=offered))
            except Unreadable as reason:
                self.complain(field, str(reason))

    def _line(self, prompt: str, field: Field) -> str:
        try:
            return input(prompt if terminal.is_a_person() else "")
        except EOFError:
            if terminal.is_a_person():
                raise KeyboardInterrupt from None
            raise FlowchanError(
                f"Standard input ended where “{field.name}” was to be answered."
                " Without a terminal, give all values at once with --json."
            ) from None

    def _show(self, text: str) -> None:
        if terminal.is_a_person():
            print(text, flush=True)
