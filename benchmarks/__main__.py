"""The command: ``python -m benchmarks [case …]``; without a case, all of them."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import cyclopts

from benchmarks.cases import bulk, chat, deployments, fan, history, idle, large, many, peers, spread, startup, sync
from benchmarks.report import RESULTS, Report, save

CASES: dict[str, Callable[..., list[Report]]] = {
    "chat": chat.run,
    "many": many.run,
    "idle": idle.run,
    "bulk": bulk.run,
    "history": history.run,
    "fan": fan.run,
    "large": large.run,
    "sync": sync.run,
    "spread": spread.run,
    "startup": startup.run,
    "deployments": deployments.run,
    "peers": peers.run,
}

app = cyclopts.App(
    name="python -m benchmarks",
    help="What flowchan costs, next to what a user would write instead.",
    version_flags=[],
)


@app.default
def main(*cases: str, quick: bool = False, out: Path = RESULTS / "all.json", plots: Path | None = None) -> None:
    """Run cases: chat, many, idle, bulk, history, fan, large, sync, spread, startup, deployments,
    peers; without any, all.

    Parameters
    ----------
    cases
        Which ones.
    quick
        Fewer and shorter rounds, about a minute in all: enough to see that it works, too few to believe.
    out
        The JSON file to write.
    plots
        A folder in which to draw what was measured, and to fill in the tables of its pages: docs.
    """
    unknown = [case for case in cases if case not in CASES]
    if unknown:
        raise SystemExit(f"There is no case {unknown[0]!r}. There are: {', '.join(CASES)}.")
    found: list[Report] = []
    failed: list[str] = []
    for case in cases or CASES:
        try:
            reports = CASES[case](quick=quick)
        except Exception:  # noqa: BLE001 - the others are worth having
            traceback.print_exc()
            failed.append(case)
            continue
        for report in reports:
            report.show()
            found.append(report)
        # After each, so that an interrupted run leaves what it has.
        save(out, {"format": 1, "quick": quick, "cases": [each.as_json() for each in found]})
    if plots is not None and found:
        from benchmarks import drawings, page  # noqa: PLC0415 - matplotlib takes a second

        drawings.draw(out, plots)
        page.fill(out, plots)
    if failed:
        raise SystemExit(f"Not measured, because of an error: {', '.join(failed)}.")


if __name__ == "__main__":
    # As Ctrl-C does, so that servers and clients end with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    app()
