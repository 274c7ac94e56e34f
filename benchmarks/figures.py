"""From many times to a few figures."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple


def quantile(values: Iterable[float], part: float) -> float:
    """The smallest value that at least ``part`` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


class Ratio(NamedTuple):
    """The quartiles of a ratio over rounds: half of all rounds lie between the outer two."""

    low: float
    median: float
    high: float


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """How many times theirs ours is, round by round.

    What one round had in common (a busy neighbour, a slow clock) falls out of its ratio.
    """
    each = [our / their for our, their in zip(ours, theirs, strict=True)]
    return Ratio(quantile(each, 0.25), statistics.median(each), quantile(each, 0.75))
