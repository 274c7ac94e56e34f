"""The long form of the fault suite: ``python -m tests.faults``; one fault after the other."""

from __future__ import annotations

import json
import os
import platform
import shlex
import signal
import sys
import time
import traceback
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import cyclopts
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from flowchan import __version__
from tests.faults.catalogue import FAULTS
from tests.faults.fault import Broken, Fault, Seen
from tests.faults.table import PAGE, Row, filled
from tests.support.server import Server

app = cyclopts.App(name="python -m tests.faults", help="What is promised, under each fault.", version_flags=[])


@dataclass(frozen=True)
class _Options:
    only: tuple[str, ...] = ()
    quick: bool = False


@app.default
def main(
    *,
    only: tuple[str, ...] = (),
    quick: bool = False,
    list_: bool = False,
    out: Path | None = None,
    write: bool = False,
) -> None:
    """Run faults, print what came of each; ends with 1 if a promise was not kept.

    Parameters
    ----------
    only
        The name of a fault; may be given more than once. Without it: all.
    quick
        As often as the tests do: minutes for all, not half an hour.
    list_
        Say which there are, and how often each is done.
    out
        A JSON file to write.
    write
        Fill in the table of docs/delivery.md.
    """
    if list_:
        for fault in FAULTS:
            print(f"{fault.name}: {fault.full:,} ({fault.quick:,}); {fault.must_hold}")  # noqa: T201
        return
    unknown = set(only) - {fault.name for fault in FAULTS}
    if unknown:
        raise SystemExit(f"There is no fault {unknown.pop()!r}; --list says which there are.")
    options = _Options(only, quick)
    about = _about()
    rows: dict[str, Row] = {}
    for fault in FAULTS:
        if only and fault.name not in only:
            continue
        rows[fault.name] = row = _row(fault, fault.quick if quick else fault.full)
        print(f"{'held' if row.held else 'NOT HELD'}: {row.fault}: {'; '.join(row.seen)} ({row.seconds:.0f} s)")  # noqa: T201
        # After each, so that an interrupted run leaves what it has.
        if out is not None:
            document = {"about": about, **asdict(options), "rows": [_json(each) for each in rows.values()]}
            out.write_text(json.dumps(document, indent=1) + "\n")
        if write:
            text = filled(PAGE.read_text(encoding="utf-8"), FAULTS, rows, _sentence(about, options))
            PAGE.write_text(text, encoding="utf-8")
    if not all(row.held for row in rows.values()):
        raise SystemExit(1)


def _row(fault: Fault, count: int) -> Row:
    console = Console(stderr=True)
    bar = Progress(
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    start = time.monotonic()
    held = False
    with bar:
        task = bar.add_task(fault.name, total=count)
        try:
            seen = fault.run(count, lambda done: bar.update(task, completed=done))
            held = True
        except Exception as raised:  # noqa: BLE001 - a fault that cannot even be run to its end has not shown its promise
            error = _first(raised)
            if isinstance(error, Broken):
                seen = error.seen
            else:
                traceback.print_exc()
                seen = Seen(f"{count:,}", f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}")
    return Row(fault.name, held, seen, time.monotonic() - start)


def _first(error: BaseException) -> BaseException:
    """What went wrong first, where it came out of a group of tasks."""
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def _json(row: Row) -> dict[str, object]:
    return {"fault": row.fault, "held": row.held, **row.seen._asdict(), "seconds": round(row.seconds, 1)}


def _about() -> dict[str, str]:
    """What it ran on; nothing that tells whose machine it was."""
    server = Server(append_only=False)
    try:
        with server.start().client() as client:
            info = client.info("server")
    finally:
        server.close()
    name = "Valkey" if "valkey_version" in info else "Redis"
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "flowchan": __version__,
        "server": f"{name} {info.get('valkey_version', info['redis_version'])}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "cores": str(os.cpu_count()),
    }


def _sentence(about: dict[str, str], options: _Options) -> str:
    command = "python -m tests.faults --write"
    command += "".join(f" --only {shlex.quote(name)}" for name in options.only)
    form = "; the quick form, which shows less" if options.quick else ""
    command += " --quick" if options.quick else ""
    return (
        f"Seen on {about['date']} with {about['server']}, flowchan {about['flowchan']}, {about['python']} and"
        f" {about['cores']} cores, by `{command}`{form}."
    )


if __name__ == "__main__":
    # As Ctrl-C does, so that servers end with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    app()
