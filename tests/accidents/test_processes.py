"""Ctrl-C, fork, and loops of all kinds in one process."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from flowchan import open_run, receive_input, send_input, sync
from tests.support import programs
from tests.support.streams import CHANNEL, Streams
from tests.support.waiting import eventually

START = f"""
import asyncio, gc, multiprocessing, os, signal, sys, threading, time
from flowchan import flow, receive_input, send_input, sync

def receiver(run, **options):
    return receive_input(int, flow_run_id=run, key_prefix={CHANNEL!r}, **{{"timeout": 20, **options}})

def send(value, run):
    return send_input(value, run, key_prefix={CHANNEL!r})
"""


# --- Ctrl-C -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wait", ["receiver('r').next()", "list(receiver('r'))", "next(iter(receiver('r', timeout=None)))"]
)
def test_ctrl_c_ends_a_synchronous_wait_at_once(wait: str, streams: Streams) -> None:
    program = f"""{START}
try:
    {wait}
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    with programs.running(program) as process:
        eventually(streams.groups, "the wait")
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=10)
        assert time.monotonic() - start < 5
        assert (process.returncode, said, errors) == (0, "interrupted\n", "")
    assert not streams.groups()


def test_ctrl_c_that_nobody_catches_ends_the_process(streams: Streams) -> None:
    with programs.running(f"{START}\nreceiver('r').next()") as process:
        eventually(streams.groups, "the wait")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
        assert process.returncode == -signal.SIGINT
        assert errors.rstrip().endswith("KeyboardInterrupt")


def test_a_receiver_goes_on_after_ctrl_c_without_a_loss(streams: Streams) -> None:
    program = f"""{START}
mine, got, interrupts = receiver("r"), [], 0
print("ready", flush=True)
while len(got) < 300:
    try:
        got.append(mine.next())
    except KeyboardInterrupt:
        interrupts += 1
signal.signal(signal.SIGINT, signal.SIG_IGN)
assert got == list(range(300)), got
print(interrupts, flush=True)
"""
    with programs.running(program) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for value in range(300):
            sync.send_input(value, "r", key_prefix=CHANNEL)
            if value % 10 == 0 and value < 250:
                process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=20)
        assert (process.returncode, errors) == (0, "")
        assert int(said) > 3
    assert streams.length("r") == 300


# --- fork -------------------------------------------------------------------------------------------------------


AFTER_SYNC = """
mine = receiver("parent")
send(0, "parent")
assert mine.next() == 0

def child():
    send(1, "child")
    assert receiver("child").next() == 1
    # What was received before the fork goes on where it was
    send(2, "parent")
    assert mine.next() == 2
    asyncio.run(in_async())

async def in_async():
    await send(3, "child")
    theirs = receiver("child")
    assert [await theirs.next() for _ in range(2)] == [1, 3]

def parent():
    assert mine.next() == 2
    send(4, "parent")
    assert mine.next() == 4
"""

WITH_A_WAIT = """
mine = receiver("parent")
got = []
thread = threading.Thread(target=lambda: got.extend(mine.next() for _ in range(2)))
thread.start()
send(0, "parent")
while not got:
    time.sleep(0.001)

def child():
    send(1, "child")
    assert receiver("child").next() == 1

def parent():
    send(2, "parent")
    thread.join(20)
    assert got == [0, 2]
"""

FORKS = {
    "os.fork": """
pid = os.fork()
if not pid:
    try:
        child()
        gc.collect()
        os._exit(0)
    finally:
        os._exit(1)
_, status = os.waitpid(pid, 0)
assert status == 0, status
parent()
print("done")
""",
    "os.fork and an ordinary exit": """
pid = os.fork()
if not pid:
    child()
    gc.collect()
    sys.exit(0)
_, status = os.waitpid(pid, 0)
assert status == 0, status
parent()
print("done")
""",
    "multiprocessing": """
processes = [multiprocessing.get_context("fork").Process(target=child) for _ in range(1)]
for each in processes:
    each.start()
for each in processes:
    each.join(30)
assert [each.exitcode for each in processes] == [0]
parent()
print("done")
""",
}


@pytest.mark.parametrize("how", FORKS)
@pytest.mark.parametrize("before", [AFTER_SYNC, WITH_A_WAIT], ids=["after sync", "with a wait"])
def test_a_forked_child_sends_and_receives_by_itself_and_its_parent_goes_on(before: str, how: str) -> None:
    # Python 3.12 warns of a fork with threads, which is what is tested.
    said = programs.run(f"{START}{before}{FORKS[how]}", "-X", "dev", "-W", "ignore::DeprecationWarning")
    assert said.splitlines()[-1] == "done"


@pytest.mark.parametrize("loop", ["asyncio.new_event_loop", "uvloop.new_event_loop"])
def test_a_fork_within_a_running_loop_leaves_the_parents_loop_alone(loop: str) -> None:
    pytest.importorskip("uvloop") if "uvloop" in loop else None
    program = f"""{START}
{"import uvloop" if "uvloop" in loop else ""}
async def main():
    mine = receiver("parent")
    await send(0, "parent")
    assert await mine.next() == 0
    waiting = asyncio.get_running_loop().create_task(mine.next())
    await asyncio.sleep(0.05)
    pid = os.fork()
    if not pid:
        try:
            send(1, "child")
            assert receiver("child").next() == 1
            gc.collect()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = await asyncio.get_running_loop().run_in_executor(None, os.waitpid, pid, 0)
    assert status == 0, status
    await send(2, "parent")
    assert await waiting == 2

with asyncio.Runner(loop_factory={loop}) as runner:
    runner.run(main())
print("done")
"""
    assert programs.run(program, "-X", "dev", "-W", "ignore::DeprecationWarning") == "done\n"


def test_a_pool_of_forked_processes_works_on_one_channel(streams: Streams) -> None:
    program = f"""{START}
send(-1, "r")

def work(value):
    send(value, "r")
    return next(receiver("r"))

with multiprocessing.get_context("fork").Pool(4) as pool:
    assert pool.map(work, range(40)) == [-1] * 40
print("done")
"""
    assert programs.run(program, "-W", "ignore::DeprecationWarning") == "done\n"
    assert sorted(streams.values("r")) == list(range(-1, 40))


# --- loops ------------------------------------------------------------------------------------------------------


async def exchange(run: str, count: int = 50) -> list[int]:
    receiver: Any = receive_input(int, flow_run_id=run, key_prefix=CHANNEL, timeout=20)
    got = []
    for value in range(count):
        await send_input(value, run, key_prefix=CHANNEL)
        got.append(await receiver.next())
    return got


def test_one_loop_after_another() -> None:
    for run in range(3):
        assert asyncio.run(exchange(f"r{run}")) == list(range(50))


def test_a_receiver_goes_on_in_the_next_loop_where_it_was() -> None:
    receiver: Any = receive_input(int, flow_run_id="r", key_prefix=CHANNEL, timeout=20)

    async def step(value: int) -> int:
        await send_input(value, "r", key_prefix=CHANNEL)
        return int(await receiver.next())

    assert [asyncio.run(step(value)) for value in range(5)] == [0, 1, 2, 3, 4]
    sync.send_input(5, "r", key_prefix=CHANNEL)
    assert next(receiver) == 5


def test_loops_in_several_threads_at_once() -> None:
    with ThreadPoolExecutor(4) as threads:
        runs = [threads.submit(lambda i=i: asyncio.run(exchange(f"r{i}"))) for i in range(8)]
        assert [run.result(30) for run in runs] == [list(range(50))] * 8


def test_two_loops_answer_one_another() -> None:
    count = 200

    async def echo() -> None:
        async with open_run("echo"):
            async for value in receive_input(int, timeout=20, with_metadata=True):  # type: ignore[call-overload]
                await value.respond(value.value)
                if value.value == count - 1:
                    return

    async def ask() -> list[int]:
        async with open_run("ask"):
            answers: Any = receive_input(int, timeout=20)
            got = []
            for value in range(count):
                await send_input(value, "echo")
                got.append(await answers.next())
            return got

    thread = threading.Thread(target=lambda: asyncio.run(echo()))
    thread.start()
    assert asyncio.run(ask()) == list(range(count))
    thread.join(20)
    assert not thread.is_alive()


def test_threads_without_a_loop_share_what_they_send_and_receive(streams: Streams) -> None:
    receiver = sync.receive_input(int, flow_run_id="r", key_prefix=CHANNEL, timeout=20)
    with ThreadPoolExecutor(8) as threads:
        taking = [threads.submit(lambda: [receiver.next() for _ in range(50)]) for _ in range(4)]
        sending = [
            threads.submit(lambda i=i: [sync.send_input(i * 50 + n, "r", key_prefix=CHANNEL) for n in range(50)])
            for i in range(4)
        ]
        for each in sending:
            each.result(30)
        got = [value for each in taking for value in each.result(30)]
    assert sorted(got) == list(range(200))
    assert sorted(streams.values("r")) == list(range(200))


def test_a_loop_that_always_runs_as_in_a_notebook_is_used_cell_by_cell() -> None:
    # A notebook's loop runs in the main thread, each cell is a task of it, and nobody ends it in an orderly way.
    loop = asyncio.new_event_loop()
    names: dict[str, Any] = {"send_input": send_input, "receive_input": receive_input}

    async def cell(text: str) -> None:
        lines = "\n    ".join(text.splitlines())
        exec(f"async def _cell():\n    global mine, got\n    {lines}", names)
        await names["_cell"]()

    async def notebook() -> None:
        await cell(f"mine = receive_input(int, flow_run_id='r', key_prefix={CHANNEL!r}, timeout=20)")
        await cell(f"send_input(1, 'r', key_prefix={CHANNEL!r})")
        await cell("got = [await mine.next()]")
        await cell(f"await send_input(2, 'r', key_prefix={CHANNEL!r})\ngot.append(await mine.next())")

    try:
        loop.run_until_complete(notebook())
        assert names["got"] == [1, 2]
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


def test_a_synchronous_call_on_a_running_loop_blocks_and_returns(streams: Streams) -> None:
    async def main() -> int:
        sync.send_input(1, "r", key_prefix=CHANNEL)
        return sync.receive_input(int, flow_run_id="r", key_prefix=CHANNEL, timeout=20).next()

    assert asyncio.run(main()) == 1
    assert streams.values("r") == [1]


def test_processes_that_end_in_the_middle_leave_groups_that_end_with_their_stream(streams: Streams) -> None:
    with programs.running(f"{START}\nreceiver('r').next()") as process:
        eventually(streams.groups, "the wait")
        os.kill(process.pid, signal.SIGKILL)
    assert streams.groups() == 1
    assert 0 < int(streams.client.pttl(streams.key("r"))) <= 7 * 24 * 3600 * 1000  # type: ignore[arg-type]
