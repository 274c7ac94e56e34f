"""From many times to a few figures."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence


def quantile(values: Iterable[float], part: float) -> float:
    """The smallest value that at least ``part`` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """How many times theirs ours is: the median over rounds of each round's ratio.

    What one round had in common (a busy neighbour, a slow clock) falls out of its ratio.
    """
    return statistics.median(our / their for our, their in zip(ours, theirs, strict=True))
