"""From a call of a flow to the end of its run: each step of the way, for async and sync flows alike."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import logging
from collections.abc import Callable, Coroutine, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from flowchan import bridge, dual
from flowchan.bridge import loop_of_this_thread
from flowchan.context import FlowRunContext, current_run, current_tags, new_run_id, stored, within
from flowchan.dual import Ask, Do, Steps
from flowchan.errors import EncodeError, FlowPauseTimeout, IllegalTransition, RunCancelled
from flowchan.input.body import body_of_value
from flowchan.logging import announce, get_run_logger, prints_logged
from flowchan.run import FlowRun
from flowchan.runs import parameters, store
from flowchan.runs.execution import Execution
from flowchan.settings import current_settings
from flowchan.states import Cancelled, Completed, Crashed, Failed, Running, Scheduled, State
from flowchan.stops import AbandonRun, CancelRun, StopRun, SuspendRun

if TYPE_CHECKING:
    from flowchan.flows import Flow

logger = logging.getLogger(__name__)

_OURS = frozenset({__file__, dual.__file__})


class TimedOut(StopRun):
    """The flow's ``timeout_seconds`` are over."""


class Handed(NamedTuple):
    """A run that this process was handed to execute, rather than called."""

    run: FlowRun
    holder: str
    attach: Callable[[Execution], None]


def run_flow(
    flow: Flow[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], handed: Handed | None = None
) -> Steps[State]:
    """Execute a flow as a run of its own; the run's final state, with what the flow returned or raised.

    What ends this process's part in the run and is no result (``SuspendRun``, ``AbandonRun``, Ctrl-C, a cancelled
    task) is raised.
    """
    given = parameters.bound(flow.name, flow.fn, args, kwargs)
    around = current_run()
    if handed is None:
        run = FlowRun(new_run_id(), flow.run_name(given), flow.name)
        run.parent_id = around.flow_run.id if around is not None and around.flow is not None else None
        run.tags = current_tags()
        run.parameters = given
        execution = Execution(run)
    else:
        run = handed.run
        execution = Execution(run, run.state, handed.holder)
        handed.attach(execution)
    context = FlowRunContext(run, flow, given, flow.is_async, loop_of_this_thread(), execution)
    with within(context):
        # A run that was handed over is known, and with what it is called.
        running, body = Running(), parameters.stored(given) if handed is None else None
        yield Ask(lambda broker: execution.begin(broker, running, _known(flow), body))
        if handed is None and run.parent_id is None:
            announce()
        return (yield from _executed(flow, execution, args, kwargs))


def _executed(
    flow: Flow[..., Any], execution: Execution, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Steps[State]:
    error: BaseException | None
    try:
        yield from _hooks(flow.on_running, flow, execution.run, execution.state)
        state, error = yield from _attempts(flow, execution, args, kwargs)
    except (SuspendRun, AbandonRun, GeneratorExit):
        execution.over()
        raise
    except BaseException as raised:  # noqa: BLE001 - a hook, or the wait for another attempt, was ended from outside
        state, error = _state_after(flow, execution, None, raised), raised
    result = _kept(execution, state) if state.is_completed() else {}
    ended: State = yield Ask(lambda broker: execution.end(broker, state, fields=result))
    yield from _hooks(_hooks_for(flow, ended), flow, execution.run, ended)
    if error is not None and not isinstance(error, Exception) and not _is_told(execution, error):
        raise error
    return ended


def _attempts(
    flow: Flow[..., Any], execution: Execution, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Generator[Ask | Do, Any, tuple[State, BaseException | None]]:
    """Call the function as often as it may be tried; what came of the last call."""
    while True:
        state, error = yield from _attempt(flow, execution, args, kwargs)
        if isinstance(error, (SuspendRun, AbandonRun, GeneratorExit)):
            raise error
        if not state.is_failed() or isinstance(error, FlowPauseTimeout) or execution.failures >= flow.retries:
            return state, error
        try:
            yield from _again(flow, execution, state)
        except IllegalTransition as refused:
            # It was cancelled meanwhile, or is another's: what the broker knows holds.
            if refused.now is not None and (refused.now.is_cancelled() or refused.now.is_cancelling()):
                raise CancelRun(f"Run {execution.run.id} was cancelled.") from None
            raise AbandonRun(str(refused)) from None


def _attempt(
    flow: Flow[..., Any], execution: Execution, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Generator[Ask | Do, Any, tuple[State, BaseException | None]]:
    """Call the function, once; the state that follows from it, and what it raised."""
    interrupt = execution.interrupt

    def call() -> Any:
        nonlocal args, kwargs
        if flow.should_validate_parameters:
            arguments = parameters.validated(flow.name, flow.fn, args, kwargs)
            args, kwargs = arguments.args, arguments.kwargs
        interrupt.enter(is_async=flow.is_async)
        return flow.fn(*args, **kwargs)

    error: BaseException | None = None
    value: Any = None
    timer = _timer(flow, execution)
    try:
        try:
            with contextlib.nullcontext() if flow.log_prints is None else prints_logged(logged=flow.log_prints):
                value = yield Do(call)
            interrupt.settle()
        finally:
            interrupt.leave()
            timer()
    except BaseException as raised:  # noqa: BLE001 - what it says of the run is found out below
        error = raised
    if flow.is_async and not isinstance(error, GeneratorExit):
        try:
            yield Do(stored)
        except BaseException as raised:  # noqa: BLE001 - likewise: who waits for the last sends may be cancelled, too
            error = error or raised
    if interrupt.reason is not None and not isinstance(error, Exception):
        # However it left: as a cancelled task, by KeyboardInterrupt, or in spite of it all with a result.
        error = interrupt.reason
    return _state_after(flow, execution, value, error), error


def _is_told(execution: Execution, error: BaseException) -> bool:
    """Whether the run itself was told to stop. What was raised in its thread by its class alone is for a run around it."""
    return isinstance(error, StopRun) and (error is execution.interrupt.reason or bool(error.args))


def _state_after(flow: Flow[..., Any], execution: Execution, value: Any, error: BaseException | None) -> State:
    if error is None:
        return value if isinstance(value, State) and value.is_final() else Completed(data=value)
    is_told = _is_told(execution, error)
    if is_told and isinstance(error, TimedOut):
        text = f"Flow run exceeded timeout of {flow.timeout_seconds:g} second(s)."
        return Failed(name="TimedOut", message=text, data=TimeoutError(text))
    if is_told and isinstance(error, CancelRun):
        return Cancelled(message="The run was told to stop.", data=RunCancelled(str(error)))
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, Exception):
        if not isinstance(error, FlowPauseTimeout):
            get_run_logger().error("Encountered an exception:", exc_info=(type(error), error, _from_the_flow(error)))
        return Failed(message=f"Flow run encountered an exception: {text}", data=error)
    return Crashed(message=f"Execution was ended from outside: {text}", data=error)


def _from_the_flow(error: BaseException) -> TracebackType | None:
    """Where it was raised, from the flow's own function on: the steps that led there are ours."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None and place.tb_frame.f_code.co_filename in _OURS:
        place = place.tb_next
    return place


def _again(flow: Flow[..., Any], execution: Execution, failed: State) -> Steps[None]:
    """Wait, and have the run executed once more."""
    delay = flow.retry_delay_seconds
    execution.try_again()
    text = f"Attempt {execution.failures} of {flow.retries + 1} failed; it is tried again in {delay:g} second(s)."
    get_run_logger().info(text)
    waiting = Scheduled(name="AwaitingRetry", message=text)
    yield Ask(lambda broker: execution.become(broker, waiting, counts=("failures",)))
    if delay:
        yield from _waiting(flow, execution, delay)
    running = Running(name="Retrying", message=failed.message)
    yield Ask(lambda broker: execution.become(broker, running, counts=("run_count",)))


def _waiting(flow: Flow[..., Any], execution: Execution, seconds: float) -> Steps[None]:
    """Let time pass. Raises what the run is told meanwhile."""
    interrupt = execution.interrupt

    def call() -> Any:
        interrupt.enter(is_async=flow.is_async)
        # On the bridge, for there it can be interrupted whatever thread waits.
        return asyncio.sleep(seconds) if flow.is_async else bridge.call(lambda _: asyncio.sleep(seconds))

    try:
        try:
            yield Do(call)
            interrupt.settle()
        finally:
            interrupt.leave()
    except BaseException:
        if interrupt.reason is None:
            raise
    if interrupt.reason is not None:
        raise interrupt.reason


def _hooks(hooks: Iterable[Callable[..., Any]], flow: Flow[..., Any], run: FlowRun, state: State | None) -> Steps[None]:
    for hook in hooks:

        def call(hook: Callable[..., Any] = hook) -> Any:
            answer = hook(flow, run, state)
            return _ended(answer) if inspect.iscoroutine(answer) and not flow.is_async else answer

        try:
            yield Do(call)
        except Exception:
            logger.exception("A hook of flow %r failed: %s.", flow.name, getattr(hook, "__name__", type(hook).__name__))


def _ended(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine of a user returns, in sync code: on a loop of its own, which it may block."""
    if loop_of_this_thread() is None:
        return asyncio.run(coroutine)
    context = contextvars.copy_context()
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(context.run, asyncio.run, coroutine).result()


def _hooks_for(flow: Flow[..., Any], state: State) -> list[Callable[..., Any]]:
    if state.is_completed():
        return flow.on_completion
    if state.is_cancelled():
        return flow.on_cancellation
    return flow.on_crashed if state.is_crashed() else flow.on_failure


def _kept(execution: Execution, state: State) -> dict[str, bytes]:
    """What a flow returned, as it is kept with its run, if it can be."""
    settings = current_settings()
    try:
        body = body_of_value([state.data])  # in a list: a model by itself would be its fields
    except EncodeError:
        body = b""
    return store.result_fields(settings, execution.key, body if len(body) <= settings.max_message_bytes else b"")


def _known(flow: Flow[..., Any]) -> dict[str, bytes]:
    return {"retries": b"%d" % flow.retries} if flow.retries else {}


def _timer(flow: Flow[..., Any], execution: Execution) -> Callable[[], None]:
    """Have the function stopped when its time is over; what takes that back."""
    seconds = flow.timeout_seconds
    if seconds is None:
        return lambda: None
    # The bridge's loop, which no flow blocks.
    loop = bridge.loop()
    timers: list[asyncio.TimerHandle] = []
    reason = TimedOut("The flow's time is over.")
    loop.call_soon_threadsafe(lambda: timers.append(loop.call_later(seconds, execution.interrupt.strike, reason)))

    def cancel() -> None:
        for timer in timers:
            timer.cancel()

    def take_back() -> None:
        loop.call_soon_threadsafe(cancel)

    return take_back
