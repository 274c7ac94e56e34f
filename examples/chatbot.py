"""A chatbot that streams its answers, a word a message, to any number of ``chatbot_client.py`` at once.

Where this one looks for a rule, yours asks a model. The rest can stay.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator

from flowchan import RunInput, open_run, receive_input, send_input

RULES = {
    r"\b(?:hello|hi)\b": "Hello. How are you feeling today?",
    r"\bI need (.+)": "Would it really help you to get {}?",
    r"\bI am (.+)": "How long have you been {}?",
    r"\bI feel (.+)": "Do you often feel {}?",
    r"\b(?:because|since) (.+)": "Is that the real reason, that {}?",
    r"\bmy (mother|father|family)\b": "Tell me more about your {}.",
    r"\?$": "Why do you ask?",
    r"": "I see. Please go on.",
}
OTHER_SIDE = {"i": "you", "me": "you", "my": "your", "am": "are", "you": "me", "your": "my"}


class Question(RunInput):
    text: str


class Word(RunInput):
    text: str


class EndOfAnswer(RunInput):
    words: int


async def generate(prompt: str) -> AsyncIterator[str]:
    pattern, reply = next(rule for rule in RULES.items() if re.search(rule[0], prompt, re.IGNORECASE))
    heard = re.search(pattern, prompt, re.IGNORECASE)
    topic = heard[1] if heard and heard.groups() else ""
    mirrored = " ".join(OTHER_SIDE.get(word.lower(), word) for word in topic.strip(" .!?").split())
    for word in reply.format(mirrored).split():
        await asyncio.sleep(0.05)  # a large model would not be faster
        yield word


async def answer(question: Question) -> None:
    # The question's key is the answer's channel: each answer has its own, which can be read again from its first word.
    channel = question.metadata.key
    words = 0
    async for word in generate(question.text):
        await question.respond(Word(text=word), key_prefix=channel)
        words += 1
    await question.respond(EndOfAnswer(words=words), key_prefix=channel)
    await send_input(question.metadata.key, flow_run_id="chatbot", key_prefix="answered")


async def chatbot() -> None:
    async with open_run("chatbot"), asyncio.TaskGroup() as answers:
        answered = [key async for key in receive_input(str, key_prefix="answered", timeout=0, raise_timeout_error=False)]

        print("Waiting for questions. Ctrl-C ends.")
        async for question in Question.receive(timeout=None, exclude_keys=answered):
            answers.create_task(answer(question))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(chatbot())
