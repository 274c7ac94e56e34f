"""A chatbot that gives up its process while nobody talks to it, and goes on with all that was said.

In one terminal: ``python examples/chatbot_that_survives.py``, which serves it; stop and start it as you like. In another:
``python examples/chatbot_that_survives.py talk``. Be silent for a while, and ``flowchan runs`` shows it SUSPENDED; say
something, and it is back. To go on with an old talk: ``… talk <the run's ID>``.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from uuid import UUID

from flowchan import (
    RunInput,
    flow,
    get_client,
    open_run,
    receive_input,
    resume_flow_run,
    send_input,
    suspend_flow_run,
)
from flowchan.context import get_run_context
from flowchan.deployments import run_deployment
from flowchan.errors import NotPausedError


class Question(RunInput):
    """What somebody says."""

    text: str


class Turn(RunInput):
    """What was said, and what was answered: the bot's memory, in messages to itself."""

    question_key: str
    question: str
    answer: str


@flow
async def chatbot(idle_seconds: float = 30) -> None:
    run = get_run_context().flow_run.id
    while True:
        history = [turn async for turn in Turn.receive(timeout=0, raise_timeout_error=False)]
        seen_keys = [turn.question_key for turn in history]
        async for question in Question.receive(timeout=idle_seconds, raise_timeout_error=False, exclude_keys=seen_keys):
            key = question.metadata.key
            turn = Turn(question_key=key, question=question.text, answer=reply_to(question.text, history))
            # If it dies between the two it answers once more, over the same channel: who has read one answer is content.
            await question.respond(turn.answer, key_prefix=key)
            await turn.send_to(run)
            history.append(turn)
        # With a key of its own: the answer to an earlier suspension must not pass for one to this.
        await suspend_flow_run(key=f"after-{len(history)}")


def reply_to(text: str, history: list[Turn]) -> str:
    # A large model would be asked here, with the history.
    if not history:
        return "Hello. How are you feeling today?"
    if text.endswith("?"):
        return "Why do you ask?"
    return f"Has that to do with what you said before: {history[-1].question!r}?"


async def talk(run: UUID | str | None = None) -> None:
    if run is None:
        run = (await run_deployment("chatbot/survivor", timeout=0)).id
    print(f"You talk to run {run}. Nothing more to say ends.", flush=True)
    async with open_run():
        while True:
            try:
                text = input("You: ")  # noqa: ASYNC250 - nothing else is to be done meanwhile
            except EOFError:
                text = ""
            if not text:
                return
            question = await send_input(Question(text=text), flow_run_id=run)
            print("Bot:", await answer_to(question.key, run), flush=True)


async def answer_to(key: str, run: UUID | str) -> str:
    async with receive_input(str, key_prefix=key, timeout=1) as answers:
        while True:
            await wake(run)
            with contextlib.suppress(TimeoutError):
                return await answers.next()


async def wake(run: UUID | str) -> None:
    state = (await get_client().read_flow_run(run)).state
    if state and state.is_final():
        sys.exit(f"The bot is no more: {state}")
    if state and state.is_paused():
        with contextlib.suppress(NotPausedError):  # somebody else was first
            await resume_flow_run(run)


if __name__ == "__main__":
    if sys.argv[1:2] == ["talk"]:
        # asyncio would keep Ctrl-C for the loop, which cannot see it before input() has returned.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        asyncio.run(talk(*sys.argv[2:3]))
    else:
        chatbot.serve(name="survivor")
