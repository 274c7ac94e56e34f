"""Runs that ask, and runs that answer them."""

from __future__ import annotations

from collections.abc import Iterable

import anyio

from flowchan import open_run, receive_input, send_input

QUESTIONS = range(3)


async def converse(pairs: Iterable[tuple[str, str]]) -> None:
    """One of each pair asks the other one thing after another, all pairs at once; each answer must be the right one."""
    async with anyio.create_task_group() as tasks:
        for asks, answers in pairs:
            tasks.start_soon(_answer, answers)
            tasks.start_soon(_ask, asks, answers)


async def _answer(run: str) -> None:
    async with open_run(run), receive_input(int, with_metadata=True, timeout=30) as questions:
        for _ in QUESTIONS:
            question = await questions.next()
            await question.respond(question.value * 2)


async def _ask(run: str, other: str) -> None:
    async with open_run(run), receive_input(int, timeout=30) as answers:
        for value in QUESTIONS:
            await send_input(value, other)
            assert await answers.next() == value * 2
