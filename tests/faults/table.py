"""The table in ``docs/delivery.md``, between ``<!-- faults -->`` and ``<!-- /faults -->``; all around it is kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.faults.fault import Fault, Seen

PAGE = Path(__file__).parents[2] / "docs" / "delivery.md"
_PLACE = re.compile(r"(<!-- faults -->\n)(.*?)(<!-- /faults -->)", re.DOTALL)
_HEAD = "| fault | must hold | counted | result | seconds |\n|---|---|---|---|---:|\n"
_NOT_RUN = "not run"
_MIXED = "The rows are of more than one run.\n"


class Row(NamedTuple):
    """What came of one fault."""

    fault: str
    held: bool
    seen: Seen
    seconds: float

    def cells(self) -> tuple[str, str, str]:
        """Counted, result, seconds."""
        result = self.seen.result if self.held else f"**NOT HELD**: {self.seen.result}"
        return _cell(self.seen.counted), _cell(result), f"{self.seconds:,.0f}"


def filled(page: str, faults: Iterable[Fault], rows: Mapping[str, Row], about: str) -> str:
    """The page with these rows; a row of a fault that was not run stays as it is.

    Args:
        page: its text.
        faults: all there are, in the table's order.
        rows: those that were run, by the fault's name.
        about: when, with what and by which command.
    """
    place = _PLACE.search(page)
    assert place is not None, "the page has no place for the table"
    before = {cells[0]: cells[2:] for cells in cells_of(place[2])}
    lines: list[str] = []
    kept = False
    for fault in faults:
        name = _cell(fault.name)
        if fault.name in rows:
            told: Iterable[str] = rows[fault.name].cells()
        else:
            told = before.get(name, (_NOT_RUN, "", ""))
            kept |= name in before
        lines.append(f"| {' | '.join((name, _cell(fault.must_hold), *told))} |\n")
    note = _MIXED if kept else ""
    return page[: place.end(1)] + f"\n{about}\n{note}\n{_HEAD}{''.join(lines)}\n" + page[place.start(3) :]


def cells_of(text: str) -> list[tuple[str, ...]]:
    """The cells of the rows that a page, or a table, has, without those of its head."""
    place = _PLACE.search(text)
    text = text if place is None else place[2]
    rows = [tuple(line.strip("| ").split(" | ")) for line in text.splitlines() if line.startswith("| ")]
    return [row for row in rows if row[0] != "fault"]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "¦")
