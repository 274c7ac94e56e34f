"""What is done to a run from outside: it is suspended, resumed, cancelled, waited for."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from flowchan.broker.broker import Broker
from flowchan.errors import FlowPauseTimeout, IllegalTransition, NotPausedError, RunTakenOver
from flowchan.input.keyset import keyset_from_paused_state
from flowchan.input.stored import response_fields
from flowchan.run import FlowRun
from flowchan.runs import reaper, store
from flowchan.runs.answer import checked
from flowchan.runs.keeper import tell
from flowchan.runs.store import Change, Following
from flowchan.states import Cancelled, Cancelling, Running, Scheduled, State, StateType, Suspended
from flowchan.wire import keys

logger = logging.getLogger(__name__)


async def suspend(broker: Broker, run: UUID | str, timeout: float | None, key: str | None) -> None:  # noqa: ASYNC109
    """Suspend a run that runs elsewhere; as ``flow_runs.suspend_flow_run``."""
    known = await store.read(broker, run)
    if known.deployment_id is None:
        why = "it is a subflow" if known.parent_id is not None else "it is of no deployment"
        raise RuntimeError(f"Run {run} cannot be suspended: {why}, so nobody would execute it again.")
    state = Suspended(pause_key=key or "from-outside", message="It was suspended from outside.")
    await store.change(broker, run, Change(state, expires=timeout))
    if known.holder is not None:
        await tell(broker, known.holder, keys.run_id(run))


async def resume(broker: Broker, run: UUID | str, run_input: Mapping[str, Any] | None, waiting_for: str | None) -> None:
    """Let a run go on; as ``flow_runs.resume_flow_run``."""
    known = await reaper.current(broker, run)
    state = known.state
    assert state is not None  # noqa: S101 - it was read
    if state.name == reaper.NOT_RESUMED:
        raise FlowPauseTimeout(f"Run {run} was not resumed in time, and has failed.")
    if not state.is_paused():
        raise NotPausedError(f"Run {run} is not paused: it is {state.name!r}.", now=state)
    if waiting_for not in (None, known.waiting_for):
        raise NotPausedError(f"Run {run} waits for {known.waiting_for} by now, not for {waiting_for}.", now=state)
    keyset = keyset_from_paused_state(state)
    key = keys.run_id(run)
    (schema,) = await broker.fetch(keys.inputs(broker.settings.namespace, key), [keyset["schema"]])
    answer = checked(run, run_input, schema, broker.settings.max_message_bytes)
    inputs = response_fields(broker.settings, key, keyset, state.id, answer)
    if state.type is StateType.PAUSED:
        change = Change(Running(), expected=state, lease=broker.settings.lease, inputs=inputs, in_time=True)
    else:
        waits = Scheduled(name="Resuming")
        change = Change(waits, expected=state, deployment=known.deployment_id, inputs=inputs, in_time=True)
    await store.change(broker, run, change)


async def cancel(broker: Broker, run: UUID | str) -> State:
    """Tell a run to stop; as ``flow_runs.cancel_flow_run``."""
    known = await reaper.current(broker, run)
    while True:
        state = known.state
        assert state is not None  # noqa: S101 - it was read
        if state.is_cancelling():
            return state
        waits = state.is_paused() or state.is_scheduled()
        after = Cancelled(message="It was cancelled.") if waits else Cancelling(message="It was cancelled.")
        try:
            await store.change(
                broker, run, Change(after, expected=state, lease=None if waits else broker.settings.lease)
            )
        except IllegalTransition as refused:
            now = refused.now
            if now is None or now.is_final() or now.id == state.id or isinstance(refused, RunTakenOver):
                raise IllegalTransition(f"Run {run} cannot be cancelled: it is {state.name!r}.", now=now) from None
            known = await store.read(broker, run)  # it went on meanwhile
            continue
        if known.holder is not None:
            await tell(broker, known.holder, keys.run_id(run))
        return after


async def wait_for_end(
    broker: Broker,
    run: UUID | str,
    timeout: float | None,  # noqa: ASYNC109 - as Subscription.get
    poll_interval: float,
    *,
    log_states: bool = False,
) -> FlowRun:
    """Wait until a run has ended; as ``flow_runs.wait_for_flow_run``."""
    deadline = None if timeout is None else time.monotonic() + timeout
    last: UUID | None = None
    with Following(broker, run, keys.FIRST, poll_interval) as states:
        while True:
            known = await reaper.current(broker, run)
            assert known.state is not None  # noqa: S101 - it was read
            if known.state.is_final() and (not log_states or last == known.state.id):
                return known
            left = None if deadline is None else deadline - time.monotonic()
            if known.state.is_final():
                poll_interval = 0.0  # what is to be logged still, if it is kept
            elif left is not None and left <= 0:
                raise TimeoutError(f"Run {run} has not ended in time: it is {known.state.name!r}.")
            try:
                state, _ = await states.next(poll_interval if left is None else min(poll_interval, left))
            except TimeoutError:
                if known.state.is_final():
                    return known
                continue
            last = state.id
            if log_states:
                logger.info("Run %s is %s.", run, state)
