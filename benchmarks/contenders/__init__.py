"""Who is compared: each does the same work in its own way, in a process of its own."""

from __future__ import annotations

from typing import NamedTuple

from benchmarks.loops import Loop


class Contender(NamedTuple):
    """A way to do the work of a case."""

    name: str
    entry: str
    """Its class, as ``module:class`` in this package; made with a :class:`benchmarks.conversation.Place`."""
    loop: Loop
