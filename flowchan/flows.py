"""A flow: a function of which each call is a run, with an ID that it can be spoken to by."""

from __future__ import annotations

import asyncio
import copy
import functools
import hashlib
import inspect
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Self, TypedDict, TypeVar, Unpack, cast, overload

from flowchan.dual import Steps, in_async, in_sync
from flowchan.run import FlowRun
from flowchan.runs.engine import run_flow
from flowchan.runs.parameters import serialized
from flowchan.runs.parameters import validated_by_name as parameters_of_flow
from flowchan.states import State
from flowchan.states import result as state_result

if TYPE_CHECKING:
    from flowchan.deployments import RunnerDeployment

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")


Hook = Callable[["Flow[..., Any]", FlowRun, State], Any]
"""Is called with the flow, the run and its state, when the run gets a state of some type."""


class Flow(Generic[P, R]):
    """A function whose calls are runs.

    Within a call the run is the current one: it can be sent to, it sends in its own name, and a verb is
    awaited if the function is ``async def`` and blocks if it is ``def``. A run does not end before what it
    sent has been stored. The broker knows its states, from RUNNING to the final one, before the call returns.

    A ``def`` flow that is called from async code runs on the loop's thread and holds the loop up while it
    waits; call it with ``asyncio.to_thread`` where other work must go on.

    Attributes:
        fn: the function.
        name: what people call it; by default the function's name with dashes.
        description: by default the function's docstring.
        is_async: whether ``fn`` is ``async def``.
        version: what its author calls this version of it; by default a hash of the file that it is in.
        timeout_seconds: after how many seconds a run of it has failed; None: never. Of a ``def`` flow outside the main
            thread, a call that blocks ends first.
        retries: how often a run that failed is tried again.
        retry_delay_seconds: how many seconds later.
        log_prints: whether what it prints goes to the run's log; None: as of the flow that called it.
    """

    def __init__(
        self,
        fn: Callable[P, R],
        name: str | None = None,
        description: str | None = None,
        flow_run_name: str | Callable[[], str] | None = None,
        version: str | None = None,
        timeout_seconds: float | None = None,
        validate_parameters: bool = True,
        retries: int | None = None,
        retry_delay_seconds: float | None = None,
        log_prints: bool | None = None,
        on_running: Iterable[Hook] | None = None,
        on_completion: Iterable[Hook] | None = None,
        on_failure: Iterable[Hook] | None = None,
        on_cancellation: Iterable[Hook] | None = None,
        on_crashed: Iterable[Hook] | None = None,
    ) -> None:
        if not callable(fn):
            raise TypeError(f"A flow is made of a function, not of {type(fn).__name__}.")
        if inspect.isasyncgenfunction(fn) or inspect.isgeneratorfunction(fn):
            raise TypeError(f"A flow returns once; {fn.__name__!r} is a generator.")
        functools.update_wrapper(self, fn)
        self.fn = fn
        self.name: str = name or getattr(fn, "__name__", type(fn).__name__).replace("_", "-")
        self.description: str | None = description if description is not None else _docstring(fn)
        self.flow_run_name = flow_run_name
        self.is_async: bool = any(map(inspect.iscoroutinefunction, (fn, type(fn).__call__)))
        self._version = version
        self.timeout_seconds: float | None = _seconds(timeout_seconds, "timeout_seconds", above=0)
        self.should_validate_parameters: bool = validate_parameters
        self.retries: int = retries or 0
        if self.retries < 0:
            raise ValueError(f"retries is a number from 0 on, not {retries}.")
        self.retry_delay_seconds: float = _seconds(retry_delay_seconds, "retry_delay_seconds") or 0.0
        self.log_prints: bool | None = log_prints
        self.on_running: list[Hook] = _hooks(on_running, "on_running")
        self.on_completion: list[Hook] = _hooks(on_completion, "on_completion")
        self.on_failure: list[Hook] = _hooks(on_failure, "on_failure")
        self.on_cancellation: list[Hook] = _hooks(on_cancellation, "on_cancellation")
        self.on_crashed: list[Hook] = _hooks(on_crashed, "on_crashed")
        if self.is_async:
            _pass_for_coroutine_function(self)

    def __repr__(self) -> str:
        return f"<flow {self.name!r}>"

    @property
    def version(self) -> str | None:
        """The flow's version; None where it is not given and there is no file to tell it by."""
        return self._version or _hash_of_file(self.fn)

    if TYPE_CHECKING:

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:  # noqa: D102 - below
            ...

    else:

        def __call__(self, *args: Any, return_state: bool = False, wait_for: Any = None, **kwargs: Any) -> Any:
            """Run the flow; awaited if its function is ``async def``.

            With ``return_state=True`` the run's final :class:`~flowchan.states.State` is returned, whatever it is;
            else what the function returned, or what ended the run is raised.

            Raises:
                ParameterBindError, ParameterTypeError: the parameters do not fit.
                RunCancelled: the run was cancelled.
                BrokerUnavailable: the broker cannot be told of the run.
            """
            del wait_for  # of tasks, which have ended when they are called
            ending = self._ended(run_flow(self, args, kwargs), return_state=return_state)
            return in_async(ending) if self.is_async else in_sync(ending)

    @staticmethod
    def _ended(steps: Steps[State], *, return_state: bool) -> Steps[Any]:
        state = yield from steps
        return state if return_state else state_result(state)

    def with_options(self, **options: Unpack[FlowOptions]) -> Self:
        """A copy of the flow with other options, which are those of :func:`flow`; what is not named stays."""
        known: dict[str, Any] = {
            "name": self.name,
            "description": self.description,
            "flow_run_name": self.flow_run_name,
            "version": self._version,
            "timeout_seconds": self.timeout_seconds,
            "validate_parameters": self.should_validate_parameters,
            "retries": self.retries,
            "retry_delay_seconds": self.retry_delay_seconds,
            "log_prints": self.log_prints,
            **{hook: getattr(self, hook) for hook in _HOOKS},
        }
        known.update(options)
        return type(self)(self.fn, **known)

    def validate_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """The parameters, each made the type that the function wants.

        Raises:
            ParameterBindError, ParameterTypeError: they do not fit.
        """
        return parameters_of_flow(self.name, self.fn, parameters)

    def serialize_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """The parameters as JSON has them; what it has no form for is left out."""
        return serialized(parameters)

    def run_name(self, parameters: dict[str, Any]) -> str | None:
        """The name of a run with these parameters, as ``flow_run_name`` says; None where it says nothing."""
        if self.flow_run_name is None:
            return None
        return self.flow_run_name.format(**parameters) if isinstance(self.flow_run_name, str) else self.flow_run_name()

    def serve(
        self,
        name: str | None = None,
        *,
        limit: int | None = None,
        parameters: Mapping[str, Any] | None = None,
        description: str | None = None,
        tags: Iterable[str] | None = None,
        version: str | None = None,
        print_starting_message: bool = True,
        pause_on_shutdown: bool = True,
        **options: Any,
    ) -> Awaitable[None]:
        """Execute this flow's runs when they are asked for by ``run_deployment("flow/name")``, until a signal ends it.

        Guarantees: any number of servers may serve one name; each run is executed by one of them, in a process of its
        own. A run whose server died is handed on where its retries allow, else CRASHED, within half a minute.
        Ctrl-C or SIGTERM ends the server when its runs have ended; a second one ends them, too.

        It blocks in sync code and is awaited in async code; ``asyncio.run(flow.serve(…))`` does as well.

        Args:
            name: the deployment's name; by default the flow's.
            limit: how many runs this server executes at once, paused ones included. None: no limit.
            parameters: what a run is given where it is given nothing else.
            description: by default the flow's.
            tags: what each run is tagged with.
            version: by default the flow's.
            print_starting_message: whether to say on standard output that it serves, and how a run is asked for.
            pause_on_shutdown: without a meaning here: there are no schedules.
            options: of other orchestrators: refused, with what is to be done instead.

        Raises:
            CodeError: no other process would find the flow (it is in no file, or within a function), or could import it.
            BrokerError: the broker cannot be reached, or refuses.
            NotImplementedError: an option that wants a scheduler.
        """
        from flowchan import deployments  # noqa: PLC0415 - who calls flows does without

        made = deployments.deployment_of(self, name, parameters, description, tags, version, options)
        del pause_on_shutdown
        return deployments.serve(made, limit=limit, print_starting_message=print_starting_message)

    def to_deployment(
        self,
        name: str | None = None,
        *,
        parameters: Mapping[str, Any] | None = None,
        description: str | None = None,
        tags: Iterable[str] | None = None,
        version: str | None = None,
        **options: Any,
    ) -> RunnerDeployment:
        """This flow under a name, to be served together with others by :func:`flowchan.serve`; as :meth:`serve`."""
        from flowchan import deployments  # noqa: PLC0415 - as above

        return deployments.deployment_of(self, name, parameters, description, tags, version, options)

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...

    @overload
    def __get__(self: Flow[Concatenate[Any, Q], R], instance: object, owner: type | None = None) -> Flow[Q, R]: ...

    def __get__(self, instance: object | None, owner: type | None = None) -> Flow[Any, R]:
        """As a method: the same flow, bound to the instance."""
        bind = getattr(self.fn, "__get__", None)
        if instance is None or bind is None:
            return self
        bound = cast("Flow[Any, R]", copy.copy(self))
        bound.fn = bound.__dict__["__wrapped__"] = bind(instance, owner)
        return bound


_HOOKS = ("on_running", "on_completion", "on_failure", "on_cancellation", "on_crashed")


class FlowOptions(TypedDict, total=False):
    """What can be said of a flow besides its function; see :class:`Flow`."""

    name: str | None
    description: str | None
    flow_run_name: str | Callable[[], str] | None
    version: str | None
    timeout_seconds: float | None
    validate_parameters: bool
    retries: int | None
    retry_delay_seconds: float | None
    log_prints: bool | None
    on_running: Iterable[Hook] | None
    on_completion: Iterable[Hook] | None
    on_failure: Iterable[Hook] | None
    on_cancellation: Iterable[Hook] | None
    on_crashed: Iterable[Hook] | None


def _hooks(hooks: Iterable[Hook] | None, name: str) -> list[Hook]:
    if callable(hooks):
        raise TypeError(f"{name} takes a list of functions, not one.")
    found = list(hooks or ())
    for hook in found:
        if not callable(hook):
            raise TypeError(f"{name} takes functions, not {type(hook).__name__}.")
    return found


def _seconds(value: float | None, name: str, above: float | None = None) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # noqa: PLR0124 - not a number
        raise TypeError(f"{name} is a number of seconds, not {value!r}.")
    if value < 0 or (above is not None and value <= above):
        raise ValueError(f"{name} is a number of seconds above 0, not {value}.")
    return float(value)


@functools.lru_cache(maxsize=256)
def _hash_of_file(fn: Callable[..., Any]) -> str | None:
    try:
        return hashlib.md5(Path(inspect.getfile(inspect.unwrap(fn))).read_bytes(), usedforsecurity=False).hexdigest()
    except (TypeError, OSError):
        return None


def _pass_for_coroutine_function(flow: Flow[..., Any]) -> None:
    # Frameworks ask before they call: a web handler that passes for a plain function is called in a thread.
    if sys.version_info >= (3, 12):
        inspect.markcoroutinefunction(flow)
    else:
        flow.__dict__["_is_coroutine"] = vars(asyncio.coroutines)["_is_coroutine"]


def _docstring(fn: Callable[..., Any]) -> str | None:
    # Its own: what inspect.getdoc finds in a base class tells of another function, and it looks for it by
    # way of the flow that is being made.
    text = getattr(fn, "__doc__", None)
    return inspect.cleandoc(text) if text else None


@overload
def flow(fn: Callable[P, R], /) -> Flow[P, R]: ...


@overload
def flow(**options: Unpack[FlowOptions]) -> Callable[[Callable[P, R]], Flow[P, R]]: ...


def flow(
    fn: Callable[P, R] | None = None, /, **options: Unpack[FlowOptions]
) -> Flow[P, R] | Callable[[Callable[P, R]], Flow[P, R]]:
    """Make a function a flow: bare, as ``@flow``, or with options, as ``@flow(name="…", retries=3)``.

    Args:
        fn: the function, sync or async.
        options: what :class:`Flow` takes: ``name``, ``description``, ``flow_run_name`` (a template over the parameters,
            or a function that returns a name), ``version``, ``timeout_seconds``, ``validate_parameters``, ``retries``,
            ``retry_delay_seconds``, ``log_prints``, and lists of hooks, each called with the flow, the run and its
            state: ``on_running``, ``on_completion``, ``on_failure``, ``on_cancellation``, ``on_crashed``.

    Raises:
        TypeError, ValueError: an option cannot be used.
    """
    if fn is None:
        return lambda function: Flow(function, **options)
    return Flow(fn, **options)
