"""Whether a verb is awaited or blocks: the current run's function decides, else whether the thread has a loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from flowchan import flow, open_run, receive_input, send_input
from flowchan.context import get_run_context
from flowchan.input import RunInputMetadata
from tests.support import programs

pytestmark = pytest.mark.anyio


def sends_async() -> bool:
    """Whether a send made here returns an awaitable."""
    sent: Any = send_input("x", "run")
    assert isinstance(sent, Awaitable | RunInputMetadata)
    return isinstance(sent, Awaitable)


def next_is_async() -> bool:
    """Whether a receiver's next() called here returns an awaitable."""
    send_input("y", "another")
    message: Any = receive_input(str, flow_run_id="another", timeout=30).next()
    if isinstance(message, Awaitable):
        message.close()  # type: ignore[attr-defined]
        return True
    assert message == "y"
    return False


@flow
def sync_flow(look: Callable[[], bool] = sends_async) -> bool:
    return look()


@flow
async def async_flow(look: Callable[[], bool] = sends_async) -> bool:
    return look()


LOOKS = pytest.mark.parametrize("look", [sends_async, next_is_async], ids=["send", "next"])


@LOOKS
def test_outside_a_run_and_without_a_loop_it_blocks(look: Callable[[], bool]) -> None:
    assert look() is False


@LOOKS
async def test_outside_a_run_and_on_a_loop_it_is_awaited(look: Callable[[], bool]) -> None:
    assert look() is True


@LOOKS
async def test_an_async_flow_awaits(look: Callable[[], bool]) -> None:
    assert await async_flow(look) is True


@LOOKS
def test_a_sync_flow_blocks(look: Callable[[], bool]) -> None:
    assert sync_flow(look) is False


@LOOKS
async def test_a_sync_flow_on_a_running_loop_blocks(look: Callable[[], bool]) -> None:
    assert sync_flow(look) is False


@LOOKS
async def test_a_sync_flow_in_an_async_one_blocks_and_the_outer_one_awaits_again(look: Callable[[], bool]) -> None:
    @flow
    async def outer() -> list[bool]:
        return [look(), sync_flow(look), look()]

    assert await outer() == [True, False, True]


@LOOKS
def test_an_async_flow_in_a_sync_one_awaits_and_the_outer_one_blocks_again(look: Callable[[], bool]) -> None:
    @flow
    def outer() -> list[bool]:
        return [look(), asyncio.run(async_flow(look)), look()]

    assert outer() == [False, True, False]


@LOOKS
def test_a_loop_that_a_sync_flow_starts_itself_awaits(look: Callable[[], bool]) -> None:
    async def on_a_loop() -> bool:
        return look()

    @flow
    def outer() -> bool:
        return asyncio.run(on_a_loop())

    assert outer() is True


@LOOKS
async def test_a_helper_of_an_async_flow_in_a_thread_blocks(look: Callable[[], bool]) -> None:
    @flow
    async def outer() -> list[bool]:
        return [await asyncio.to_thread(look), await anyio.to_thread.run_sync(look), look()]

    assert await outer() == [False, False, True]


@LOOKS
async def test_a_sync_flow_in_a_thread_of_an_async_one_blocks(look: Callable[[], bool]) -> None:
    @flow
    async def outer() -> bool:
        return await asyncio.to_thread(sync_flow, look)

    assert await outer() is False


@LOOKS
async def test_what_a_sync_flow_leaves_to_its_loop_blocks_still(look: Callable[[], bool]) -> None:
    """Its function decides, wherever its code runs."""
    found: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    @flow
    def outer() -> None:
        asyncio.get_running_loop().call_soon(lambda: found.set_result(look()))

    outer()
    assert await found is False


@LOOKS
async def test_a_run_that_is_opened_in_a_flow_leaves_the_kind_of_the_flow(look: Callable[[], bool]) -> None:
    @flow
    def opens_in_sync() -> bool:
        with open_run("inner"):
            return look()

    @flow
    async def opens_in_async() -> bool:
        async with open_run("inner"):
            return look()

    assert opens_in_sync() is False
    assert await opens_in_async() is True


@LOOKS
async def test_a_run_that_is_opened_outside_a_flow_is_as_its_thread(look: Callable[[], bool]) -> None:
    def opens() -> bool:
        with open_run("inner"):
            return look()

    assert opens() is True
    assert await asyncio.to_thread(opens) is False


async def test_a_sync_flow_in_a_thread_does_not_hold_up_the_loop() -> None:
    @flow
    def waits() -> str:
        run.append(str(get_run_context().flow_run.id))
        is_there.set()
        return next(receive_input(str, timeout=30))

    run: list[str] = []
    is_there = threading.Event()
    waiting = asyncio.create_task(asyncio.to_thread(waits))
    await asyncio.to_thread(is_there.wait, 30)

    await send_input("go on", run[0])

    assert await waiting == "go on"


def test_a_notebook_that_runs_a_loop_already_can_use_both() -> None:
    said = programs.run("""
        import asyncio
        from flowchan import flow, open_run, receive_input, send_input, sync

        @flow
        def cell_1():
            send_input("sync", "run")
            return next(receive_input(str, flow_run_id="run"))

        async def cell_2():
            await send_input("async", "run")
            receiver = receive_input(str, flow_run_id="run")
            return [await receiver.next(), await receiver.next()]

        async def notebook():
            print(cell_1())
            print(await cell_2())
            print(sync.receive_input(str, flow_run_id="run").next())

        asyncio.run(notebook())
    """)

    assert said.splitlines() == ["sync", "['sync', 'async']", "sync"]
