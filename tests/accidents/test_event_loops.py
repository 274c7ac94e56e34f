"""Event loops as programs have them: several, one after another, always running, closed with or without notice."""

from __future__ import annotations

import ast
import asyncio
import gc
import inspect
import textwrap
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from flowchan import open_run, receive_input, send_input, sync
from tests.support import programs
from tests.support.streams import CHANNEL, Streams
from tests.support.waiting import eventually, eventually_async

Receiver = Any


def receiver(run: str = "r", **options: Any) -> Receiver:
    return receive_input(int, flow_run_id=run, key_prefix=CHANNEL, **{"timeout": 20, **options})


def send(value: int, run: str = "r") -> Any:
    return send_input(value, run, key_prefix=CHANNEL)


async def take(mine: Receiver, count: int) -> list[int]:
    return [await mine.next() for _ in range(count)]


@pytest.fixture
def new_loop(anyio_backend: tuple[str, dict[str, Any]]) -> Callable[[], asyncio.AbstractEventLoop]:
    """Makes loops of the kind that the test is for."""
    if anyio_backend[1]["use_uvloop"]:
        import uvloop  # noqa: PLC0415 - an extra

        return uvloop.new_event_loop
    return asyncio.new_event_loop


@pytest.fixture
def run(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """``asyncio.run`` on such a loop."""

    def run_to_its_end(main: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(main)

    return run_to_its_end


Run = Callable[[Coroutine[Any, Any, Any]], Any]

# --- several loops ------------------------------------------------------------------------------------


def test_one_loop_after_another(run: Run, streams: Streams) -> None:
    async def converse(first: int) -> list[int]:
        await send(first)
        send(first + 1)
        return await take(receiver(), first + 2)

    assert run(converse(0)) == [0, 1]
    assert run(converse(2)) == [0, 1, 2, 3]
    assert streams.values("r") == [0, 1, 2, 3]
    assert not streams.groups()


def test_a_receiver_goes_on_where_it_was_on_the_next_loop_and_without_one(run: Run, streams: Streams) -> None:
    mine = receiver()

    async def next_after(value: int) -> int:
        waiter = asyncio.get_running_loop().create_task(mine.next())
        await eventually_async(streams.groups)
        await send(value)
        send(value + 1)  # comes, and is not asked for any more
        return await waiter  # type: ignore[no-any-return]

    assert run(next_after(0)) == 0
    assert next(mine) == 1
    send(2)
    assert run(take(mine, 1)) == [2]
    assert run(next_after(3)) == 3
    assert run(take(mine, 1)) == [4]
    with mine:
        pass
    assert not streams.groups()


def test_two_threads_each_with_a_loop_of_its_own(run: Run) -> None:
    got: dict[str, list[int]] = {}
    both = threading.Barrier(2, timeout=20)

    async def converse(me: str, other: str) -> None:
        mine = receiver(me)
        both.wait()
        for value in range(200):
            if value % 3:
                send(value, other)
            else:
                await send(value, other)
        got[me] = await take(mine, 200)
        both.wait()

    threads = [threading.Thread(target=lambda names=names: run(converse(*names))) for names in ("ab", "ba")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert got == {"a": list(range(200)), "b": list(range(200))}


def test_waiting_on_two_loops_at_once_is_refused_and_disturbs_nobody(run: Run, streams: Streams) -> None:
    mine = receiver()

    async def main() -> int:
        waiter = asyncio.get_running_loop().create_task(mine.next())
        await eventually_async(streams.groups)
        with pytest.raises(RuntimeError, match="on another event loop"):
            await asyncio.to_thread(mine.next)
        await send(0)
        return await waiter  # type: ignore[no-any-return]

    assert run(main()) == 0


# --- a loop that always runs ----------------------------------------------------------------------------


async def cell(source: str, names: dict[str, Any]) -> None:
    """Does as a notebook does with a cell: ``await`` stands at its top level."""
    code = compile(textwrap.dedent(source), "<cell>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, names)
    if inspect.isawaitable(result):
        await result


CELLS = [
    "mine = receiver()",
    "send(0)",  # nobody awaits it
    "await send(1)",
    "got = [await mine.next(), await mine.next()]",
    """
    import asyncio
    waiter = asyncio.create_task(mine.next())
    """,
    "sync.send_input(2, 'r', key_prefix=CHANNEL)",  # on the loop's own thread
    "got.append(await waiter)",
    """
    with sync.receive_input(int, flow_run_id='r', key_prefix=CHANNEL, timeout=20) as other:
        also_got = [next(other), next(other), other.next()]
    """,
    """
    async for value in receiver():
        also_got.append(value)
        if value == 2: break
    """,
    """
    async with open_run("r"):
        send(3, "r")
    """,
    "got.append(await mine.next())",
]


def notebook() -> dict[str, Any]:
    return {"receiver": receiver, "send": send, "sync": sync, "open_run": open_run, "CHANNEL": CHANNEL}


def assert_notebook_is_right(names: dict[str, Any], streams: Streams) -> None:
    assert names["got"] == [0, 1, 2, 3]
    assert names["also_got"] == [0, 1, 2, 0, 1, 2]
    assert streams.values("r") == [0, 1, 2, 3]


def test_cells_as_tasks_of_a_loop_that_runs_all_the_time(run: Run, streams: Streams) -> None:
    names = notebook()

    async def kernel() -> None:
        for source in CELLS:
            await asyncio.get_running_loop().create_task(cell(source, names))

    run(kernel())
    assert_notebook_is_right(names, streams)


def test_cells_on_a_loop_that_stands_still_between_them(
    new_loop: Callable[[], asyncio.AbstractEventLoop], streams: Streams
) -> None:
    names = notebook()
    loop = new_loop()
    for source in CELLS:
        loop.run_until_complete(cell(source, names))
    assert_notebook_is_right(names, streams)
    # Between them no loop runs in this thread, so the same verbs block.
    send(4)
    fresh = receiver()
    assert [next(fresh) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert loop.run_until_complete(take(names["mine"], 1)) == [4]
    fresh.close()
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    eventually(lambda: not streams.groups(), "the end of the groups")


# --- the end of a loop ----------------------------------------------------------------------------------


def test_the_end_of_a_run_of_the_loop_stores_what_was_sent_and_frees_what_was_received(
    run: Run, streams: Streams
) -> None:
    kept: list[Any] = []

    async def main() -> None:
        kept.extend(receiver(f"r{number}") for number in range(5))
        kept.append(receive_input(int | str, flow_run_id="r0", timeout=20))
        kept.extend(asyncio.get_running_loop().create_task(each.next()) for each in kept[:])
        await eventually_async(lambda: streams.groups() == 7)
        for value in range(100):
            send(value, "other")

    run(main())
    assert streams.values("other") == list(range(100))
    assert not streams.groups()
    with pytest.raises(TimeoutError):
        next(receiver("r0", timeout=0))


def test_sends_are_stored_though_nothing_else_was_done_before_the_loop_ended(run: Run, streams: Streams) -> None:
    async def main() -> None:
        send(0)

    run(main())
    assert streams.values("r") == [0]


def test_sends_are_stored_though_the_program_fails(run: Run, streams: Streams) -> None:
    async def main() -> None:
        send(0)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(main())
    assert streams.values("r") == [0]


def test_a_loop_that_only_ends_its_generators_frees_what_was_received(
    new_loop: Callable[[], asyncio.AbstractEventLoop], streams: Streams
) -> None:
    mine = receiver()
    loop = new_loop()

    async def main() -> list[int]:
        send(0)
        send(1)
        first = await mine.next()
        send(2)
        return [first, await mine.next(), await mine.next()]

    assert loop.run_until_complete(main()) == [0, 1, 2]
    assert streams.groups() == 1
    loop.run_until_complete(loop.shutdown_asyncgens())
    assert not streams.groups()
    loop.close()


def test_a_receiver_dropped_in_another_thread_is_freed_on_its_own_loop(run: Run, streams: Streams) -> None:
    async def main() -> None:
        mine = [receiver()]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await mine[0].next()
        assert streams.groups() == 1
        await asyncio.to_thread(mine.clear)
        await asyncio.to_thread(gc.collect)
        await eventually_async(lambda: not streams.groups(), "the end of the group")

    run(main())


def test_a_receiver_of_synchronous_code_is_freed_when_nobody_holds_it_any_more(streams: Streams) -> None:
    send(0)
    mine = receiver(timeout=0.1)
    with pytest.raises(TimeoutError):
        list(mine)
    assert streams.groups() == 1
    del mine
    gc.collect()
    eventually(lambda: not streams.groups(), "the end of the group")


# --- without notice, and without a word -------------------------------------------------------------------

PRELUDE = """
import asyncio, gc, logging, os, sys, threading, time
import anyio, redis
from flowchan import open_run, receive_input, send_input, sync
from flowchan.wire import keys

# asyncio's debug mode, which -X dev brings, speaks of every step that took long; on a busy machine some do.
logging.getLogger("asyncio").setLevel(logging.ERROR)
logging.basicConfig(level=logging.WARNING)
new_loop = asyncio.new_event_loop
if {use_uvloop}:
    import uvloop
    new_loop = uvloop.new_event_loop

def receiver(run="r"):
    return receive_input(int, flow_run_id=run, key_prefix="numbers", timeout=20)

def send(value, run="r"):
    return send_input(value, run, key_prefix="numbers")

def eventually(look):
    deadline = time.monotonic() + 20
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.005)

def are_stored(count, run="r"):
    # As seen by somebody else; what the server has stored it has acknowledged, too.
    key = keys.stream(os.environ["FLOWCHAN_NAMESPACE"], run, "numbers")
    with redis.Redis.from_url(os.environ["FLOWCHAN_URL"]) as client:
        eventually(lambda: client.xlen(key) == count)
        client.ping()  # the server's next turn: by then its answers to others are out

def run(main):
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main)
"""


@pytest.fixture
def silent(anyio_backend: tuple[str, dict[str, Any]]) -> Callable[[str], None]:
    """Runs a program that must end well and say nothing, though Python is asked to say all it can."""

    def run_program(program: str) -> None:
        source = PRELUDE.format(**anyio_backend[1]) + textwrap.dedent(program)
        assert programs.run(source, "-X", "dev", "-W", "error") == ""

    return run_program


Silent = Callable[[str], None]


def test_a_loop_closed_without_notice_says_nothing_and_what_was_sent_is_stored(
    silent: Silent, streams: Streams
) -> None:
    silent("""
        async def main():
            mine = [receiver(), receiver("s"), receive_input(int | str, flow_run_id="r")]
            await send(0)
            assert await mine[0].next() == 0
            waiters = [asyncio.ensure_future(each.next()) for each in mine]
            done, waiting = await asyncio.wait(waiters, timeout=0.2)
            for waiter in waiting:
                waiter.cancel()
            await asyncio.wait(waiters)
            for value in range(1, 10):
                send(value)
            return mine

        loop = new_loop()
        mine = loop.run_until_complete(main())
        loop.close()
        are_stored(10)
    """)
    assert streams.values("r") == list(range(10))


def test_a_second_loop_after_one_closed_without_notice(silent: Silent, streams: Streams) -> None:
    silent("""
        mine = receiver()

        async def main(value):
            waiter = asyncio.ensure_future(mine.next())
            await send(value)
            assert await waiter == value

        for value in range(3):
            loop = new_loop()
            loop.run_until_complete(main(value))
            loop.close()
        run(main(3))
        with sync.open_run("r"):
            send(4)
            assert next(mine) == 4
        mine.close()
    """)
    assert streams.values("r") == [0, 1, 2, 3, 4]


def test_a_loop_closed_before_it_was_connected_leaves_no_socket(silent: Silent) -> None:
    silent("""
        logging.disable()  # what was sent is lost, and that is said

        async def main():
            send(0)
            return receiver()

        loop = new_loop()
        mine = loop.run_until_complete(main())
        # The connection is made while no loop looks, and nobody takes it.
        eventually(lambda: not any(thread.name == "flowchan-dial" for thread in threading.enumerate()))
        loop.close()
        del mine, loop
        gc.collect()
    """)


def test_what_a_loop_took_with_it_when_it_was_closed_is_not_lost_in_silence(silent: Silent, streams: Streams) -> None:
    silent("""
        said = []

        class Ear(logging.Handler):
            def emit(self, record):
                said.append((record.levelname, record.getMessage()))

        logging.getLogger().handlers[:] = [Ear()]

        async def main():
            send(0, "lost")

        async def other():
            await send(1, "stored")

        loop = new_loop()
        loop.run_until_complete(main())
        loop.close()
        run(other())
        # The connection may have been quick enough: then it is stored, and there is nothing to tell.
        with redis.Redis.from_url(os.environ["FLOWCHAN_URL"]) as client:
            is_stored = client.xlen(keys.stream(os.environ["FLOWCHAN_NAMESPACE"], "lost", "numbers"))
        assert said or is_stored
        assert all(level == "ERROR" and "run lost, channel numbers" in text for level, text in said), said
    """)
    assert streams.values("stored") == [1]


def test_an_ordinary_end_says_nothing(silent: Silent, streams: Streams) -> None:
    silent("""
        async def main():
            mine = [receiver(), receiver("s")]
            waiters = [asyncio.ensure_future(each.next()) for each in mine]
            await send(0)
            assert await waiters[0] == 0
            async for value in receiver():
                break
            kept.extend(mine)
            send(1)

        kept = []
        run(main())
        run(main())
        anyio.run(main, backend="asyncio", backend_options={"loop_factory": new_loop})
    """)
    assert streams.values("r") == [0, 1] * 3
    assert not streams.groups()


def test_the_end_of_a_program_without_a_loop_says_nothing_and_frees_all(silent: Silent, streams: Streams) -> None:
    silent("""
        mine = receiver()
        send(0)
        assert next(mine) == 0
        threading.Thread(target=next, args=(receiver("s"),), daemon=True).start()
        time.sleep(0.2)
    """)
    assert streams.values("r") == [0]
    assert not streams.groups()


def test_the_end_of_a_program_in_the_midst_of_a_loop_says_nothing(silent: Silent, streams: Streams) -> None:
    silent("""
        async def main():
            mine = receiver()
            send(0)
            assert await mine.next() == 0
            waiter = asyncio.ensure_future(mine.next())
            send(1)
            sys.exit(0)

        run(main())
    """)
    assert streams.values("r") == [0, 1]
    assert not streams.groups()
