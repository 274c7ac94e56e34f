"""How long something took, each of several times: as a row of a report."""

from __future__ import annotations

import statistics

from benchmarks.report import Column, Row

COLUMNS = (
    Column("what", "what"),
    Column("median_ms", "median ms", ".1f"),
    Column("slowest_ms", "slowest ms", ".1f"),
    Column("times", "times", "d"),
)


def row(what: str, milliseconds: list[float]) -> Row:
    return {
        "what": what,
        "median_ms": statistics.median(milliseconds),
        "slowest_ms": max(milliseconds),
        "times": len(milliseconds),
    }
