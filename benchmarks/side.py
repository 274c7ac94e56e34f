"""The program of one of the two processes: does as many turns as each line of its input says, and tells how they went.

Also for a profiler: ``yes 10000 | head -3 | py-spy record … python -m benchmarks.side …``.
"""

from __future__ import annotations

import json
import pkgutil
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypedDict

from benchmarks.conversation import Place, Side
from benchmarks.loops import Loop


class Turns(TypedDict):
    """How some turns in a row went."""

    nanoseconds: list[int]
    """Each one's time on the clock."""
    cpu_seconds: float
    """What this process spent on all of them."""


def main(entry: str, loop: str, role: str, *place: str) -> None:
    kind = pkgutil.resolve_name(f"benchmarks.contenders.{entry}")
    Loop(loop).run(_serve(Loop(loop), kind(Place(*place)), role))


async def _serve(loop: Loop, side: Side, role: str) -> None:
    await side.open()
    turn = side.ask if role == "client" else side.answer
    _tell("ready")
    while order := await loop.aside(sys.stdin.readline):
        _tell(await _take(turn, int(order)))
    await side.close()


async def _take(turn: Callable[[], Awaitable[None]], count: int) -> Turns:
    nanoseconds: list[int] = []
    clock = time.perf_counter_ns
    cpu = time.process_time()
    for _ in range(count):
        begun = clock()
        await turn()
        nanoseconds.append(clock() - begun)
    return {"nanoseconds": nanoseconds, "cpu_seconds": time.process_time() - cpu}


def _tell(what: Any) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
