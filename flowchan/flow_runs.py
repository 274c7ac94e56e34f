"""Runs that stop and ask: pausing, suspending, resuming, cancelling, and waiting for the end of one."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar, overload
from uuid import UUID

from pydantic import BaseModel

from flowchan.context import current_run
from flowchan.dual import asked, done
from flowchan.errors import MissingRunError
from flowchan.input.position import seconds
from flowchan.input.receiving import HOUR, POLL
from flowchan.run import FlowRun
from flowchan.runs import asking, control
from flowchan.runs.execution import Execution, is_same_run
from flowchan.states import State, StateType
from flowchan.wire import keys

T = TypeVar("T")


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
    wait_for_input: Any = None, timeout: float | None = HOUR, poll_interval: float = POLL, key: str | None = None
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
    return done(asking.ask(execution, StateType.PAUSED, wait_for_input, timeout, poll_interval, key))


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
            return asked(lambda broker: control.suspend(broker, flow_run_id, seconds(timeout, "timeout"), key))
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
    return done(asking.ask(execution, StateType.SUSPENDED, wait_for_input, timeout, POLL, key))


def resume_flow_run(
    flow_run_id: UUID | str,
    run_input: Mapping[str, Any] | BaseModel | None = None,
    *,
    waiting_for: str | None = None,
) -> Awaitable[None]:
    """Let a paused or suspended run go on, and give it what it waits for.

    Guarantees: the input is checked first against the JSON Schema that the run stored; one that does not fit changes
    nothing. Of several who resume a run at once, one does. The answer is stored with the run in the same step.

    Args:
        flow_run_id: the run.
        run_input: the fields of what it waits for, by their names (``{"value": …}`` for a plain type).
        waiting_for: resume it only if this is what it waits for (``FlowRun.waiting_for``, such as ``paused-1``): for an
            answer that took a while, and might otherwise be one to another question.

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
    return asked(lambda broker: control.resume(broker, flow_run_id, given, waiting_for))


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
    return asked(lambda broker: control.cancel(broker, flow_run_id))


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
    return asked(lambda broker: control.wait_for_end(broker, flow_run_id, limit, poll, log_states=log_states))


def _execution(what: str) -> Execution:
    context = current_run()
    if context is None or context.execution is None:
        raise MissingRunError(f"Flow runs can only be {what} from within a flow run.")
    return context.execution


__all__ = [
    "cancel_flow_run",
    "pause_flow_run",
    "resume_flow_run",
    "suspend_flow_run",
    "wait_for_flow_run",
]
