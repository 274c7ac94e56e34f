"""How a client process is told what to do: orders by line on its input, an answer by line on its output.

The standard library only: a peer's process runs this in an environment in which there is nothing of ours.
"""

from __future__ import annotations

import inspect
import json
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any


async def obey(
    contender: Any, aside: Callable[[Callable[[], str]], Awaitable[str]], weigh: Callable[[], int] = lambda: 0
) -> None:
    """Call the methods of a contender that the lines name, until there are no more.

    ``aside`` has something done that blocks; ``weigh`` tells how many bytes the process holds.
    """
    # Those who print meanwhile do not print into the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    while line := await aside(sys.stdin.readline):
        order = json.loads(line)
        done = await _done(getattr(contender, order["do"]), order["times"], order["with"])
        print(json.dumps({**done, "rss": weigh()}), file=answers, flush=True)
    if hasattr(contender, "close"):
        await contender.close()


def blocking(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end what waits for nothing but by blocking."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise RuntimeError("Synchronous code waited for an event loop.")


async def at_once(do: Callable[[], str]) -> str:
    """Have something done here and now: the ``aside`` of those who have no event loop."""
    return do()


async def _done(do: Any, times: int | None, arguments: dict[str, Any]) -> dict[str, Any]:
    nanoseconds: list[int] = []
    result: Any = None
    clock = time.perf_counter_ns
    cpu = time.process_time()
    if times is None:
        result = do(**arguments)
        if inspect.isawaitable(result):
            result = await result
    else:
        for _ in range(times):
            begun = clock()
            await do()
            nanoseconds.append(clock() - begun)
    return {"result": result, "cpu_seconds": time.process_time() - cpu, "nanoseconds": nanoseconds}
