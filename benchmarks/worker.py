"""The program of a client process: does what each line of its input says, and tells how it went.

Also for a profiler: py-spy can attach to it while it works.
"""

from __future__ import annotations

import pkgutil
import resource
import sys

import psutil

from benchmarks.conversation import Place
from benchmarks.loops import Loop
from benchmarks.orders import obey


def main(entry: str, loop: str, *place: str) -> None:
    # A connection a receiver needs as many descriptors.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    kind = pkgutil.resolve_name(f"benchmarks.contenders.{entry}")
    Loop(loop).run(obey(kind(Place(*place)), Loop(loop).aside, lambda: psutil.Process().memory_info().rss))


if __name__ == "__main__":
    main(*sys.argv[1:])
