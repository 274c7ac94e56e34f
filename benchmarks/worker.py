"""The program of a client process: does what each line of its input says, and tells how it went.

Also for a profiler: py-spy can attach to it while it works.
"""

from __future__ import annotations

import inspect
import json
import pkgutil
import resource
import sys
import time
from typing import Any

import psutil

from benchmarks.conversation import Place
from benchmarks.loops import Loop


def main(entry: str, loop: str, *place: str) -> None:
    # A connection a receiver needs as many descriptors.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    kind = pkgutil.resolve_name(f"benchmarks.contenders.{entry}")
    Loop(loop).run(_serve(Loop(loop), kind(Place(*place))))


async def _serve(loop: Loop, contender: Any) -> None:
    while line := await loop.aside(sys.stdin.readline):
        order = json.loads(line)
        print(json.dumps(await _done(getattr(contender, order["do"]), order["times"], order["with"])), flush=True)
    if hasattr(contender, "close"):
        await contender.close()


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
    return {
        "result": result,
        "cpu_seconds": time.process_time() - cpu,
        "rss": psutil.Process().memory_info().rss,
        "nanoseconds": nanoseconds,
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
