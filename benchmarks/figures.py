"""From many times to a few figures."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_POINTS = 200


def quantile(values: Iterable[float], part: float) -> float:
    """The smallest value that at least ``part`` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def distribution(values: Iterable[float]) -> list[float]:
    """A few hundred quantiles, evenly spaced, from the least value to the greatest: enough to draw them all."""
    ordered = sorted(values)
    return [round(ordered[(len(ordered) - 1) * point // _POINTS], 1) for point in range(_POINTS + 1)]


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
