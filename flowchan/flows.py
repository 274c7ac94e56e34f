"""A flow: a function of which each call is a run, with an ID that it can be spoken to by."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, cast, overload

from flowchan.context import FlowRun, FlowRunContext, new_run_id, stored, within

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")


class Flow(Generic[P, R]):
    """A function whose calls are runs.

    Within a call the run is the current one: it can be sent to, it sends in its own name, and a verb is
    awaited if the function is ``async def`` and blocks if it is ``def``. A run does not end before what it
    sent has been stored.

    A ``def`` flow that is called from async code runs on the loop's thread and holds the loop up while it
    waits; call it with ``asyncio.to_thread`` where other work must go on.

    Attributes:
        fn: the function.
        name: what people call it; by default the function's name with dashes.
        description: by default the function's docstring.
        is_async: whether ``fn`` is ``async def``.
    """

    def __init__(
        self,
        fn: Callable[P, R],
        name: str | None = None,
        description: str | None = None,
        flow_run_name: str | Callable[[], str] | None = None,
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
        if self.is_async:
            _pass_for_coroutine_function(self)

    def __repr__(self) -> str:
        return f"<flow {self.name!r}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the flow; awaited if its function is ``async def``."""
        if self.is_async:
            return cast("R", self._run_async(*args, **kwargs))
        with within(self._new_run(args, kwargs)):
            return self.fn(*args, **kwargs)

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

    async def _run_async(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        with within(self._new_run(args, kwargs)):
            try:
                return await cast("Coroutine[Any, Any, Any]", self.fn(*args, **kwargs))
            finally:
                await stored()

    def _new_run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> FlowRunContext:
        parameters = inspect.signature(self.fn).bind(*args, **kwargs)
        parameters.apply_defaults()
        run = FlowRun(new_run_id(), self._run_name(parameters.arguments), self.name)
        return FlowRunContext(run, self, parameters.arguments, self.is_async, _running_loop())

    def _run_name(self, parameters: dict[str, Any]) -> str | None:
        if self.flow_run_name is None:
            return None
        return self.flow_run_name.format(**parameters) if isinstance(self.flow_run_name, str) else self.flow_run_name()


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


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


@overload
def flow(fn: Callable[P, R], /) -> Flow[P, R]: ...


@overload
def flow(
    *,
    name: str | None = None,
    description: str | None = None,
    flow_run_name: str | Callable[[], str] | None = None,
) -> Callable[[Callable[P, R]], Flow[P, R]]: ...


def flow(
    fn: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    flow_run_name: str | Callable[[], str] | None = None,
) -> Flow[P, R] | Callable[[Callable[P, R]], Flow[P, R]]:
    """Make a function a flow: bare, as ``@flow``, or with options, as ``@flow(name="…")``.

    Args:
        fn: the function, sync or async.
        name: what people call it.
        description: what it is for.
        flow_run_name: a name for each run: a template over the parameters, or a function that returns one.
    """
    if fn is None:
        return lambda function: Flow(function, name, description, flow_run_name)
    return Flow(fn, name, description, flow_run_name)
