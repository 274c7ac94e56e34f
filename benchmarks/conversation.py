"""What is said: a client asks with a name, a peer in another process greets it."""

from __future__ import annotations

from typing import NamedTuple, Protocol

NAME = "andrew"
PATIENCE = 4.0
"""Seconds after which an answer counts as lost. Below redis-py's own limit for a socket, which is five."""


class Place(NamedTuple):
    """Where one side talks: the server's socket, the run that it reads, the run that it writes to."""

    socket: str
    mine: str
    theirs: str


class Side(Protocol):
    """One end of the conversation, as one contender has it. Synchronous ones never really wait."""

    async def open(self) -> None:
        """Be ready to take what the other side sends."""

    async def ask(self) -> None:
        """Ask once, and take the answer."""

    async def answer(self) -> None:
        """Take one question, and answer it."""

    async def close(self) -> None:
        """Give back what is held."""


def greeting(name: str) -> str:
    """The answer to a name."""
    return f"Hello, {name}!"


def check(answer: str) -> None:
    """Fail unless it is the answer to our question: a benchmark of wrong answers is none."""
    if answer != f"Hello, {NAME}!":
        raise AssertionError(f"The answer was {answer!r}.")
