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
from flowchan.settings import Settings, chosen, current_settings
from flowchan.wire import keys

if TYPE_CHECKING:
    from types import TracebackType

    from flowchan.flows import Flow


class FlowRun:
    """A run: something with an ID that can be sent to.

    Attributes:
        id: a UUID where it is one (version 7 if flowchan made it), else the name that was given.
        flow_name: the name of the flow that this is a run of; None where it is of none.
    """

    __slots__ = ("_name", "flow_name", "id")

    def __init__(self, id: UUID | str, name: str | None = None, flow_name: str | None = None) -> None:  # noqa: A002
        self.id: UUID | str = id
        self.flow_name: str | None = flow_name
        self._name = name

    @property
    def name(self) -> str:
        """What people call the run: as given, else made up when it is first asked for."""
        if self._name is None:
            self._name = _new_run_name()
        return self._name

    def __repr__(self) -> str:
        return f"FlowRun(id={str(self.id)!r}, name={self.name!r}, flow_name={self.flow_name!r})"


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
    run: str = field(init=False)
    """The run's ID as it stands in keys."""
    sender: str = field(init=False)
    """How the run signs what it sends."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "run", keys.run_id(self.flow_run.id))
        object.__setattr__(self, "sender", keys.sender_of_run(self.run))


_current: ContextVar[FlowRunContext | None] = ContextVar("flowchan_run", default=None)
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


@contextlib.contextmanager
def within(context: FlowRunContext, settings: Settings | None = None) -> Generator[FlowRunContext]:
    """Make a run the current one within the block.

    It keeps to the settings that hold where it begins: the environment is not read again for each call.
    """
    with chosen(settings or current_settings()):
        token = _current.set(context)
        try:
            yield context
        finally:
            with contextlib.suppress(ValueError):  # left in another context, as a generator that its loop closes is
                _current.reset(token)


def new_run_id() -> UUID:
    """A new run's ID: a UUID of version 7, so that runs sort by the time they began."""
    return uuid_utils.compat.uuid7()


def _new_run_name() -> str:
    """A name that a person can remember, such as ``gregarious-owl``."""
    import coolname  # noqa: PLC0415 - it takes 40 ms to read its words; a run that nobody calls by name does without

    return "-".join(coolname.generate(2))


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
            run = keys.run_id(run)
            try:
                run = UUID(run)
            except ValueError:
                run = str(run)
        self._flow_run = FlowRun(run, name)
        self._settings = settings
        self._exits = contextlib.ExitStack()

    def __enter__(self) -> FlowRun:
        around = current_run()
        if around is None:
            context = FlowRunContext(self._flow_run)
        else:
            # Within a flow it is still the flow's function that decides whether a call blocks.
            context = FlowRunContext(self._flow_run, is_async=around.is_async, loop=around.loop)
        self._exits.enter_context(within(context, self._settings))
        return self._flow_run

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._exits.close()

    async def __aenter__(self) -> FlowRun:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._exits.close()
        await stored()


__all__ = ["FlowRun", "FlowRunContext", "get_run_context", "open_run"]
