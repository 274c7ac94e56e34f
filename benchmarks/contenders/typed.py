"""flowchan in asynchronous code, as its users call it: one conversation."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any, cast

from benchmarks.conversation import NAME, PATIENCE, Place, check, greeting
from flowchan import RunInput, open_run, receive_input, send_input
from flowchan.input import AutomaticRunInput, InputReceiver


class Question(RunInput):
    name: str


class Greeting(RunInput):
    text: str


class _Typed:
    """A run that receives on one channel, and sends to the other side's run."""

    asks: Any = str
    answers: Any = str

    def __init__(self, place: Place) -> None:
        self.theirs = place.theirs
        self._mine = place.mine
        self._held = AsyncExitStack()

    async def open(self) -> None:
        await self._held.enter_async_context(open_run(self._mine))
        # Either takes nothing from the broker before its first message is asked for.
        self.questions: InputReceiver[Any] = receive_input(self.asks, timeout=PATIENCE, with_metadata=True)
        self.replies: InputReceiver[Any] = receive_input(self.answers, timeout=PATIENCE)
        self._held.push_async_exit(self.questions)
        self._held.push_async_exit(self.replies)

    async def close(self) -> None:
        await self._held.aclose()


class Text(_Typed):
    async def ask(self) -> None:
        await send_input(NAME, self.theirs)
        check(await self.replies.next())

    async def answer(self) -> None:
        question = cast("AutomaticRunInput[str]", await self.questions.next())
        await question.respond(greeting(question.value))


class Model(_Typed):
    asks = Question
    answers = Greeting

    async def ask(self) -> None:
        await send_input(Question(name=NAME), self.theirs)
        check(cast("Greeting", await self.replies.next()).text)

    async def answer(self) -> None:
        question = cast("Question", await self.questions.next())
        await question.respond(Greeting(text=greeting(question.name)))


class Unawaited(_Typed):
    """What an answer says needs no proof that the question was stored; a run's end still waits for its sends."""

    async def ask(self) -> None:
        send_input(NAME, self.theirs)
        check(await self.replies.next())

    async def answer(self) -> None:
        question = cast("AutomaticRunInput[str]", await self.questions.next())
        question.respond(greeting(question.value))


class Large:
    """An echo of much text, or many bytes, each over its own channel."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._held = AsyncExitStack()

    async def open(self) -> None:
        await self._held.enter_async_context(open_run(self._place.mine))
        # The same receiver asks and answers: a side does one of them.
        self._receivers: dict[str, InputReceiver[Any]] = {
            "text": receive_input(str, timeout=PATIENCE, with_metadata=True),
            "bytes": receive_input(bytes, timeout=PATIENCE, with_metadata=True),
        }
        for receiver in self._receivers.values():
            self._held.push_async_exit(receiver)

    async def close(self) -> None:
        await self._held.aclose()

    def say(self, size: int, kind: str) -> None:
        self._receiver = self._receivers[kind]
        self._large: str | bytes = "x" * size if kind == "text" else b"x" * size

    async def ask_large(self) -> None:
        await send_input(self._large, self._place.theirs)
        if len((await self._receiver.next()).value) != len(self._large):
            raise AssertionError("It came back changed.")

    async def answer_large(self) -> None:
        question = await self._receiver.next()
        await question.respond(question.value)
