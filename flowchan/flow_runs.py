"""Runs that stop and ask: pausing, suspending, resuming, cancelling, and waiting for the end of one."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar, overload
from uuid import UUID

from pydantic import BaseModel, ValidationError

from flowchan.broker.broker import Broker
from flowchan.context import current_run
from flowchan.dual import Ask, Do, Steps, asked, done
from flowchan.errors import (
    CancelRun,
    FlowPauseTimeout,
    IllegalTransition,
    MissingRunError,
    NotPausedError,
    RunTakenOver,
    SuspendRun,
)
from flowchan.input.automatic import run_input_subclass_from_type
from flowchan.input.keyset import keyset_from_paused_state
from flowchan.input.model import RunInput
from flowchan.input.position import seconds
from flowchan.logging import get_run_logger
from flowchan.run import FlowRun
from flowchan.runs import reaper, store
from flowchan.runs.answer import checked
from flowchan.runs.execution import Execution, is_same_run
from flowchan.runs.keeper import tell
from flowchan.runs.store import Change, Following
from flowchan.settings import current_settings
from flowchan.states import Cancelled, Cancelling, Paused, Running, Scheduled, State, StateType, Suspended
from flowchan.wire import keys

T = TypeVar("T")

logger = logging.getLogger(__name__)

_POLL = 10.0


@overload
def pause_flow_run(
    wait_for_input: None = None, timeout: float | None = ..., poll_interval: float = ..., key: str | None = ...
) -> Awaitable[None]: ...


@overload
def pause_flow_run(
    wait_for_input: type[T], timeout: float | None = ..., poll_interval: float = ..., key: str | None = ...
) -> Awaitable[T]: ...


@overload
def pause_flow_run(
    wait_for_input: Any, timeout: float | None = ..., poll_interval: float = ..., key: str | None = ...
) -> Awaitable[Any]: ...


def pause_flow_run(
    wait_for_input: Any = None, timeout: float | None = 3600, poll_interval: float = _POLL, key: str | None = None
) -> Awaitable[Any]:
    """Stop the current run until somebody resumes it, and return what they gave.

    Guarantees: what is asked for is stored before the run is PAUSED; a resume wakes it at once. If the flow is
    executed again (it failed and is retried), the call returns the answer that it had; a flow that asks again,
    because the answer did not do, is given another.

    Args:
        wait_for_input: what to ask for: a RunInput, a model, or any type that pydantic validates. None: only the
            resume is waited for.
        timeout: seconds to wait. None: no limit.
        poll_interval: the longest, in seconds, that one blocking read lasts before the connection is looked at.
        key: which pause of the run this is; by default they are numbered.

    Returns:
        The input: a bare value for a plain type, an instance for a model; None without ``wait_for_input``.

    Raises:
        MissingRunError: the caller is in no flow run.
        ValidationError: the input does not pass the model's own validators. Pause again to ask again.
        FlowPauseTimeout: nobody resumed it in time; the run has failed.
        TypeError, ValueError, InvalidKeyError: an argument cannot be used.
    """
    execution = _execution("paused")
    return done(_asking(execution, StateType.PAUSED, wait_for_input, timeout, poll_interval, key))


@overload
def suspend_flow_run(
    wait_for_input: None = None,
    flow_run_id: UUID | str | None = ...,
    timeout: float | None = ...,
    key: str | None = ...,
) -> Awaitable[None]: ...


@overload
def suspend_flow_run(
    wait_for_input: type[T],
    flow_run_id: UUID | str | None = ...,
    timeout: float | None = ...,
    key: str | None = ...,
) -> Awaitable[T]: ...


@overload
def suspend_flow_run(
    wait_for_input: Any, flow_run_id: UUID | str | None = ..., timeout: float | None = ..., key: str | None = ...
) -> Awaitable[Any]: ...


def suspend_flow_run(
    wait_for_input: Any = None,
    flow_run_id: UUID | str | None = None,
    timeout: float | None = None,
    key: str | None = None,
) -> Awaitable[Any]:
    """End the run's process until somebody resumes it; then its flow is executed again from the top.

    Guarantees: as :func:`pause_flow_run`, and nothing is held meanwhile: no process, no connection. In the new
    execution, on whatever machine serves the deployment, the same call returns what was given.

    The call leaves the flow by raising ``SuspendRun``, which is no ``Exception``.

    Args:
        wait_for_input: as for :func:`pause_flow_run`; only for the current run.
        flow_run_id: the run to suspend; by default the current one.
        timeout: seconds to wait. None: no limit.
        key: which of the run's suspensions this is; by default they are numbered.

    Raises:
        MissingRunError: no run was named, and the caller is in none.
        RuntimeError: nobody would execute the run again: it is of no deployment, or a subflow. Says which.
        ObjectNotFound, IllegalTransition: the run that was named is unknown, or does not run.
        ValidationError: as for :func:`pause_flow_run`.
    """
    if flow_run_id is not None:
        around = current_run()
        if around is None or around.execution is None or not is_same_run(flow_run_id, around.run):
            if wait_for_input is not None:
                raise ValueError("Only the run itself can wait for an input: leave wait_for_input out.")
            return asked(lambda broker: _suspend(broker, flow_run_id, seconds(timeout, "timeout"), key))
    execution = _execution("suspended")
    if execution.is_subflow:
        raise RuntimeError(
            f"Run {execution.run.id} cannot be suspended: it is a subflow, and only the run that called it could be"
            " executed again. Pause it, or suspend the run that called it."
        )
    if execution.run.deployment_id is None:
        raise RuntimeError(
            f"Run {execution.run.id} cannot be suspended: it is of no deployment, so nobody would execute it again."
            " Serve its flow (flow.serve(name=…)) and start it with run_deployment, or pause it."
        )
    return done(_asking(execution, StateType.SUSPENDED, wait_for_input, timeout, _POLL, key))


def resume_flow_run(flow_run_id: UUID | str, run_input: Mapping[str, Any] | BaseModel | None = None) -> Awaitable[None]:
    """Let a paused or suspended run go on, and give it what it waits for.

    Guarantees: the input is checked first against the JSON Schema that the run stored; one that does not fit changes
    nothing. Of several who resume a run at once, one does. The answer is stored with the run in the same step.

    Args:
        flow_run_id: the run.
        run_input: the fields of what it waits for, by their names (``{"value": …}`` for a plain type).

    Raises:
        InvalidRunInput: the input does not fit; names the field and the reason. The run stays paused.
        MessageTooLarge: it takes more than ``FLOWCHAN_MAX_MESSAGE_BYTES``. The run stays paused.
        NotPausedError: the run does not wait, or somebody else was first.
        ObjectNotFound: there is no such run.
        FlowPauseTimeout: it waited in vain, and has failed.
    """
    if isinstance(run_input, BaseModel):
        run_input = run_input.model_dump(mode="json", by_alias=True, round_trip=True)
    if run_input is not None and not isinstance(run_input, Mapping):
        raise TypeError(f"run_input is a dict of the fields that the run waits for, not {type(run_input).__name__}.")
    keys.run_id(flow_run_id)
    given = run_input
    return asked(lambda broker: _resume(broker, flow_run_id, given))


def cancel_flow_run(flow_run_id: UUID | str) -> Awaitable[State]:
    """Tell a run to stop.

    One that waits (for a worker, or to be resumed) is CANCELLED at once. One that runs is CANCELLING, and hears of it
    at once: an ``async`` flow is cancelled where it awaits, a ``def`` flow interrupted; then it is CANCELLED.

    Returns:
        The state that it has now.

    Raises:
        ObjectNotFound: there is no such run.
        IllegalTransition: it has ended already.
    """
    keys.run_id(flow_run_id)
    return asked(lambda broker: _cancel(broker, flow_run_id))


def wait_for_flow_run(
    flow_run_id: UUID | str, timeout: float | None = 10800, poll_interval: float = 5, log_states: bool = False
) -> Awaitable[FlowRun]:
    """Wait until a run has ended; its states are pushed as they come.

    Args:
        flow_run_id: the run.
        timeout: seconds to wait. None: no limit.
        poll_interval: how often, in seconds, it is looked whether the run was heard of.
        log_states: whether to log each state.

    Raises:
        ObjectNotFound: there is no such run.
        TimeoutError: it has not ended in time.
    """
    keys.run_id(flow_run_id)
    limit, poll = seconds(timeout, "timeout"), seconds(poll_interval, "poll_interval") or 0.0
    return asked(lambda broker: wait_for_end(broker, flow_run_id, limit, poll, log_states=log_states))


# --- asking -----------------------------------------------------------------------------------------


def _execution(what: str) -> Execution:
    context = current_run()
    if context is None or context.execution is None:
        raise MissingRunError(f"Flow runs can only be {what} from within a flow run.")
    return context.execution


def _asking(
    execution: Execution, kind: StateType, wanted: Any, timeout: float | None, poll_interval: float, key: str | None
) -> Steps[Any]:
    limit = seconds(timeout, "timeout")
    poll = seconds(poll_interval, "poll_interval") or 0.0
    pause_key, is_used, may_be_answered = execution.pause_key(keys.channel_name(key) if key is not None else None)
    paused = Paused if kind is StateType.PAUSED else Suspended
    state = paused(pause_key=pause_key, message=None)
    keyset = keyset_from_paused_state(state)
    model = run_input_subclass_from_type(wanted) if wanted is not None else None
    run = execution.run.id
    key_of_inputs = keys.inputs(current_settings().namespace, execution.key)

    if may_be_answered:
        answer, schema = yield Ask(lambda broker: broker.fetch(key_of_inputs, [keyset["response"], keyset["schema"]]))
        if answer is not None:
            if model is None:
                return None
            try:
                return (yield Do(lambda: model.load(keyset, run)))
            except ValidationError:
                if _schema(model) == schema:
                    raise
                # The flow was changed since: what it asks for now is something else.
                get_run_logger().warning("The answer that was stored for %r does not fit any more.", pause_key)
    if is_used:
        # What was asked for before may have been more than is asked for now.
        old = (keyset["schema"], keyset["description"])
        yield Ask(lambda broker: broker.records.call(f"run {run}", "HDEL", key_of_inputs, *old))
    if model is not None:
        yield Do(lambda: model.save(keyset, run))
    try:
        if kind is StateType.SUSPENDED:
            change = Change(state, holder=execution.holder, expected=execution.state, expires=limit)
            yield Ask(lambda broker: _hand_back(broker, execution, change._replace(forget=(keyset["response"],))))
            raise SuspendRun(f"Run {run} is suspended.")
        yield Ask(lambda broker: execution.become(broker, state, expires=limit, forget=(keyset["response"],)))
        yield Ask(lambda broker: _resumed(broker, execution, limit, poll))
    except IllegalTransition as refused:
        raise _stopped(execution, refused) from None
    if model is None:
        return None
    return (yield Do(lambda: model.load(keyset, run)))


async def _hand_back(broker: Broker, execution: Execution, change: Change) -> None:
    await broker.outbox.drain()
    execution.over()
    await store.change(broker, execution.run.id, change)


async def _resumed(broker: Broker, execution: Execution, timeout: float | None, poll_interval: float) -> None:  # noqa: ASYNC109
    """Wait until the run is resumed.

    Raises:
        CancelRun: it was cancelled instead.
        FlowPauseTimeout: nobody did anything in time.
        IllegalTransition: something else was done to it.
    """
    loop = asyncio.get_running_loop()
    deadline = None if timeout is None else loop.time() + timeout
    with Following(broker, execution.run.id, execution.entry, poll_interval) as states:
        while True:
            left = None if deadline is None else max(0.0, deadline - loop.time())
            try:
                state, entry = await states.next(left)
            except TimeoutError:
                await _expire(broker, execution)
                deadline = None  # somebody was just in time
                continue
            if state.is_running():
                execution.saw(state, entry)
                return
            raise _what_else(execution, state)


async def _expire(broker: Broker, execution: Execution) -> None:
    failed = reaper.not_resumed()
    try:
        change = Change(failed, holder=execution.holder, expected=execution.state)
        entry = await store.change(broker, execution.run.id, change)
    except NotPausedError:
        return
    if entry is not None:
        execution.saw(failed, entry)
    execution.over()
    raise FlowPauseTimeout(f"Run {execution.run.id} was paused and never resumed.")


def _what_else(execution: Execution, state: State) -> BaseException:
    if state.is_cancelled() or state.is_cancelling():
        return CancelRun(f"Run {execution.run.id} was cancelled.")
    if state.name == reaper.NOT_RESUMED:
        return FlowPauseTimeout(f"Run {execution.run.id} was paused and never resumed.")
    return IllegalTransition(f"Run {execution.run.id} is {state.name!r} by now.", now=state)


def _stopped(execution: Execution, refused: IllegalTransition) -> BaseException:
    """What a refused pause means to the flow: it is to stop, if somebody has said so."""
    reason = execution.interrupt.reason
    if reason is not None:
        return reason
    if refused.now is not None and (refused.now.is_cancelling() or refused.now.is_cancelled()):
        return CancelRun(f"Run {execution.run.id} was cancelled.")
    return refused


def _schema(model: type[RunInput]) -> bytes:
    return json.dumps(model.model_json_schema()).encode()


# --- done to others -----------------------------------------------------------------------------------


async def _suspend(broker: Broker, run: UUID | str, timeout: float | None, key: str | None) -> None:  # noqa: ASYNC109
    known = await store.read(broker, run)
    if known.deployment_id is None:
        why = "it is a subflow" if known.parent_id is not None else "it is of no deployment"
        raise RuntimeError(f"Run {run} cannot be suspended: {why}, so nobody would execute it again.")
    holder = await store.holder_of(broker, run)
    state = Suspended(pause_key=key or "from-outside", message="It was suspended from outside.")
    await store.change(broker, run, Change(state, expires=timeout))
    if holder is not None:
        await tell(broker, holder, keys.run_id(run))


async def _resume(broker: Broker, run: UUID | str, run_input: Mapping[str, Any] | None) -> None:
    known = await reaper.current(broker, run)
    state = known.state
    assert state is not None  # noqa: S101 - it was read
    if state.name == reaper.NOT_RESUMED:
        raise FlowPauseTimeout(f"Run {run} was not resumed in time, and has failed.")
    if not state.is_paused():
        raise NotPausedError(f"Run {run} is not paused: it is {state.name!r}.", now=state)
    keyset = keyset_from_paused_state(state)
    (schema,) = await broker.fetch(keys.inputs(broker.settings.namespace, keys.run_id(run)), [keyset["schema"]])
    inputs = {keyset["response"]: checked(run, run_input, schema, broker.settings.max_message_bytes)}
    if state.type is StateType.PAUSED:
        change = Change(Running(), expected=state, lease=broker.settings.lease, inputs=inputs, in_time=True)
    else:
        waits = Scheduled(name="Resuming")
        change = Change(waits, expected=state, deployment=known.deployment_id, inputs=inputs, in_time=True)
    await store.change(broker, run, change)


async def _cancel(broker: Broker, run: UUID | str) -> State:
    known = await reaper.current(broker, run)
    while True:
        state = known.state
        assert state is not None  # noqa: S101 - it was read
        if state.is_cancelling():
            return state
        waits = state.is_paused() or state.is_scheduled()
        after = Cancelled(message="It was cancelled.") if waits else Cancelling(message="It was cancelled.")
        holder = await store.holder_of(broker, run)
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
        if holder is not None:
            await tell(broker, holder, keys.run_id(run))
        return after


async def wait_for_end(
    broker: Broker,
    run: UUID | str,
    timeout: float | None,  # noqa: ASYNC109 - as Subscription.get
    poll_interval: float,
    *,
    log_states: bool = False,
) -> FlowRun:
    """As :func:`wait_for_flow_run`, on the broker's loop."""
    deadline = None if timeout is None else time.monotonic() + timeout
    with Following(broker, run, keys.FIRST, poll_interval) as states:
        while True:
            known = await reaper.current(broker, run)
            assert known.state is not None  # noqa: S101 - it was read
            if known.state.is_final():
                return known
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError(f"Run {run} has not ended in time: it is {known.state.name!r}.")
            try:
                state, _ = await states.next(poll_interval if left is None else min(poll_interval, left))
            except TimeoutError:
                continue
            if log_states:
                logger.info("Run %s is %s.", run, state)


__all__ = [
    "cancel_flow_run",
    "pause_flow_run",
    "resume_flow_run",
    "suspend_flow_run",
    "wait_for_flow_run",
]
