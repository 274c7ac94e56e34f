"""The tables in the documentation, filled in from results: ``python -m benchmarks.page results.json docs``.

A page says where a table belongs, and keeps all around it::

    <!-- benchmarks: chat -->
    <!-- /benchmarks -->
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import scale
from benchmarks.report import Column, Target, markdown

_PLACE = re.compile(r"(<!-- benchmarks: (?P<what>[^>]+?) -->\n).*?(<!-- /benchmarks -->)", re.DOTALL)
_SMOKE = "*From a smoke test (`--quick`, on a machine that was not idle): it shows that the case works, no more.*\n\n"


def fill(results: Path, folder: Path) -> list[Path]:
    """Fill in what the results hold, in all pages of a folder; the pages that have changed."""
    document = json.loads(results.read_text())
    tables = _tables(document)

    def filled(place: re.Match[str]) -> str:
        table = tables.get(place["what"])
        return place[0] if table is None else f"{place[1]}\n{table}\n{place[3]}"

    changed: list[Path] = []
    for page in sorted(folder.glob("*.md")):
        before = page.read_text(encoding="utf-8")
        after = _PLACE.sub(filled, before)
        if after != before:
            page.write_text(after, encoding="utf-8")
            changed.append(page)
    return changed


def _tables(document: Mapping[str, Any]) -> dict[str, str]:
    note = _SMOKE if document["quick"] else ""
    tables: dict[str, str] = {}
    for case in document["cases"]:
        columns = [Column(*column) for column in case["columns"]]
        targets = [Target(**{name: value for name, value in each.items() if name != "met"}) for each in case["targets"]]
        title = case["title"][:1].upper() + case["title"][1:]
        tables[case["case"]] = f"{note}{title}.\n\n{markdown(columns, case['rows'], targets)}"
    if {"many", "idle: waiting", "idle: existing"} <= tables.keys():
        calculated = scale.table(document, scale.RUNS)
        costs = "".join(f"| {name} | {value} |\n" for name, value in scale.told(calculated).items())
        tables["scale costs"] = f"{note}| cost | measured |\n|---|---:|\n{costs}"
        tables["scale"] = note + markdown(calculated.columns, calculated.rows, ())
        widths = scale.table(document, (100_000,), (16, 40, 256))
        tables["scale widths"] = note + markdown(widths.columns, widths.rows, ())
    about = document["cases"][0]["environment"]
    tables["environment"] = f"{', '.join(f'{name} {value}' for name, value in about.items())}.\n"
    return tables


if __name__ == "__main__":
    print(*fill(Path(sys.argv[1]), Path(sys.argv[2])), sep="\n")
