"""Typed, two-way channels for running code, over Redis Streams.

Send a typed message into a run while it runs, have it answer, and lose nothing when either side crashes::

    from flowchan import flow, receive_input

    @flow
    async def greeter():
        async for name in receive_input(str, with_metadata=True):
            await name.respond(f"Hello, {name.value}!")
"""

from flowchan.channels import Channels
from flowchan.context import open_run
from flowchan.flows import flow
from flowchan.input import RunInput, receive_input, send_input
from flowchan.logging import get_run_logger

__version__ = "0.1.0"

__all__ = [
    "Channels",
    "RunInput",
    "__version__",
    "flow",
    "get_run_logger",
    "open_run",
    "receive_input",
    "send_input",
]
