"""The current run: who sends, who is responded to, and whether a call here blocks or is awaited."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

import uuid_utils.compat

from flowchan.broker.broker import brokers_of_this_loop
from flowchan.errors import MissingRunError
from flowchan.run import FlowRun, run_of_key
from flowchan.settings import Settings, choose, current_settings, take_back
from flowchan.wire import keys

if TYPE_CHECKING:
    from types import TracebackType

    from flowchan.flows import Flow
    from flowchan.runs.execution import Execution


@dataclass(frozen=True, slots=True)
class FlowRunContext:
    """What code within a run can know of it."""

    flow_run: FlowRun
    flow: Flow[..., Any] | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    is_async: bool | None = None
    """Whether the run's function is ``async def``; None where it has none."""
    loop: asyncio.AbstractEventLoop | None = None
    """The loop that ran in this thread when the run began."""
    execution: Execution | None = None
    """What executes it: where it can be paused, cancelled and so on; None for a run that is of no flow."""
    run: str = field(init=False)
    """The run's ID as it stands in keys."""
    sender: str = field(init=False)
    """How the run signs what it sends."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "run", keys.run_id(self.flow_run.id))
        object.__setattr__(self, "sender", keys.sender_of_run(self.run))


_current: ContextVar[FlowRunContext | None] = ContextVar("flowchan_run", default=None)
_tags: ContextVar[frozenset[str]] = ContextVar("flowchan_tags", default=frozenset())
_blocking: ContextVar[bool] = ContextVar("flowchan_blocking", default=False)


def get_run_context() -> FlowRunContext:
    """The run that this code is in.

    Raises:
        MissingRunError: it is in none.
    """
    context = _current.get()
    if context is None:
        raise MissingRunError
    return context


def current_run() -> FlowRunContext | None:
    """The run that this code is in, or None."""
    return _current.get()


def run_or_current(flow_run_id: UUID | str | None) -> str:
    """The run that was named, else the current one, as it stands in keys.

    Raises:
        MissingRunError: none was named, and the caller is in none.
        InvalidKeyError: what was named can be no run.
    """
    return keys.run_id(flow_run_id) if flow_run_id is not None else get_run_context().run


def calls_are_async() -> bool:
    """Whether a verb called here returns an awaitable (True) or blocks and returns its result (False).

    The current run's function decides, and where there is none, whether this thread runs an event loop. A
    ``def`` flow stays synchronous on the loop that it was called on; a loop that it starts itself is
    another matter, and so is a thread without a loop that an ``async def`` flow has something done in.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return False
    if _blocking.get():
        return False
    context = _current.get()
    return context is None or context.is_async is not False or loop is not context.loop


@contextlib.contextmanager
def blocking() -> Generator[None]:
    """Have verbs block within the block, whatever runs in this thread."""
    token = _blocking.set(True)
    try:
        yield
    finally:
        _blocking.reset(token)


class within(AbstractContextManager[FlowRunContext, None]):  # noqa: N801 - as a context manager is written
    """Make a run the current one within the block.

    It keeps to the settings that hold where it begins: the environment is not read again for each call.
    """

    # No generator: thousands of runs are open at once, and that takes a KiB of each.
    __slots__ = ("_before", "_choice", "_context", "_settings")

    def __init__(self, context: FlowRunContext, settings: Settings | None = None) -> None:
        self._context = context
        self._settings = settings

    def __enter__(self) -> FlowRunContext:
        self._choice = choose(self._settings or current_settings())
        self._before = _current.set(self._context)
        return self._context

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with contextlib.suppress(ValueError):  # left in another context, as a generator that its loop closes is
            _current.reset(self._before)
        take_back(self._choice)


def new_run_id() -> UUID:
    """A new run's ID: a UUID of version 7, so that runs sort by the time they began."""
    return uuid_utils.compat.uuid7()


@contextlib.contextmanager
def tags(*names: str) -> Generator[frozenset[str]]:
    """Tag the runs that begin within the block; blocks add up.

    Raises:
        TypeError: a tag is no string.
    """
    if not all(isinstance(name, str) for name in names):
        raise TypeError("A tag is a string.")
    token = _tags.set(_tags.get() | set(names))
    try:
        yield _tags.get()
    finally:
        _tags.reset(token)


def current_tags() -> tuple[str, ...]:
    """What a run that begins here is tagged with."""
    return tuple(sorted(_tags.get()))


async def stored() -> None:
    """Wait until all that was sent on this loop so far, by whatever client, has been stored, or has failed."""
    for broker in brokers_of_this_loop():
        await broker.outbox.drain()


class open_run(AbstractContextManager[FlowRun, None], AbstractAsyncContextManager[FlowRun, None]):  # noqa: N801
    """Gives code that is no flow a run: a script, a web handler, another orchestrator's task.

    Within it, ``flow_run_id`` arguments default to it, what is sent names it as sender, and it can be
    responded to. ``async with`` ends when its sends have been stored; under ``with`` each send in
    synchronous code has been stored when it returns.

    Args:
        flow_run_id: the ID to take: a UUID, or any string of ``[A-Za-z0-9_.-]{1,128}``. None: a new one.
        name: a name for people. None: one is made up.
        settings: whose broker to use within it. None: the one that is used here already.

    Raises:
        InvalidKeyError: ``flow_run_id`` can be no run's.
    """

    def __init__(
        self,
        flow_run_id: UUID | str | None = None,
        *,
        name: str | None = None,
        settings: Settings | None = None,
    ) -> None:
        run: UUID | str = new_run_id() if flow_run_id is None else flow_run_id
        if not isinstance(run, UUID):
            run = run_of_key(keys.run_id(run))
        self._flow_run = FlowRun(run, name)
        self._settings = settings
        self._within: within | None = None

    def __enter__(self) -> FlowRun:
        around = current_run()
        if around is None:
            context = FlowRunContext(self._flow_run)
        else:
            # Within a flow it is still the flow's function that decides whether a call blocks.
            context = FlowRunContext(self._flow_run, is_async=around.is_async, loop=around.loop)
        if self._within is not None:
            raise RuntimeError("This open_run is entered already. Make one for each block and each thread.")
        self._within = within(context, self._settings)
        self._within.__enter__()
        return self._flow_run

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        entered, self._within = self._within, None
        if entered is not None:
            entered.__exit__(kind, error, traceback)

    async def __aenter__(self) -> FlowRun:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, traceback)
        await stored()


__all__ = ["FlowRun", "FlowRunContext", "get_run_context", "open_run", "tags"]
