"""The end of an event loop, orderly or not: all is freed, nobody is warned, nothing is lost in silence."""

from __future__ import annotations

import importlib.util

import pytest

from tests.support import programs
from tests.support.streams import CHANNEL, Streams
from tests.support.waiting import eventually

LOOPS = ["asyncio.new_event_loop"] + (["uvloop.new_event_loop"] if importlib.util.find_spec("uvloop") else [])

START = f"""
import asyncio, gc, logging, sys, time
from flowchan import receive_input, send_input

logging.getLogger("asyncio").setLevel(logging.ERROR)  # in debug mode it warns of what is slow

def receiver(run="r", **options):
    return receive_input(int, flow_run_id=run, key_prefix={CHANNEL!r}, **options)

def send(value, run="r"):
    return send_input(value, run, key_prefix={CHANNEL!r})

async def sent(value, run="r"):
    await send(value, run)

async def first(receiver):
    return await receiver.next()

async def waiting(receiver):
    task = asyncio.get_running_loop().create_task(receiver.next())
    while not (receiver._bound and receiver._bound[1]._sources[0].tap and receiver._bound[1]._sources[0].tap.ready):
        await asyncio.sleep(0.001)
    return task
"""

ORDERLY = """
async def main():
    global kept, task
    kept = [receiver(f"r{i}") for i in range(100)]
    await sent(1, "r0")
    assert await kept[0].next() == 1
    for each in kept:
        task = await waiting(each)
    send(2, "r0")

with asyncio.Runner(loop_factory=LOOP, debug=DEBUG) as runner:
    runner.run(main())
print("done")
"""

BARE = """
loop = LOOP()
loop.set_debug(DEBUG)
kept = [receiver(f"r{i}") for i in range(3)]
for i, each in enumerate(kept):
    loop.run_until_complete(sent(i, f"r{i}"))
    assert loop.run_until_complete(first(each)) == i

async def look():
    task = await waiting(kept[0])
    task.cancel()
    await asyncio.wait([task])

loop.run_until_complete(look())
loop.close()
print("done")
"""

BARE_AND_COLLECTED = f"""{BARE}
del kept, each, loop
gc.collect()
print("collected")
"""

BARE_AND_ANOTHER = f"""{BARE}
loop = LOOP()
loop.run_until_complete(sent(10, "r0"))
assert loop.run_until_complete(first(kept[0])) == 10
loop.run_until_complete(loop.shutdown_asyncgens())
loop.close()
print("another")
"""

AT_ONCE = """
loop = LOOP()
loop.set_debug(DEBUG)
kept = receiver(timeout=0.001)
try:
    loop.run_until_complete(first(kept))
except TimeoutError:
    print("done")
loop.close()
time.sleep(0.2)  # the connection is there by now
"""

FROM_SYNC = """
kept = [receiver(f"r{i}", timeout=5) for i in range(3)]
for i, each in enumerate(kept):
    send(i, f"r{i}")
    assert each.next() == i
try:
    receiver("r0", timeout=0.05, after=send(1, "r0").key).next()
except TimeoutError:
    print("done")
"""

IN_A_THREAD = """
import threading

kept = []

async def main():
    mine = receiver()
    kept.append(mine)
    await sent(1)
    assert await mine.next() == 1
    await waiting(receiver("other"))

def run():
    with asyncio.Runner(loop_factory=LOOP, debug=DEBUG) as runner:
        runner.run(main())

threads = [threading.Thread(target=run) for _ in range(3)]
for each in threads:
    each.start()
for each in threads:
    each.join()
print("done")
"""

FAILED = """
async def main():
    global kept
    kept = receiver()
    await waiting(kept)
    raise SystemExit

with asyncio.Runner(loop_factory=LOOP, debug=DEBUG) as runner:
    try:
        runner.run(main())
    except SystemExit:
        print("done")
"""

INTERRUPTED = """
import os, signal

async def main():
    global kept
    kept = receiver()
    await waiting(kept)
    os.kill(os.getpid(), signal.SIGINT)
    await kept.next()

with asyncio.Runner(loop_factory=LOOP, debug=DEBUG) as runner:
    try:
        runner.run(main())
    except KeyboardInterrupt:
        print("done")
"""

PROGRAMS = {
    "orderly": ORDERLY,
    "bare": BARE,
    "bare and collected": BARE_AND_COLLECTED,
    "bare and another": BARE_AND_ANOTHER,
    "at once": AT_ONCE,
    "from sync": FROM_SYNC,
    "in a thread": IN_A_THREAD,
    "failed": FAILED,
    "interrupted": INTERRUPTED,
}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_nothing_is_said_at_the_end_even_where_every_warning_is_an_error(
    name: str, loop: str, streams: Streams
) -> None:
    text = f"{START}\n{'import uvloop' if 'uvloop' in loop else ''}\nLOOP, DEBUG = {loop}, True\n{PROGRAMS[name]}"
    assert "done" in programs.run(text, "-X", "dev", "-W", "error")
    if "bare" not in name and name != "at once":
        eventually(lambda: not streams.groups(), "the end of the groups", 5)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_send_that_its_loop_left_behind_is_not_lost_in_silence(loop: str) -> None:
    text = f"""{START}
{"import uvloop" if "uvloop" in loop else ""}
logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")

async def main():
    send(1, "run-1")

loop = {loop}()
loop.run_until_complete(main())
loop.close()
"""
    said = programs.run(text)
    assert "ERROR" in said
    assert "run-1" in said
