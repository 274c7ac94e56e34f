"""Rounds: every contender once a round, in an order that changes, so that what disturbs one disturbs all."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Generic, TypeVar

from rich.progress import Progress, TaskID

from benchmarks import figures
from benchmarks.figures import Ratio

K = TypeVar("K", bound=Hashable)

Figures = Mapping[str, float]
"""What one contender reached in one round, by name."""


class Rounds(Generic[K]):
    """The figures of all contenders, a round each."""

    def __init__(self, contenders: Sequence[K]) -> None:
        self.of: dict[K, list[Figures]] = {contender: [] for contender in contenders}

    def values(self, contender: K, name: str) -> list[float]:
        return [figures_[name] for figures_ in self.of[contender]]

    def median(self, contender: K, name: str) -> float:
        return statistics.median(self.values(contender, name))

    def medians(self, contender: K) -> dict[str, float]:
        """The median of every figure over the rounds."""
        return {name: self.median(contender, name) for name in self.of[contender][0]}

    def ratio(self, name: str, ours: K, theirs: K) -> Ratio:
        """How many times theirs ours is, round by round."""
        return figures.ratio(self.values(ours, name), self.values(theirs, name))

    def __contains__(self, contender: K) -> bool:
        return contender in self.of


def alternate(
    contenders: Sequence[K], count: int, measure: Callable[[K], Figures], bar: Progress, task: TaskID
) -> Rounds[K]:
    """Measure each contender ``count`` times, in turn."""
    found = Rounds(contenders)
    order = list(contenders)
    for number in range(count):
        # Nobody always follows the same one; the seed has a rerun take the same order.
        random.Random(number).shuffle(order)
        for contender in order:
            found.of[contender].append(measure(contender))
            bar.advance(task)
    return found
