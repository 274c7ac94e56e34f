"""What a case found: a table and its targets on the terminal, and the same as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from benchmarks.figures import Ratio

Row = Mapping[str, Any]
RESULTS = Path(__file__).parent / "results"

_WIDTH = 120


class Column(NamedTuple):
    """A column of the table: a row's field, its title, and how its numbers are written."""

    field: str
    title: str
    form: str = ""


@dataclass(frozen=True)
class Target:
    """A figure that was aimed at. It is told whether it was met, and nothing fails if it was not."""

    what: str
    reached: float
    at_most: float | None = None
    aim: float | None = None
    unit: str = ""
    between: tuple[float, float] | None = None
    """Where half of all rounds were, if it is a ratio."""
    at_least: float | None = None

    @classmethod
    def of_ratio(
        cls,
        what: str,
        ratio: Ratio,
        at_most: float | None = None,
        aim: float | None = None,
        at_least: float | None = None,
    ) -> Self:
        return cls(what, ratio.median, at_most, aim, "×", (ratio.low, ratio.high), at_least)

    @property
    def met(self) -> bool | None:
        """None where nothing was asked for."""
        if self.at_most is None and self.at_least is None:
            return None
        return (self.at_most is None or self.reached <= self.at_most) and (
            self.at_least is None or self.reached >= self.at_least
        )

    def cells(self) -> tuple[str, str, str, str, str]:
        """What, reached, half of all rounds, wanted, whether it was met."""
        between = "" if self.between is None else f"{_short(self.between[0])} to {_short(self.between[1])}"
        wanted = [f"≤ {_short(self.at_most)}"] if self.at_most is not None else []
        wanted += [f"≥ {_short(self.at_least)}"] if self.at_least is not None else []
        wanted += [f"aim {_short(self.aim)}"] if self.aim is not None else []
        met = {None: "", True: "met", False: "NOT met"}[self.met]
        return self.what, f"{_short(self.reached)} {self.unit}".strip(), between, ", ".join(wanted), met


@dataclass(frozen=True)
class Report:
    """The outcome of one case, or of a part of one."""

    case: str
    title: str
    parameters: Mapping[str, Any]
    environment: Mapping[str, str]
    rows: Sequence[Row]
    targets: Sequence[Target]
    columns: Sequence[Column] = field(default=(), repr=False)

    def show(self) -> None:
        """Print the table, and the targets beside what was reached."""
        console = _console()
        console.print(_table(self.title, self.columns, self.rows))
        if self.targets:
            table = Table("", "reached", "half of all rounds", "target", "", title_justify="left")
            for target in self.targets:
                cells = target.cells()
                table.add_row(*cells, style="bold" if target.met is False else "")
            console.print(table)
        console.print("  " + ", ".join(f"{name} {value}" for name, value in self.environment.items()), style="dim")
        console.print()

    def tell(self, out: Path | None = None) -> None:
        """Print it, and save it by itself: to ``out``, or else among the results."""
        self.show()
        save(out or RESULTS / f"{self.case}.json", self.as_json())

    def as_json(self) -> dict[str, Any]:
        return {
            "case": self.case,
            "title": self.title,
            "parameters": self.parameters,
            "environment": self.environment,
            "columns": self.columns,
            "rows": self.rows,
            "targets": [{**asdict(target), "met": target.met} for target in self.targets],
        }


def markdown(columns: Sequence[Column], rows: Sequence[Row], targets: Sequence[Target]) -> str:
    """The tables of a report, as a page of the documentation has them."""
    lines = [
        "| " + " | ".join(column.title for column in columns) + " |",
        "|" + "|".join("---:" if column.form else "---" for column in columns) + "|",
        *("| " + " | ".join(_cells(columns, row)) + " |" for row in rows),
    ]
    if targets:
        lines += ["", "| target | reached | half of all rounds | wanted | |", "|---|---:|---|---|---|"]
        lines += ["| " + " | ".join(target.cells()) + " |" for target in targets]
    return "\n".join(lines) + "\n"


def save(out: Path, document: Mapping[str, Any]) -> None:
    """Write JSON to a file, whose folder need not exist."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def progress() -> Progress:
    """A bar on a terminal; nothing elsewhere."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(width=_WIDTH, highlight=False)


def _table(title: str, columns: Sequence[Column], rows: Sequence[Row]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column.title, justify="right" if column.form else "left", no_wrap=not column.form)
    for row in rows:
        table.add_row(*_cells(columns, row))
    return table


def _cells(columns: Sequence[Column], row: Row) -> list[str]:
    return [_cell(row.get(column.field), column.form) for column in columns]


def _cell(value: str | float | None, form: str) -> str:
    if value is None:
        return "–"  # noqa: RUF001 - a dash, as tables have it
    return value if isinstance(value, str) else format(value, form)


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
