"""What a case found: a table and its targets on the terminal, all of it in a JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from benchmarks.figures import Ratio

Row = Mapping[str, "str | float"]
RESULTS = Path(__file__).parent / "results"

_WIDTH = 110


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

    @classmethod
    def of_ratio(cls, what: str, ratio: Ratio, at_most: float | None = None, aim: float | None = None) -> Self:
        return cls(what, ratio.median, at_most, aim, between=(ratio.low, ratio.high))

    def __str__(self) -> str:
        text = f"{self.what}: {self.reached:.3g}{self.unit and f' {self.unit}'}"
        if self.between is not None:
            text += f", half of all rounds {self.between[0]:.2f} to {self.between[1]:.2f}"
        if self.at_most is None:
            return text
        wanted = f"at most {self.at_most:g}" + (f", aim {self.aim:g}" if self.aim is not None else "")
        return f"{text} ({wanted}): {'met' if self.met else 'NOT met'}"

    @property
    def met(self) -> bool | None:
        """None where nothing was asked for."""
        return None if self.at_most is None else self.reached <= self.at_most


@dataclass(frozen=True)
class Report:
    """The outcome of one case."""

    case: str
    title: str
    parameters: Mapping[str, int | float]
    environment: Mapping[str, str]
    rows: Sequence[Row]
    targets: Sequence[Target]
    columns: Sequence[Column] = field(default=(), repr=False)

    def tell(self, out: Path | None) -> None:
        """Print it, and save it to ``out`` or else among the results."""
        console = _console()
        table = Table(title=self.title, title_justify="left")
        for column in self.columns:
            table.add_column(column.title, justify="right" if column.form else "left", no_wrap=True)
        for row in self.rows:
            table.add_row(*(_cell(row[column.field], column.form) for column in self.columns))
        console.print(table)
        for target in self.targets:
            console.print(f"  {target}", highlight=False)
        console.print("  " + ", ".join(f"{name} {value}" for name, value in self.environment.items()), style="dim")
        out = out or RESULTS / f"{self.case}.json"
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(self._as_json(), indent=2, ensure_ascii=False) + "\n")

    def _as_json(self) -> dict[str, object]:
        return {
            "case": self.case,
            "parameters": self.parameters,
            "environment": self.environment,
            "rows": self.rows,
            "targets": [{**asdict(target), "met": target.met} for target in self.targets],
        }


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
    console = Console()
    return console if console.is_terminal else Console(width=_WIDTH)


def _cell(value: str | float, form: str) -> str:
    return value if isinstance(value, str) else format(value, form)
