"""A run by what a person calls it: its ID, the beginning of it, or its name."""

from __future__ import annotations

from typing import Any

from flowchan import bridge
from flowchan.broker.broker import Broker
from flowchan.errors import FlowchanError, InvalidKeyError, ObjectNotFound
from flowchan.run import FlowRun
from flowchan.runs import reaper
from flowchan.wire import keys

_LOOKED_AT = 2000
_SHORTEST = 6


def run_called(run: str) -> Any:
    """The ID of the run that is meant; one of which nothing is known has channels, too, and is called by its ID.

    Raises:
        FlowchanError: there are several.
        InvalidKeyError: it can be no run's ID.
    """
    try:
        return bridge.call(lambda broker: find(broker, run)).id
    except ObjectNotFound:
        return keys.run_id(run)


async def find(broker: Broker, run: str) -> FlowRun:
    """The run that is meant; of several of a name, the one that has not ended.

    Raises:
        ObjectNotFound: there is none.
        FlowchanError: there are several.
    """
    try:
        return await reaper.current(broker, run)
    except (ObjectNotFound, InvalidKeyError):
        pass  # it is no ID, then
    known = await reaper.newest(broker, _LOOKED_AT)
    named = [each for each in known if each.name == run]
    if not named and len(run) >= _SHORTEST:
        named = [each for each in known if str(each.id).startswith(run.lower())]
    if not named:
        raise ObjectNotFound(f"There is no flow run {run!r}: none has this ID, or begins with it, or bears this name.")
    if len(named) > 1:
        # A name may have been borne before; who says it means the one that goes on.
        named = [each for each in named if each.state is not None and not each.state.is_final()] or named
    if len(named) > 1:
        ids = ", ".join(str(each.id) for each in named[:5])
        raise FlowchanError(f"{len(named)} runs are meant by {run!r}: {ids}{' …' if len(named) > 5 else ''}.")
    return await reaper.current(broker, named[0].id)
