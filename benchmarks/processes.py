"""Client processes: each is told what to do by a line, and tells by a line how it went."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from benchmarks.contenders import Contender

_FAREWELL = 20.0
_PROGRAM = f"""
import sys
sys.path.append({str(Path(__file__).parent.parent)!r})
from benchmarks.worker import main
main(*sys.argv[1:])
"""
"""Appended, so that it measures the flowchan that is installed, if one is."""

_MORE = {"FLOWCHAN_MAX_MESSAGE_BYTES": str(2 * 1024 * 1024)}
"""For the case of large messages: one of 1 MiB is more than that with what is around it."""

_PATIENCE = 120.0
_TAIL = 4000


@dataclass(frozen=True)
class Done:
    """How something went in a client process."""

    result: Any
    cpu_seconds: float
    """What the process spent on it, in user and system mode."""
    rss: int
    """Bytes that the process holds now."""
    nanoseconds: list[int] = field(default_factory=list)
    """Each turn's time on the clock, if it was turns."""


class Worker:
    """One client process: an object in it, whose methods are called from here."""

    def __init__(
        self, name: str, command: Sequence[str], surroundings: Mapping[str, str], errors: Path | None = None
    ) -> None:
        """``errors``: where it writes them to, if not to the terminal."""
        self._name = name
        self._errors = errors
        with ExitStack() as stack:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None if errors is None else stack.enter_context(errors.open("w")),
                text=True,
                env=surroundings,
            )

    @classmethod
    def of(cls, contender: Contender, socket: str, mine: str, theirs: str) -> Self:
        """A contender's object."""
        return cls(
            f"{contender.name} on {contender.loop}",
            [sys.executable, "-c", _PROGRAM, contender.entry, contender.loop, socket, mine, theirs],
            _surroundings(socket),
        )

    def begin(self, do: str, times: int | None = None, **arguments: Any) -> None:
        """Have a method called, once or ``times`` in a row and each of them timed; do not wait."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, "times": times, "with": arguments}) + "\n")
        self._process.stdin.flush()

    def end(self) -> Done:
        """Wait until what was begun is done."""
        assert self._process.stdout is not None
        # An answer is one line and there is one at a time, so nothing can hide in the reader's buffer.
        there, _, _ = select.select([self._process.stdout], [], [], _PATIENCE)
        line = self._process.stdout.readline() if there else ""
        if not line:
            why = "" if self._errors is None else f"\n{self._errors.read_text()[-_TAIL:]}"
            raise RuntimeError(f"{self._name}: a process {'ended too early' if there else 'did not answer'}.{why}")
        return Done(**json.loads(line))

    def call(self, do: str, times: int | None = None, **arguments: Any) -> Done:
        self.begin(do, times, **arguments)
        return self.end()

    def leave(self, *, at_once: bool) -> None:
        if at_once:
            self._process.kill()
        try:
            self._process.communicate(timeout=_FAREWELL)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()


class Both(NamedTuple):
    """How something went on both sides."""

    client: Done
    peer: Done

    @property
    def cpu_seconds(self) -> float:
        return self.client.cpu_seconds + self.peer.cpu_seconds


class Two:
    """Two processes that talk. They live for many rounds, silent in between."""

    def __init__(self, client: Worker, peer: Worker) -> None:
        self.client = client
        self.peer = peer

    def both(self, do: str, **arguments: Any) -> Both:
        """Have both do the same."""
        return self.each(do, do, **arguments)

    def each(self, client: str, peer: str, times: int | None = None, **arguments: Any) -> Both:
        """Have each do its part at the same time."""
        self.begin(client, peer, times, **arguments)
        return self.end()

    def begin(self, client: str, peer: str, times: int | None = None, **arguments: Any) -> None:
        self.peer.begin(peer, times, **arguments)
        self.client.begin(client, times, **arguments)

    def end(self) -> Both:
        return Both(client=self.client.end(), peer=self.peer.end())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for worker in (self.client, self.peer):
            worker.leave(at_once=error is not None)


class Pair(Two):
    """Two processes of one contender that talk over one server."""

    def __init__(self, contender: Contender, socket: str) -> None:
        asked, answered = uuid.uuid4().hex, uuid.uuid4().hex
        self.contender = contender
        peer = Worker.of(contender, socket, asked, answered)
        super().__init__(Worker.of(contender, socket, answered, asked), peer)


class Alone:
    """One process of a contender, that talks to itself or to nobody."""

    def __init__(self, contender: Contender, socket: str) -> None:
        name = uuid.uuid4().hex
        self.contender = contender
        self.worker = Worker.of(contender, socket, name, name)

    def __enter__(self) -> Worker:
        return self.worker

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.worker.leave(at_once=error is not None)


def opened(pairs: Sequence[Two], **arguments: Any) -> None:
    """Have all get ready at once: what takes the time is each one's imports."""
    for pair in pairs:
        pair.begin("open", "open", **arguments)
    for pair in pairs:
        pair.end()


def _surroundings(socket: str) -> dict[str, str]:
    # As a user's settings are by default, whatever they are here.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLOWCHAN_")}
    # What knows no Cluster is given a socket, and takes it as a path.
    return {**kept, "FLOWCHAN_URL": socket if "://" in socket else f"unix://{socket}", **_MORE}


def total(parts: Iterable[Both]) -> float:
    """Processor seconds of several pairs."""
    return sum(part.cpu_seconds for part in parts)
