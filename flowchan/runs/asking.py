"""A run asks: what it wants is stored, it stops, and it goes on with the answer."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import ValidationError

from flowchan.broker.broker import Broker
from flowchan.dual import Ask, Do, Steps
from flowchan.errors import FlowPauseTimeout, IllegalTransition, NotPausedError
from flowchan.input.automatic import run_input_subclass_from_type
from flowchan.input.keyset import Keyset, keyset_from_paused_state
from flowchan.input.model import RunInput
from flowchan.input.position import seconds
from flowchan.input.stored import response_of, schema_text
from flowchan.logging import get_run_logger
from flowchan.runs import reaper, store
from flowchan.runs.execution import Execution
from flowchan.runs.store import Change, Following
from flowchan.settings import current_settings
from flowchan.states import Paused, State, StateType, Suspended
from flowchan.stops import CancelRun, SuspendRun
from flowchan.wire import keys


def ask(
    execution: Execution, kind: StateType, wanted: Any, timeout: float | None, poll_interval: float, key: str | None
) -> Steps[Any]:
    """Ask for something, and wait until it was given, or leave the flow until then; as ``flow_runs`` says it.

    ``kind`` is PAUSED or SUSPENDED; ``wanted`` is a type, or None where only the resume is waited for.
    """
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
        answer = yield Ask(lambda broker: response_of(broker, execution.key, keyset))
        if answer is not None:
            if model is None:
                return None
            try:
                return (yield Do(lambda: model.load(keyset, run)))
            except ValidationError:
                (schema,) = yield Ask(lambda broker: broker.fetch(key_of_inputs, [keyset["schema"]]))
                if schema_text(model) == schema:
                    raise
                # The flow was changed since: what it asks for now is something else.
                get_run_logger().warning("The answer that was stored for %r does not fit any more.", pause_key)
    if is_used:
        # What was asked for before may have been more than is asked for now.
        old = (keyset["schema"], keyset["description"])
        yield Ask(lambda broker: broker.persistent.call(f"run {run}", "HDEL", key_of_inputs, *old))
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
    return (yield from _answer(execution, state, keyset, model))


def _answer(execution: Execution, state: State, keyset: Keyset, model: type[RunInput] | None) -> Steps[Any]:
    """What the run was resumed with when it was in this state."""
    run = execution.run.id
    is_signed = current_settings().signing_keys is not None
    if model is None:
        if is_signed:  # that it was resumed is all there is to know, but it must have been by somebody who may
            yield Ask(lambda broker: response_of(broker, execution.key, keyset, state.id))
        return None
    if is_signed:
        return (yield Do(lambda: model._loaded(keyset, run, state.id)))  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - load(), but no older answer
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
