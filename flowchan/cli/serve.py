"""``flowchan serve``: execute what a deployment is asked for."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from flowchan.cli import terminal
from flowchan.errors import FlowchanError
from flowchan.flows import Flow


def serve(
    place: Annotated[str, Parameter(name="MODULE:FLOW")],
    /,
    *,
    name: Annotated[str | None, Parameter(help="The deployment's name; by default the flow's.")] = None,
    limit: Annotated[int | None, Parameter(help="How many runs at once, at most.")] = None,
) -> None:
    """Serve a flow: execute the runs that its deployment is asked for, each in a process of its own, until Ctrl-C.

    MODULE:FLOW is a module and a flow in it, or a file: shop.orders:order, or orders.py:order. Any number of servers,
    on any machines, may serve one name. For example:

        flowchan serve shop.orders:order --name nightly --limit 4
    """
    terminal.prepare()
    flow(place).serve(name=name, limit=limit)


def flow(place: str) -> Flow[..., Any]:
    """The flow of a module or a file.

    Raises:
        FlowchanError: there is none; says what there is.
    """
    module, _, attribute = place.rpartition(":")
    if not module or not attribute:
        raise FlowchanError(f"{place!r} names no flow: give MODULE:FLOW, such as shop.orders:order or orders.py:order.")
    try:
        if module.endswith(".py"):
            path = Path(module).resolve()
            if not path.is_file():
                raise FlowchanError(f"There is no file {module}.")
            sys.path.insert(0, str(path.parent))
            loaded = importlib.import_module(path.stem)
        else:
            sys.path.insert(0, str(Path.cwd()))
            loaded = importlib.import_module(module)
    except FlowchanError:
        raise
    except Exception as error:
        raise FlowchanError(f"{module} cannot be imported: {type(error).__name__}: {error}.") from error
    found: Any = loaded
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, Flow):
        known = ", ".join(name for name, value in vars(loaded).items() if isinstance(value, Flow)) or "none"
        raise FlowchanError(f"{module} has no flow {attribute!r}. Its flows: {known}.")
    return found
