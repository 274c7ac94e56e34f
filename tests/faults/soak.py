"""A thousand runs a minute: what a process and the server have afterwards is what they had before."""

from __future__ import annotations

import subprocess
from typing import Any, NamedTuple

import psutil
import redis

from tests.faults.fault import Broken, Fault, Progress, Seen
from tests.faults.surroundings import own_server
from tests.support.programs import running
from tests.support.waiting import eventually

A_MINUTE = 1000
RETENTION = 4.0
WARM = 0.2
"""The part of the runs after which a process has made what it needs for any more."""
MORE = 8 * 2**20
"""Bytes by which memory may differ, however many runs there were: what allocators keep."""
CHANNELS = 66_000
"""What a process remembers of so many channels at most; it has spoken to as many before a long soak begins."""
LONG = 1000
"""Runs from which on that matters."""
MOST = 100
"""Connections that a process may have at the beginning; more would be no use of lanes."""
AWAY = 60.0
"""Seconds within which what was kept is gone."""

PROGRAM = """
import asyncio, gc, sys
from flowchan import flow, open_run, pause_flow_run, receive_input, resume_flow_run, send_input
from flowchan.context import get_run_context
from flowchan.errors import NotPausedError

begun = {}

@flow
async def talks(number: int) -> int:
    begun.pop(number).set_result(get_run_context().flow_run.id)
    async with receive_input(int, timeout=30, with_metadata=True) as questions:
        question = await questions.next()
        await question.respond(question.value + number)
    if number % 10 == 0:
        return await pause_flow_run(wait_for_input=int)
    return number

async def one(number):
    waiting = begun[number] = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(talks(number))
    run = await waiting
    async with open_run() as me, receive_input(int, timeout=30) as answers:
        await send_input(1, run)
        assert await answers.next() == number + 1
        await send_input("work", me.id)
        async with receive_input(str, timeout=30, group="shop") as work:
            assert await work.next() == "work"
    while number % 10 == 0:
        try:
            await resume_flow_run(run, {"value": number})
            break
        except NotPausedError:
            await asyncio.sleep(0.005)
    assert await task == number

async def some(first, last):
    start = asyncio.get_running_loop().time()
    async with asyncio.TaskGroup() as tasks:
        for number in range(first, last):
            await asyncio.sleep(start + (number - first) * PACE - asyncio.get_running_loop().time())
            tasks.create_task(one(number))
            if number % 50 == 0:
                print(number, flush=True)
    gc.collect()
    print("done", flush=True)
    await asyncio.to_thread(sys.stdin.readline)

async def main():
    for number in range(CHANNELS):
        sent = send_input(0, f"channel-{number}")
        if number % 1000 == 999:
            await sent
    await some(0, WARM)
    await some(WARM, ALL)

asyncio.run(main())
"""


class Kept(NamedTuple):
    """What there is while nothing is under way."""

    rss: int
    connections: int
    keys: int
    memory: int


def kept(client: redis.Redis, process: psutil.Process, keys: int, connections: int) -> Kept:
    """Once there are no more keys and connections than so many."""

    def connected() -> int:
        return sum(each["name"].startswith("flowchan") for each in client.client_list())

    def stored() -> int:
        # But for what each partition has one of: the mark that the process lives, and the list of runs.
        found = [key for key in client.scan_iter(count=1000) if b":@alive:" not in key and not key.endswith(b":@runs")]
        return len(found)

    eventually(lambda: stored() <= keys, "the end of what is kept", AWAY)
    eventually(lambda: connected() <= connections, "the end of connections that nobody uses", AWAY)
    info: Any = client.info("memory")
    return Kept(process.memory_info().rss, connected(), stored(), info["used_memory"])


def soaks(count: int, progress: Progress) -> Seen:
    """``count`` runs, each with a conversation and a group's work; every tenth pauses and is resumed."""
    warm = max(50, int(count * WARM))
    numbers = {"PACE": 60 / A_MINUTE, "WARM": warm, "ALL": warm + count, "CHANNELS": CHANNELS if count >= LONG else 0}
    program = PROGRAM
    for name, number in numbers.items():
        program = program.replace(name, str(number))
    with (
        own_server(retention=str(RETENTION), retention_after_end=str(RETENTION), lease=str(RETENTION)) as server,
        server.client() as client,
    ):
        with running(program) as child:
            process = psutil.Process(child.pid)
            until_done(child, lambda _: None)
            before = kept(client, process, 1, MOST)  # a key for what is known of the namespace
            tell(child)
            until_done(child, lambda number: progress(number - warm))
            after = kept(client, process, before.keys, before.connections)
            tell(child)
            assert child.wait(30) == 0
        progress(count)
    more = after.rss - before.rss
    counted = f"{count:,} runs in {count / A_MINUTE:.1f} minutes, after {warm:,}"
    result = (
        f"RSS {more / 2**20:+.1f} MiB, server {(after.memory - before.memory) / 2**20:+.1f} MiB, connections"
        f" {after.connections - before.connections:+d} ({before.connections}), keys {after.keys - before.keys:+d}"
    )
    if more > MORE or after.memory - before.memory > MORE or after.connections > before.connections:
        raise Broken(counted, result)
    return Seen(counted, result)


def until_done(child: subprocess.Popen[str], progress: Progress) -> None:
    """Until it says that all runs have ended."""
    assert child.stdout is not None
    for line in child.stdout:
        if line == "done\n":
            return
        progress(int(line))
    raise AssertionError(child.stderr.read() if child.stderr is not None else "it ended")


def tell(child: subprocess.Popen[str]) -> None:
    """Have it go on."""
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()


FAULTS = (
    Fault(
        "soak: 1,000 runs a minute",
        "memory, connections and keys return to where they began",
        100,
        4_000,
        soaks,
    ),
)
