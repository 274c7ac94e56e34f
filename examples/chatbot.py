"""A chatbot that streams its answers, a word a message, to any number of ``chatbot_client.py`` at once.

Where this one looks for a rule, yours would ask a model; the rest could stay.
"""

from __future__ import annotations

import asyncio
import contextlib
import re

from flowchan import RunInput, open_run, receive_input, send_input

RULES = {
    r"\b(?:hello|hi)\b": "Hello. How are you feeling today?",
    r"\bI need (.+)": "Would it really help you to get {}?",
    r"\bI am (.+)": "How long have you been {}?",
    r"\bI feel (.+)": "Do you often feel {}?",
    r"\bbecause (.+)": "Is that the real reason, that {}?",
    r"\bmy (mother|father|family|cat)\b": "Tell me more about your {}.",
    r"\?$": "Why do you ask?",
}
OTHER_SIDE = {"i": "you", "me": "you", "my": "your", "am": "are", "you": "me", "your": "my"}


class Question(RunInput):
    """What a client asks."""

    text: str


class Word(RunInput):
    """A piece of an answer."""

    text: str


class EndOfAnswer(RunInput):
    """Behind the last word of an answer."""

    words: int


def reply_to(text: str) -> str:
    for pattern, reply in RULES.items():
        if heard := re.search(pattern, text, re.IGNORECASE):
            return reply.format(*(mirrored(topic) for topic in heard.groups()))
    return "I see. Please go on."


def mirrored(topic: str) -> str:
    return " ".join(OTHER_SIDE.get(word.lower(), word) for word in topic.strip(" .!?").split())


async def answer(question: Question) -> None:
    # The question's key is the answer's channel: each answer has its own, and can be read again from its first word.
    channel = question.metadata.key
    words = reply_to(question.text).split()
    for word in words:
        await asyncio.sleep(0.05)  # a large model would take its time, too
        await question.respond(Word(text=word), key_prefix=channel)
    await question.respond(EndOfAnswer(words=len(words)), key_prefix=channel)


async def chatbot() -> None:
    async with open_run("chatbot"), asyncio.TaskGroup() as answers:
        # As the greeter does: the keys of the questions that it has seen, as messages to itself.
        seen_keys = [key async for key in receive_input(str, key_prefix="seen", timeout=0, raise_timeout_error=False)]

        print("Waiting for questions. Ctrl-C ends.")
        async for question in Question.receive(timeout=None, exclude_keys=seen_keys):
            await send_input(question.metadata.key, flow_run_id="chatbot", key_prefix="seen")
            answers.create_task(answer(question))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(chatbot())
