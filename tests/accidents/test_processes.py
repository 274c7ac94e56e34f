"""Processes that come out of one that has used flowchan: by a fork, by ``multiprocessing``, by a pool."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import flowchan
from tests.support.streams import Streams

# A program of its own, so that it is not the tests' process, with its threads, that forks; a file, because what is
# spawned imports it.
PRELUDE = """
import asyncio, concurrent.futures, logging, multiprocessing, os, sys, threading, time
from flowchan import flow, get_run_logger, open_run, receive_input, send_input, sync
from flowchan.context import get_run_context

logging.getLogger("asyncio").setLevel(logging.ERROR)  # in debug mode it speaks of every step that took long
new_loop = asyncio.new_event_loop
if {use_uvloop}:
    import uvloop
    new_loop = uvloop.new_event_loop

def receiver(run="r", **options):
    return receive_input(int, flow_run_id=run, key_prefix="numbers", **{{"timeout": 20, **options}})

def send(value, run="r"):
    return send_input(value, run, key_prefix="numbers")

def run(main):
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(main)

async def converse(values, run="r"):
    mine = receiver(run)
    for value in values:
        waiter = asyncio.ensure_future(mine.next())
        await send(value, run)
        while await waiter != value:
            waiter = asyncio.ensure_future(mine.next())
    send(values[-1] + 1, run)
    return await mine.next()

def converse_blocking(values, run="r"):
    with receiver(run) as mine:
        for value in values:
            send(value, run)
            while next(mine) != value:
                pass
        return values[-1]

def in_a_child(do):
    # Fork, do it there, and see that it was done.
    child = os.fork()
    if child == 0:
        try:
            do()
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return child

def assert_child_did_well(child):
    deadline = time.monotonic() + 20
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            assert status == 0, status
            return
        assert time.monotonic() < deadline, "the child hangs"
        time.sleep(0.005)
"""


@pytest.fixture
def silent(anyio_backend: tuple[str, dict[str, Any]], tmp_path: Path) -> Callable[[str], None]:
    """Runs a program that must end well and have nothing to say."""

    def run_program(program: str) -> None:
        script = tmp_path / "program.py"
        script.write_text(PRELUDE.format(**anyio_backend[1]) + textwrap.dedent(program))
        process = subprocess.Popen(
            # Python 3.12 and later warn of every fork of a process that has threads.
            [sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning", script],
            env={**os.environ, "PYTHONPATH": str(Path(flowchan.__file__).parents[1])},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            said, errors = process.communicate(timeout=40)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)  # its children, too
            process.communicate()
            raise
        assert (process.returncode, said, errors) == (0, "", "")

    return run_program


Silent = Callable[[str], None]


def test_a_child_of_a_fork_speaks_for_itself(silent: Silent, streams: Streams) -> None:
    silent("""
        def as_in_a_new_process():
            run(converse([100, 101]))
            converse_blocking([103, 104])
            run(converse([105]))

        run(converse([0, 1]))
        converse_blocking([3, 4])
        assert_child_did_well(in_a_child(as_in_a_new_process))
        run(converse([5, 6]))
        converse_blocking([8, 9])
    """)
    assert streams.values("r") == [0, 1, 2, 3, 4, 100, 101, 102, 103, 104, 105, 106, 5, 6, 7, 8, 9]


def test_a_parent_that_waits_in_a_thread_goes_on_as_if_there_had_been_no_fork(silent: Silent) -> None:
    silent("""
        got = []
        mine = receiver()

        def follow():
            for value in mine:
                got.append(value)
                if value == 5:
                    return

        def until(look):
            deadline = time.monotonic() + 20
            while not look():
                assert time.monotonic() < deadline
                time.sleep(0.005)

        thread = threading.Thread(target=follow)
        thread.start()
        send(0)
        until(lambda: got == [0])
        child = in_a_child(lambda: (converse_blocking([1], "s"), run(converse([2], "s")), send(1)))
        assert_child_did_well(child)
        until(lambda: got == [0, 1])
        children = [in_a_child(lambda number=number: send(number)) for number in (2, 3)]
        for child in children:
            assert_child_did_well(child)
        send(4)
        send(5)
        thread.join(20)
        assert not thread.is_alive()
        assert sorted(got) == [0, 1, 2, 3, 4, 5] and got[:2] == [0, 1] and got[4:] == [4, 5], got
        mine.close()
    """)


def test_a_fork_in_the_midst_of_a_loop_disturbs_neither_of_the_two(silent: Silent, streams: Streams) -> None:
    silent("""
        async def main():
            mine = receiver()
            waiter = asyncio.ensure_future(mine.next())
            await send(0)
            assert await waiter == 0
            waiter = asyncio.ensure_future(mine.next())
            await asyncio.sleep(0.1)  # a read is under way, as a rule; whether it is or not, it must go well
            for value in range(1, 5):
                send(value, "pending")
            child = in_a_child(lambda: (converse_blocking([7], "s"), run(converse([8], "s")), send(1)))
            await asyncio.to_thread(assert_child_did_well, child)
            assert await waiter == 1
            await send(2)
            assert await mine.next() == 2

        run(main())
    """)
    assert streams.values("pending") == [1, 2, 3, 4]  # by the parent alone, once
    assert streams.values("r") == [0, 1, 2]
    assert streams.groups() == 0


def test_a_child_goes_on_with_a_receiver_of_its_parent_and_the_parent_too(silent: Silent) -> None:
    silent("""
        def child_goes_on():
            assert [next(mine), next(mine)] == [1, 2]
            send(3)
            assert next(mine) == 3
            assert run(mine_of_async()) == 3

        async def mine_of_async():
            other.close()
            return await anext(aiter(receiver(after=key)))

        async def first(mine):
            return await mine.next()

        for value in range(3):
            send(value)
        key = receive_input(int, flow_run_id="r", key_prefix="numbers", with_metadata=True, timeout=1)
        key = [next(key), next(key), next(key)][-1].metadata.key
        mine, other = receiver(), receiver()
        assert next(mine) == 0
        assert run(first(other)) == 0
        assert_child_did_well(in_a_child(child_goes_on))
        assert [next(mine), next(mine), next(mine)] == [1, 2, 3]
        assert run(first(other)) == 1
        mine.close()
    """)


def test_forks_under_load_find_no_lock_held(silent: Silent, streams: Streams) -> None:
    # Threads that import, or use a model for the first time, do hold locks of others': so that is done before.
    silent("""
        converse_blocking([0], "s")
        run(converse([1], "s"))
        is_over = False

        def busy(name):
            value = 0
            while not is_over:
                converse_blocking([value], name)
                run(converse([value + 1], name))
                value += 3

        threads = [threading.Thread(target=busy, args=(name,)) for name in ("s", "t")]
        for thread in threads:
            thread.start()
        for value in range(12):
            child = in_a_child(lambda value=value: (send(value), run(converse([value], f"u{value}"))))
            assert_child_did_well(child)
        is_over = True
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
    """)
    assert streams.values("r") == list(range(12))


def test_a_fork_within_a_run_is_still_within_it(silent: Silent, streams: Streams) -> None:
    silent("""
        @flow
        async def parent():
            await send(0)
            me = get_run_context().flow_run.id
            child = in_a_child(lambda: (send_input("from the child", me), send(1)))
            await asyncio.to_thread(assert_child_did_well, child)
            said = await receive_input(str, timeout=20, with_metadata=True).next()
            assert (said.value, said.metadata.sender) == ("from the child", f"flowchan.flow-run.{me}")

        run(parent())
    """)
    assert streams.values("r") == [0, 1]


def test_a_child_that_ends_as_programs_do_takes_nothing_of_its_parent_with_it(silent: Silent) -> None:
    silent("""
        mine = receiver()
        send(0)
        assert next(mine) == 0
        child = os.fork()
        if child == 0:
            theirs = receiver("s")
            send(1, "s")
            assert next(theirs) == 1
            sys.exit(0)  # all that is to be done at the end is done here, too
        assert_child_did_well(child)
        child = os.fork()
        if child == 0:
            sys.exit(0)
        assert_child_did_well(child)
        send(1)
        assert next(mine) == 1
        mine.close()
    """)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(method: str, silent: Silent, streams: Streams) -> None:
    silent(f"""
        def worker(name):
            with open_run(name):
                for question in receive_input(int, timeout=20, key_prefix="numbers"):
                    if question < 0:
                        return
                    send(question ** 2, "answers")
                    run(converse([question], name + "-async"))

        if __name__ == "__main__":
            context = multiprocessing.get_context({method!r})
            run(converse([-1], "warm"))
            converse_blocking([-1], "warm")
            mine = receiver("answers")
            workers = [context.Process(target=worker, args=(f"w{{number}}",)) for number in range(2)]
            for each in workers:
                each.start()
            for question in range(4):
                for number in range(2):
                    send(10 * number + question, f"w{{number}}")
            answers = sorted(next(mine) for _ in range(8))
            assert answers == sorted((10 * number + question) ** 2 for number in range(2) for question in range(4))
            for number, each in enumerate(workers):
                send(-1, f"w{{number}}")
                each.join(20)
                assert each.exitcode == 0
            mine.close()
    """)
    assert [streams.length(f"w{number}") for number in range(2)] == [5, 5]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_pool_of_processes(method: str, silent: Silent, streams: Streams) -> None:
    silent(f"""
        def work(number):
            converse_blocking([number, number + 1], f"sync-{{number}}")
            run(converse([number, number + 1], f"async-{{number}}"))
            send(number)
            return number

        if __name__ == "__main__":
            context = multiprocessing.get_context({method!r})
            converse_blocking([0], "warm")
            with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
                assert list(pool.map(work, range(8))) == list(range(8))
            with receiver() as mine:
                assert sorted(next(mine) for _ in range(8)) == list(range(8))
    """)
    assert streams.groups() == 0
