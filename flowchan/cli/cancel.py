"""``flowchan cancel``: tell a run to stop."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from flowchan import bridge, sync
from flowchan.cli import terminal, told
from flowchan.cli.find import find
from flowchan.cli.options import Json
from flowchan.errors import FlowchanError
from flowchan.states import State


def cancel(
    run: str,
    /,
    *,
    wait: Annotated[float, Parameter(help="Seconds to wait until it has stopped.")] = 0.0,
    as_json: Json = False,
) -> None:
    """Tell a run to stop. One that waits is cancelled at once, one that runs stops where it can.

    RUN is the run's ID, the beginning of that, or its name. For example:

        flowchan cancel gregarious-owl --wait 10
    """
    terminal.prepare()
    known = bridge.call(lambda broker: find(broker, run))
    state: State | None = sync.cancel_flow_run(known.id)
    if wait > 0:
        try:
            state = sync.wait_for_flow_run(known.id, timeout=wait).state
        except TimeoutError:
            raise FlowchanError(f"{known.name} was told to stop, and has not within {wait:g} s.") from None
    assert state is not None  # noqa: S101 - it was read
    if as_json:
        print(told.line({"id": str(known.id), "name": known.name, "state": state.type.value}))
    else:
        print(f"{known.name} is {state.name.lower()}.")
