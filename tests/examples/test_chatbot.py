"""The chatbot: answers that come word by word, and end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack
import pytest
import redis

from tests.cli.program import Program

Start = Callable[..., Program]
Answers = Callable[[], list[list[Any]]]


@pytest.fixture
def answers(client: redis.Redis, namespace: str) -> Answers:
    """Looks at what the broker holds: of each answer, the bodies of its messages."""

    def look() -> list[list[Any]]:
        # A question's key, and so the channel of its answer, begins with the name of the question's channel.
        channels: list[bytes] = list(client.scan_iter(f"{namespace}:*:question-auto-*", _type="stream"))
        entries: list[Any] = [client.xrange(channel) for channel in channels]
        return [[msgpack.unpackb(fields[b"body"]) for _, fields in each] for each in entries]

    return look


def test_it_answers_one_question_after_the_other(start: Start) -> None:
    asking = start("chatbot_client.py")
    asking.type("I need my tea!\n")
    bot = start("chatbot.py")
    bot.says("Waiting for questions.")
    asking.says("Bot: Would it really help you to get your tea?\n")
    asking.type("Why?\n")
    asking.says("Bot: Why do you ask?\n")
    asking.type("bye\n")
    asking.says("Goodbye!")

    assert asking.ends() == 0
    bot.interrupt()
    assert bot.ends() == 0
    assert "Traceback" not in bot.screen


def test_each_word_is_a_message_and_so_is_the_end(start: Start, answers: Answers) -> None:
    start("chatbot.py")
    asking = start("chatbot_client.py")
    asking.type("Why?\n")
    asking.says("Bot: Why do you ask?\n")

    assert answers() == [[{"text": "Why"}, {"text": "do"}, {"text": "you"}, {"text": "ask?"}, {"words": 4}]]


def test_it_talks_to_several_at_once(start: Start) -> None:
    start("chatbot.py").says("Waiting for questions.")
    asking = [start("chatbot_client.py") for _ in range(3)]
    for number, each in enumerate(asking):
        each.type(f"I am number {number}.\n")

    for number, each in enumerate(asking):
        each.says(f"Bot: How long have you been number {number}?\n")


def test_a_bot_that_is_started_again_answers_no_old_questions(start: Start, answers: Answers) -> None:
    bot = start("chatbot.py")
    asking = start("chatbot_client.py")
    asking.type("Why?\n")
    asking.says("ask?\n")
    (before,) = answers()
    bot.interrupt()
    bot.ends()

    start("chatbot.py")
    asking.type("I feel fine\n")
    asking.says("Bot: Do you often feel fine?\n")

    assert len(answers()) == 2
    assert before in answers()
