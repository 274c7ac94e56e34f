"""``flowchan run``: have a deployment's flow executed."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

from cyclopts import Parameter

from flowchan import sync
from flowchan.cli import terminal, told
from flowchan.cli.options import Json
from flowchan.errors import FlowchanError
from flowchan.states import result


def run(
    deployment: str,
    /,
    *,
    parameter: Annotated[
        tuple[str, ...],
        Parameter(
            name=["--parameter", "-p"],
            negative="",
            show_default=False,
            help="NAME=VALUE; VALUE is JSON, or else a text.",
        ),
    ] = (),
    name: Annotated[str | None, Parameter(help="A name for the run.")] = None,
    tag: Annotated[
        tuple[str, ...],
        Parameter(name=["--tag", "-t"], negative="", show_default=False, help="Tag the run; may be repeated."),
    ] = (),
    wait: Annotated[
        bool, Parameter(name=["--wait", "-w"], negative="", show_default=False, help="Wait until it has ended.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Ask a deployment's servers to execute its flow, and print the run's ID.

    DEPLOYMENT is flow/name, as its server says. With --wait, the exit code is 0 if the run was completed, else 1. For
    example:

        flowchan run greeter/send-receive -p name=andrew -p count=3
    """
    terminal.prepare()
    parameters = dict(map(_parameter, parameter))
    flow_run = sync.run_deployment(
        deployment, parameters=parameters, flow_run_name=name, tags=tag, timeout=None if wait else 0, as_subflow=False
    )
    state = flow_run.state
    if as_json:
        print(told.line(told.as_dict(flow_run)))
    elif wait and state is not None:
        print(f"{flow_run.name} is {told.state_name(state)}{f': {state.message}' if state.message else ''}")
        if state.is_completed() and (value := result(state)) is not None:
            print(value)
    else:
        print(flow_run.id)
    if wait and (state is None or not state.is_completed()):
        sys.exit(1)


def _parameter(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise FlowchanError(f"{text!r} is no parameter: give NAME=VALUE.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
