"""Doing the same in async and in sync code: what is to be done is written once, as steps, and driven by either."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from flowchan import bridge
from flowchan.broker.broker import Broker, broker_of_this_loop
from flowchan.context import calls_are_async
from flowchan.settings import Settings, current_settings

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ask:
    """A step that the broker does."""

    of: Callable[[Broker], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Do:
    """A step that is a call: of a verb, or of a user's function. What it returns is awaited where that can be."""

    call: Callable[[], Any]


Steps = Generator[Ask | Do, Any, T]
"""Yields what is to be done next and is sent its result, or has its exception thrown in; returns the result."""


def done(steps: Steps[T]) -> Awaitable[T]:
    """Have steps done: an awaitable in async code; in sync code they have been done when it returns the result."""
    if calls_are_async():
        return in_async(steps)
    return cast("Awaitable[T]", in_sync(steps))


def asked(ask: Callable[[Broker], Awaitable[T]], settings: Settings | None = None) -> Awaitable[T]:
    """Have the broker asked: an awaitable in async code; in sync code the answer."""
    settings = settings or current_settings()
    if calls_are_async():
        return ask(broker_of_this_loop(settings))
    return cast("Awaitable[T]", bridge.call(ask, settings))


async def in_async(steps: Steps[T]) -> T:
    """Do steps on the running loop."""
    settings = current_settings()
    try:
        step = next(steps)
        while True:
            try:
                if isinstance(step, Ask):
                    answer = await step.of(broker_of_this_loop(settings))
                else:
                    answer = step.call()
                    if inspect.isawaitable(answer):
                        answer = await answer
            except BaseException as error:  # noqa: BLE001 - the steps say what becomes of it
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as end:
        return cast("T", end.value)


def in_sync(steps: Steps[T]) -> T:
    """Do steps in this thread; the broker is asked by way of the bridge."""
    settings = current_settings()
    try:
        step = next(steps)
        while True:
            try:
                answer = bridge.call(step.of, settings) if isinstance(step, Ask) else step.call()
            except BaseException as error:  # noqa: BLE001 - the steps say what becomes of it
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as end:
        return cast("T", end.value)
