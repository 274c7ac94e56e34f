"""Talks to ``chatbot.py`` and prints its answers word by word, as they come."""

from __future__ import annotations

import asyncio
import signal

from flowchan import RunInput, flow, receive_input, send_input


class Question(RunInput):
    text: str


class Word(RunInput):
    text: str


class EndOfAnswer(RunInput):
    words: int


@flow
async def client() -> None:
    while True:
        try:
            text = input("You: ")  # noqa: ASYNC250 - nothing else is to be done meanwhile
        except EOFError:
            text = "bye"
        if text == "bye":
            print("Goodbye!")
            return
        question = await send_input(Question(text=text), flow_run_id="chatbot")
        await print_answer(channel=question.key)


async def print_answer(channel: str) -> None:
    print("Bot:", end="", flush=True)
    # Both kinds over one channel, for only there the end is sure to come last.
    async with receive_input(Word | EndOfAnswer, key_prefix=channel, timeout=None) as answer:
        async for piece in answer:
            if isinstance(piece, EndOfAnswer):
                print()
                return
            print("", piece.text, end="", flush=True)


if __name__ == "__main__":
    # asyncio would keep Ctrl-C for the loop, which cannot see it before input() has returned.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    asyncio.run(client())
