"""The chatbot that gives up its process while nobody talks to it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flowchan.deployments import run_deployment
from flowchan.run import FlowRun
from tests.cli.program import Program

Start = Callable[..., Program]
RunIn = Callable[..., FlowRun]


@pytest.fixture
def bot(start: Start) -> Program:
    """The server of the bot."""
    server = start("chatbot_that_survives.py")
    server.says("chatbot/survivor")
    return server


def say(talk: Program, text: str, answer: str) -> None:
    talk.says("You: ")
    talk.type(f"{text}\n")
    talk.says(f"Bot: {answer}\n")


def test_somebody_talks_to_it(bot: Program, start: Start) -> None:
    assert bot.pid
    talk = start("chatbot_that_survives.py", "talk")
    say(talk, "Hi!", "Hello. How are you feeling today?")
    say(talk, "How are you?", "Why do you ask?")
    say(talk, "I am fine", "Has that to do with what you said before: 'How are you?'?")
    talk.type("\n")

    assert talk.ends() == 0


def test_it_suspends_when_it_is_idle_and_comes_back_with_all_that_was_said(
    bot: Program, start: Start, run_in: RunIn
) -> None:
    run = run_deployment("chatbot/survivor", parameters={"idle_seconds": 0.5}, timeout=0, as_subflow=False)
    talk = start("chatbot_that_survives.py", "talk", str(run.id))  # type: ignore[attr-defined]
    say(talk, "My towel is gone", "Hello. How are you feeling today?")
    first = run_in("SUSPENDED")
    assert first.waiting_for == "suspended-after-1"

    # Its server goes, too, and another one comes.
    bot.interrupt()
    bot.ends()
    talk.says("You: ")
    talk.type("I feel bad\n")
    run_in("SCHEDULED")
    again = start("chatbot_that_survives.py")
    talk.says("Bot: Has that to do with what you said before: 'My towel is gone'?\n")
    again.says("chatbot/survivor")
    for number in (3, 4):
        while run_in("SUSPENDED").waiting_for == f"suspended-after-{number - 2}":
            pass
        say(
            talk,
            f"Number {number}",
            f"Has that to do with what you said before: {'I feel bad' if number == 3 else 'Number 3'!r}?",
        )

    assert run_in("SUSPENDED", "RUNNING").run_count >= 4
