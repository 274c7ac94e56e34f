"""``flowchan runs``: which runs there are, and what they do."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flowchan import bridge
from flowchan.cli import terminal, told
from flowchan.cli.options import Json
from flowchan.errors import FlowchanError
from flowchan.run import FlowRun
from flowchan.runs import reaper
from flowchan.states import StateType

if TYPE_CHECKING:
    from rich.table import Table

_PAUSE = 0.5
_WIDE = 120
_UNCUT = 400


def runs(
    *,
    state: Annotated[
        tuple[str, ...],
        Parameter(negative="", show_default=False, help="Only runs in this state; may be given more than once."),
    ] = (),
    flow: Annotated[str | None, Parameter(help="Only runs of this flow.")] = None,
    limit: Annotated[int, Parameter(help="How many at most, newest first.")] = 20,
    watch: Annotated[
        bool,
        Parameter(name=["--watch", "-w"], negative="", show_default=False, help="Keep showing them, until Ctrl-C."),
    ] = False,
    as_json: Json = False,
) -> None:
    """List the newest runs: name, flow, state, since when, and what they wait for.

    Those that wait for somebody, for example, as IDs:

        flowchan runs --state paused --state suspended --json | jq -r .id
    """
    terminal.prepare()
    kinds = _kinds(state)

    def read() -> list[FlowRun]:
        return bridge.call(lambda broker: reaper.newest(broker, limit, kinds, flow))

    if as_json:
        for run in read():
            print(told.line(told.as_dict(run)), flush=True)
        return
    console = terminal.output()
    if watch and console.is_terminal:
        from rich.live import Live  # noqa: PLC0415 - for people only

        with Live(table(read(), console.width), console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(table(read(), console.width), refresh=True)
                time.sleep(_PAUSE)
    found = read()
    if found:
        if not console.is_terminal:
            console.width = _UNCUT  # a program that reads it wants no column cut
        console.print(table(found, console.width), soft_wrap=False)
    else:
        print("There are no such runs." if kinds or flow else "There are no runs yet.")


def table(found: list[FlowRun], width: int) -> Table:
    """Runs as a table; where there is room, with their IDs."""
    from rich.table import Table  # noqa: PLC0415 - for people only
    from rich.text import Text  # noqa: PLC0415

    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("name", "flow", "state", "since", "waits for"):
        shown.add_column(heading, overflow="ellipsis", no_wrap=True)
    if width >= _WIDE:
        shown.add_column("id", style="dim", no_wrap=True)
    for run in found:
        state = run.state
        shown.add_row(
            run.name,
            run.flow_name or "",
            Text(told.state_name(state), style=told.COLOURS[state.type]) if state else "",
            told.ago(state.timestamp) if state else "",
            run.waiting_for or "",
            *([str(run.id)] if width >= _WIDE else []),
        )
    return shown


def _kinds(names: tuple[str, ...]) -> frozenset[StateType] | None:
    if not names:
        return None
    try:
        return frozenset(StateType(name.upper()) for name in names)
    except ValueError as error:
        known = ", ".join(kind.value.lower() for kind in StateType)
        raise FlowchanError(f"{error}: a run is {known}.") from None
