"""flowchan in synchronous code, as its users call it: one conversation."""

from __future__ import annotations

from contextlib import ExitStack
from typing import cast

from benchmarks.conversation import NAME, PATIENCE, Place, check, greeting
from flowchan.input import AutomaticRunInput
from flowchan.sync import open_run, receive_input, send_input


class Text:
    def __init__(self, place: Place) -> None:
        self._place = place
        self._held = ExitStack()

    async def open(self) -> None:
        self._held.enter_context(open_run(self._place.mine))
        self._questions = self._held.enter_context(receive_input(str, timeout=PATIENCE, with_metadata=True))
        self._replies = self._held.enter_context(receive_input(str, timeout=PATIENCE))

    async def close(self) -> None:
        self._held.close()

    async def ask(self) -> None:
        send_input(NAME, self._place.theirs)
        check(self._replies.next())

    async def answer(self) -> None:
        question = cast("AutomaticRunInput[str]", self._questions.next())
        question.respond(greeting(question.value))
