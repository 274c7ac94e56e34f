"""What becomes of runs of which nobody has heard in time: they crash, are handed on, or were not resumed."""

from __future__ import annotations

import logging
from uuid import UUID

from flowchan.broker.broker import Broker
from flowchan.errors import IllegalTransition, ObjectNotFound, RunTakenOver
from flowchan.run import FlowRun
from flowchan.runs import store
from flowchan.runs.store import Change
from flowchan.states import Cancelled, Crashed, Failed, Scheduled, State, StateType
from flowchan.wire import keys

logger = logging.getLogger(__name__)

NOT_RESUMED = "NotResumed"
"""The name of the failure of a run that waited in vain."""


def not_resumed() -> State:
    """The state of a run that waited in vain."""
    return Failed(name=NOT_RESUMED, message="Flow run was paused and never resumed.")


async def reap(broker: Broker) -> int:
    """Settle the runs that are overdue by the broker's clock; how many there were.

    Any number of processes may do so at once: each run is settled by one of them.
    """
    settled = 0
    found = await broker.records.overdue()
    for run in found.runs:
        settled += await reap_one(broker, run, found.witnessed)
    return settled


async def reap_one(broker: Broker, run: UUID | str, witnessed: int | None = None) -> bool:
    """Settle a run if it is overdue; whether it was settled. ``witnessed`` is as in :class:`Change`."""
    try:
        known = await store.read(broker, run)
        why = f"Its process was not heard of for {broker.settings.lease:g} s."
        change = _settled(known, why)
        if change is None or await store.change(broker, run, change._replace(witnessed=witnessed)) is None:
            return False
    except ObjectNotFound:
        await broker.persistent.call(
            "overdue runs",
            "ZREM",
            keys.due(broker.settings.namespace, keys.partition_tag(keys.run_id(run))),
            keys.run_id(run),
        )
        return False
    except IllegalTransition:
        return False  # somebody else was first, or it was heard of again
    logger.info("Run %s was not heard of in time: it is %s.", run, change.state)
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


async def newest(
    broker: Broker, limit: int, state: frozenset[StateType] | None = None, flow: str | None = None
) -> list[FlowRun]:
    """As :func:`store.newest`; runs that are overdue are settled first."""
    await reap(broker)
    return await store.newest(broker, limit, state, flow)


async def settle(broker: Broker, run: UUID | str, holder: str, why: str, *, has_begun: bool) -> State | None:
    """Settle a run whose process has ended, and which its holder answers for; its state now, if it was changed.

    ``has_begun`` says whether the process had heard of the run: if not, it may always be handed on.

    Raises:
        BrokerError: the broker cannot be told; it will be overdue.
    """
    while True:
        try:
            known = await store.read(broker, run)
            change = _settled(known, why, has_begun=has_begun)
            if change is None or known.state is None or known.state.type == "SUSPENDED":
                return None
            await store.change(broker, run, change._replace(holder=holder, overdue=False))
        except (ObjectNotFound, RunTakenOver):
            return None  # it is not the holder's any more
        except IllegalTransition:
            continue  # it was cancelled just now, perhaps
        return change.state


def _settled(run: FlowRun, why: str, *, has_begun: bool = False) -> Change | None:
    state = run.state
    assert state is not None  # noqa: S101 - it was read
    if state.is_final():
        return None
    if state.type == "SUSPENDED":
        return Change(not_resumed(), expected=state, overdue=True)
    if state.is_cancelling():
        return Change(Cancelled(message="Its process ended."), expected=state, overdue=True)
    # An execution that has not begun is none that has failed.
    has_begun = not (state.is_scheduled() or (state.is_pending() and not has_begun))
    if run.deployment_id is not None and (not has_begun or run.failures < run.retries):
        handed_on = Scheduled(name="HandedOn", message=why)
        counts = ("failures",) if has_begun else ()
        return Change(handed_on, expected=state, overdue=True, deployment=run.deployment_id, counts=counts)
    return Change(Crashed(message=why), expected=state, overdue=True)
