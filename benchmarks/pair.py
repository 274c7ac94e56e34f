"""Two processes of one contender, a client and its peer, that talk over one server."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from types import TracebackType
from typing import Any, NamedTuple, Self

from benchmarks.contenders import Contender
from benchmarks.side import Turns

_FAREWELL = 10.0


class Conversation(NamedTuple):
    """How a conversation went, from both sides."""

    client: Turns
    peer: Turns


class Pair:
    """Lives for many conversations, so that each is between processes that are warm; silent in between."""

    def __init__(self, contender: Contender, socket: str) -> None:
        asked, answered = uuid.uuid4().hex, uuid.uuid4().hex
        self._peer = _start(contender, "peer", socket, asked, answered)
        self._client = _start(contender, "client", socket, answered, asked)

    def wait_until_ready(self) -> None:
        for process in (self._peer, self._client):
            _hear(process)

    def talk(self, count: int) -> Conversation:
        """Ask and answer ``count`` times."""
        for process in (self._peer, self._client):
            assert process.stdin is not None
            process.stdin.write(f"{count}\n")
            process.stdin.flush()
        return Conversation(client=_hear(self._client), peer=_hear(self._peer))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in (self._client, self._peer):
            if error is not None:
                process.kill()
            try:
                process.communicate(timeout=_FAREWELL)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


def _start(contender: Contender, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.side", contender.entry, contender.loop, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _hear(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"A process ended too early: {' '.join(map(str, process.args[2:5]))}.")  # type: ignore[index]
    return json.loads(line)
