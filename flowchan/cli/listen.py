"""``flowchan listen``: what is sent to a run, as it comes."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Annotated, Any

import anyio
import pydantic_core
from cyclopts import Parameter
from pydantic import ValidationError

from flowchan import receive_input
from flowchan.broker.broker import Broker, broker_of_this_loop
from flowchan.cli import terminal, told
from flowchan.cli.find import run_called
from flowchan.cli.options import Json
from flowchan.errors import BrokerRefused, DecodeError, FlowchanError, MessagesLost
from flowchan.settings import current_settings
from flowchan.wire import keys

_LOOK = 1.0
"""Seconds between two looks for channels that are new."""


def listen(
    run: str,
    /,
    *,
    channel: Annotated[
        tuple[str, ...],
        Parameter(
            name=["--channel", "-c"], negative="", show_default=False, help="Only this channel; may be repeated."
        ),
    ] = (),
    timeout: Annotated[float | None, Parameter(help="End when nothing came for so many seconds.")] = None,
    as_json: Json = False,
) -> None:
    """Show what is sent to a run, from the first message on, until Ctrl-C. Nothing is taken from anybody.

    RUN is the run's ID, the beginning of that, or its name. The values of a chat, for example, as they come:

        flowchan listen gregarious-owl --json | jq .value
    """
    terminal.prepare()
    known = run_called(run)
    for name in channel:
        keys.channel_name(name)
    asyncio.run(_follow(known, channel, timeout, as_json=as_json))


async def _follow(run: Any, channels: tuple[str, ...], timeout: float | None, *, as_json: bool) -> None:  # noqa: ASYNC109
    heard = asyncio.get_running_loop().time()

    async def follow(name: str) -> None:
        nonlocal heard
        async with receive_input(Any, with_metadata=True, timeout=None, key_prefix=name, flow_run_id=run) as receiver:
            while True:
                try:
                    message = await receiver.next()
                except MessagesLost as lost:
                    terminal.dialogue().print(str(lost), style="yellow")
                    continue
                except (DecodeError, ValidationError) as error:
                    terminal.dialogue().print(f"A message on {name} cannot be read: {error}", style="red")
                    continue
                heard = asyncio.get_running_loop().time()
                _show(name, message, as_json=as_json)

    async with anyio.create_task_group() as following:
        known: set[str] = set()
        while True:
            found = set(channels) or await _channels(broker_of_this_loop(current_settings()), run)
            for name in sorted(found - known):
                following.start_soon(follow, name)
            known |= found
            with contextlib.suppress(TimeoutError):
                await asyncio.sleep(min(_LOOK, timeout) if timeout is not None else _LOOK)
            if timeout is not None and asyncio.get_running_loop().time() - heard >= timeout:
                following.cancel_scope.cancel()
                return


async def _channels(broker: Broker, run: Any) -> set[str]:
    """The channels of a run that hold something."""
    try:
        found = await broker.records.streams_of(keys.run_id(run))
    except BrokerRefused as refused:
        if refused.code != "NOPERM":
            raise
        raise FlowchanError(
            "The broker's user may not look for the run's channels (SCAN): name them with --channel."
        ) from None
    return {keys.address(key).channel for key in found}


def _show(channel: str, message: Any, *, as_json: bool) -> None:
    metadata = message.metadata
    value = pydantic_core.to_jsonable_python(message.value, fallback=str, bytes_mode="base64")
    if as_json:
        sent_at = metadata.sent_at.isoformat()
        about = {"key": metadata.key, "channel": channel, "sender": metadata.sender, "sent_at": sent_at, "value": value}
        print(told.line(about), flush=True)
        return
    when = metadata.sent_at.astimezone().strftime("%H:%M:%S")
    sender = (metadata.sender or "").removeprefix(keys.SENDER_PREFIX)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    console = terminal.output()
    console.print(f"{when}  ", end="", style="dim")
    console.print(channel.removesuffix("-auto"), end="", style="cyan")
    console.print(f"  {sender}  " if sender else "  ", end="", style="dim")
    console.print(text)
