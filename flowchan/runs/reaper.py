"""What becomes of runs of which nobody has heard in time: they crash, are handed on, or were not resumed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from uuid import UUID

from flowchan.broker.broker import Broker
from flowchan.errors import IllegalTransition, ObjectNotFound
from flowchan.run import FlowRun
from flowchan.runs import store
from flowchan.runs.store import Change
from flowchan.states import Cancelled, Crashed, Failed, Scheduled, State
from flowchan.wire import keys

logger = logging.getLogger(__name__)

NOT_RESUMED = "NotResumed"
"""The name of the failure of a run that waited in vain."""


def not_resumed() -> State:
    """The state of a run that waited in vain."""
    return Failed(name=NOT_RESUMED, message="Flow run was paused and never resumed.")


async def reap(broker: Broker, tags: Sequence[str] = keys.TAGS) -> int:
    """Settle the runs that are overdue by the broker's clock; how many there were.

    Any number of processes may do so at once: each run is settled by one of them.
    """
    settled = 0
    for run in await broker.records.overdue(tags):
        settled += await reap_one(broker, run)
    return settled


async def reap_one(broker: Broker, run: UUID | str) -> bool:
    """Settle a run if it is overdue; whether it was."""
    try:
        known = await store.read(broker, run)
        change = _settled(known, broker.settings.lease, *await store.chances(broker, run))
        if change is None or await store.change(broker, run, change) is None:
            return False
    except ObjectNotFound:
        await broker.records.call("overdue runs", "ZREM", keys.due(broker.settings.namespace, keys.partition_tag(keys.run_id(run))), keys.run_id(run))
        return False
    except IllegalTransition:
        return False  # somebody else was first, or it was heard of again
    logger.warning("Run %s was not heard of in time: it is %s.", run, change.state)
    return True


async def current(broker: Broker, run: UUID | str) -> FlowRun:
    """What is known of a run; where it is overdue, it is settled first.

    Raises:
        ObjectNotFound: nothing is.
    """
    known, is_overdue = await store.read_with_clock(broker, run)
    if is_overdue and await reap_one(broker, run):
        return await store.read(broker, run)
    return known


def _settled(run: FlowRun, lease: float, retries: int, failures: int) -> Change | None:
    state = run.state
    assert state is not None  # noqa: S101 - it was read
    if state.is_final():
        return None
    if state.type == "SUSPENDED":
        return Change(not_resumed(), expected=state, overdue=True)
    if state.is_cancelling():
        return Change(Cancelled(message="Its process ended."), expected=state, overdue=True)
    if run.deployment_id is not None and (state.is_pending() or failures < retries):
        # A run that has not begun may always begin elsewhere.
        text = f"The server that executed it was not heard of for {lease:g} s."
        counts = () if state.is_pending() else ("failures",)
        handed_on = Scheduled(name="HandedOn", message=text)
        return Change(handed_on, expected=state, overdue=True, deployment=run.deployment_id, counts=counts)
    text = f"Its process was not heard of for {lease:g} s."
    return Change(Crashed(message=text), expected=state, overdue=True)
