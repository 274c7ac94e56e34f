"""Typed, two-way channels for running code, over Redis Streams.

Send a typed message into a run while it runs, have it answer, and lose nothing when either side crashes::

    from flowchan import flow, receive_input

    @flow
    async def greeter():
        async for name in receive_input(str, with_metadata=True):
            await name.respond(f"Hello, {name.value}!")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowchan.channels import Channels
    from flowchan.client import get_client
    from flowchan.context import open_run, tags
    from flowchan.deployments import serve
    from flowchan.flow_runs import pause_flow_run, resume_flow_run, suspend_flow_run
    from flowchan.flows import flow
    from flowchan.input import RunInput, receive_input, send_input
    from flowchan.logging import get_run_logger

__version__ = "0.1.0"

__all__ = [
    "Channels",
    "RunInput",
    "__version__",
    "flow",
    "get_client",
    "get_run_logger",
    "open_run",
    "pause_flow_run",
    "receive_input",
    "resume_flow_run",
    "send_input",
    "serve",
    "suspend_flow_run",
    "tags",
]

_ROOMS = {
    "Channels": "flowchan.channels",
    "RunInput": "flowchan.input",
    "flow": "flowchan.flows",
    "get_client": "flowchan.client",
    "get_run_logger": "flowchan.logging",
    "open_run": "flowchan.context",
    "pause_flow_run": "flowchan.flow_runs",
    "receive_input": "flowchan.input",
    "resume_flow_run": "flowchan.flow_runs",
    "send_input": "flowchan.input",
    "serve": "flowchan.deployments",
    "suspend_flow_run": "flowchan.flow_runs",
    "tags": "flowchan.context",
}

_MODULES = frozenset(
    {"blocks", "client", "context", "deployments", "errors", "flow_runs", "flows", "input", "logging", "settings"}
    | {"states", "sync"}
)


def __getattr__(name: str) -> object:
    # A name is fetched when it is first used: who needs one room does not load pydantic and redis for all.
    from importlib import import_module  # noqa: PLC0415 - only here

    if name in _ROOMS:
        value: object = getattr(import_module(_ROOMS[name]), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
