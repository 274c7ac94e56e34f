"""What is said: a client asks with a name, a peer in another process greets it."""

from __future__ import annotations

from typing import NamedTuple

NAME = "andrew"
PATIENCE = 60.0
"""Seconds after which an answer counts as lost: long, for with a thousand runs some wait for seconds."""


class Place(NamedTuple):
    """Where one side talks: the server's socket, the run that it reads, the run that it writes to."""

    socket: str
    mine: str
    theirs: str


def greeting(name: str) -> str:
    """The answer to a name."""
    return f"Hello, {name}!"


def check(answer: object) -> None:
    """Fail unless it is the answer to our question: a benchmark of wrong answers is none."""
    if answer != f"Hello, {NAME}!":
        raise AssertionError(f"The answer was {answer!r}.")
