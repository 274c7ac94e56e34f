"""The command: ``python -m benchmarks [case]``; without a case, all of them."""

from __future__ import annotations

import cyclopts

from benchmarks import latency, startup

app = cyclopts.App(
    name="python -m benchmarks",
    help="What flowchan costs, next to what a user would write instead. Without a command: all cases.",
    version_flags=[],
)
app.command(latency.run, name="latency")
app.command(startup.run, name="startup")


@app.default
def everything(*, quick: bool = False) -> None:
    """Run all cases.

    Parameters
    ----------
    quick
        Fewer and shorter rounds: enough to see that all of it works.
    """
    for case in (latency.run, startup.run):
        case(quick=quick)


if __name__ == "__main__":
    app()
