"""The terminal, or what stands in for it: a pipe, a file."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def is_a_person() -> bool:
    """Whether somebody types, rather than a pipe or a file being read."""
    return sys.stdin.isatty()


def prepare() -> None:
    """Make the most of what there is: lines that can be edited; bytes that are no text do no harm."""
    if sys.stdin is None:  # it was closed
        sys.stdin = open(os.devnull)  # noqa: PTH123, SIM115 - for as long as this process runs
    for stream in (sys.stdin, sys.stdout):
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    if sys.stdin.isatty() and sys.stdout.isatty():
        with contextlib.suppress(ImportError):
            importlib.import_module("readline")  # that is enough for input() to use it


@functools.cache
def output() -> Console:
    """Standard output. What is printed is printed as it is, at any length."""
    from rich.console import Console  # noqa: PLC0415 - 50 ms, which not every process wants to spend

    return Console(markup=False, emoji=False, highlight=False, soft_wrap=True)


def ask(question: str) -> str | None:
    """A line from standard input without the space around it; None at its end, which is Ctrl-D for a person.

    The question is shown if somebody is there to read it.
    """
    try:
        return input(question if is_a_person() else "").strip()
    except Exception as error:
        if is_a_person():
            print()  # whatever is printed next begins a line
        if isinstance(error, EOFError):
            return None
        raise


def can_prompt() -> bool:
    """Whether there is a terminal to draw prompts on, which need more than one that only prints."""
    return os.environ.get("TERM", "dumb") not in ("dumb", "unknown") and (sys.stdout.isatty() or sys.stderr.isatty())


@functools.cache
def dialogue() -> Console:
    """Where a person is talked to: standard output, or standard error where the output goes elsewhere."""
    from rich.console import Console  # noqa: PLC0415 - as above

    return Console(stderr=not sys.stdout.isatty(), markup=False, emoji=False, highlight=False, soft_wrap=True)
