"""Talks to ``chatbot.py`` and prints its answers word by word, as they come."""

from __future__ import annotations

import asyncio
import signal

from flowchan import RunInput, flow, receive_input, send_input


class Question(RunInput):
    """What a client asks."""

    text: str


class Word(RunInput):
    """A piece of an answer."""

    text: str


class EndOfAnswer(RunInput):
    """Behind the last word of an answer."""

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
    # Words and end come over one channel: only there it is certain that the end comes last.
    async with receive_input(Word | EndOfAnswer, key_prefix=channel, timeout=30) as pieces:
        try:
            async for piece in pieces:
                if isinstance(piece, EndOfAnswer):
                    break
                print("", piece.text, end="", flush=True)
        except TimeoutError:
            print(" (no answer; is chatbot.py running?)", end="")
    print()


if __name__ == "__main__":
    # asyncio would keep Ctrl-C for the loop, which cannot see it before input() has returned.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    asyncio.run(client())
