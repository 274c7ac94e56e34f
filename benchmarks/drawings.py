"""Drawings of what was measured, as SVG: ``python -m benchmarks.drawings results.json docs``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

mpl.rcParams.update(
    {
        "svg.fonttype": "none",  # text stays text: small, and it can be searched
        "svg.hashsalt": "flowchan",  # the same data give the same file
        "font.size": 9,
        "axes.grid": True,
        "grid.alpha": 0.3,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
)

_COLOURS = {
    "flowchan": "#1565c0",
    "redis-py": "#c62828",
    "bare": "#ef6c00",
    "hiredis": "#2e7d32",
    "blocking": "#757575",
}
_VARIANTS = ("flowchan, RunInput", "flowchan, sends not awaited", "redis-py asyncio, defaults")
Row = Mapping[str, Any]


def draw(results: Path, folder: Path) -> list[Path]:
    """Draw each case that is among the results and that there is a drawing for; the files."""
    document = json.loads(results.read_text())
    cases = {case["case"]: case for case in document["cases"]}
    drawn: list[Path] = []
    for name, case, make in (
        ("latency.svg", "chat", _latency),
        ("many.svg", "many", _many),
        ("history.svg", "history: excluded", _history),
    ):
        if case in cases:
            figure = make(cases[case]["rows"])
            if document["quick"]:
                figure.suptitle("smoke test (--quick): too few to believe", fontsize=8, color="#c62828")
            folder.mkdir(parents=True, exist_ok=True)
            figure.savefig(folder / name, format="svg", metadata={"Date": None}, bbox_inches="tight")
            drawn.append(folder / name)
    return drawn


def _latency(rows: Sequence[Row]) -> Figure:
    """Which part of all round trips took at most so long."""
    figure = Figure(figsize=(7, 3.6))
    axes = figure.subplots()
    for row in rows:
        times = row["distribution_us"]
        parts = [100 * point / (len(times) - 1) for point in range(len(times))]
        axes.plot(times, parts, label=f"{row['contender']}, {row['loop']}", **_style(row["contender"], row["loop"]))
    axes.set_xscale("log")
    axes.set_xlim(left=min(row["distribution_us"][0] for row in rows), right=_right(rows))
    axes.set_xlabel("round trip, µs")
    axes.set_ylabel("% of round trips that took at most this")
    axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _right(rows: Sequence[Row]) -> float:
    # The slowest few are the neighbours' doing, and would squeeze all that matters.
    return 2 * max(row["distribution_us"][-3] for row in rows)


def _many(rows: Sequence[Row]) -> Figure:
    """Throughput and p99 over the number of runs."""
    figure = Figure(figsize=(9, 3.6))
    left, right = figure.subplots(1, 2)
    for contender, loop, found in _lines(row for row in rows if "p99_ms" in row):
        runs = [row["runs"] for row in found]
        style = _style(contender, loop)
        left.plot(
            runs,
            [row["trips_per_second"] for row in found],
            marker="o",
            markersize=3,
            label=f"{contender}, {loop}",
            **style,
        )
        right.plot(runs, [row["p99_ms"] for row in found], marker="o", markersize=3, **style)
    _finish(left, "runs at once", "round trips/s", log_y=False)
    _finish(right, "runs at once", "p99, ms", log_y=True)
    left.legend(fontsize=7, frameon=False)
    return figure


def _history(rows: Sequence[Row]) -> Figure:
    """What the first new message costs over the length of the history."""
    figure = Figure(figsize=(9, 3.6))
    left, right = figure.subplots(1, 2)
    for contender, loop, found in _lines(rows):
        lengths = [row["excluded"] for row in found]
        style = _style(contender, loop)
        left.plot(lengths, [row["first_ms"] for row in found], marker="o", markersize=3, label=contender, **style)
        right.plot(lengths, [row["kib"] for row in found], marker="o", markersize=3, **style)
    for axes, what in ((left, "first new message, ms"), (right, "KiB read")):
        axes.set_xscale("symlog", linthresh=1000)
        axes.set_yscale("log")
        axes.set_xlabel("excluded messages")
        axes.set_ylabel(what)
    left.legend(fontsize=7, frameon=False)
    return figure


def _lines(rows: Iterable[Row]) -> list[tuple[str, str, list[Row]]]:
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row["contender"], row.get("loop", "")), []).append(row)
    return [(contender, loop, line) for (contender, loop), line in found.items()]


def _style(contender: str, loop: str) -> dict[str, Any]:
    name = "hiredis" if "hiredis" in contender else next(each for each in _COLOURS if contender.startswith(each))
    return {
        "color": _COLOURS[name],
        "linestyle": "--" if loop == "asyncio" else ":" if contender in _VARIANTS else "-",
        "linewidth": 1.4,
    }


def _finish(axes: Axes, x: str, y: str, *, log_y: bool) -> None:
    axes.set_xscale("log")
    if log_y:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlabel(x)
    axes.set_ylabel(y)


if __name__ == "__main__":
    print(*draw(Path(sys.argv[1]), Path(sys.argv[2])), sep="\n")
