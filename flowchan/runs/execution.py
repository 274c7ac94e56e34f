"""One run's execution by this process: what it holds, what it has asked for so far, how it is stopped."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import anyio

from flowchan.broker.broker import Broker
from flowchan.errors import BrokerError, IllegalTransition
from flowchan.run import FlowRun
from flowchan.runs import store
from flowchan.runs.interrupt import Interrupt
from flowchan.runs.keeper import keeper_of_this_process
from flowchan.runs.store import Change
from flowchan.settings import current_settings
from flowchan.states import State, StateType
from flowchan.stops import AbandonRun, CancelRun, StopRun, SuspendRun
from flowchan.wire import keys
from flowchan.wire.keys import EntryId

logger = logging.getLogger(__name__)

_FAREWELL = 10.0
GOES_ON = frozenset({StateType.PENDING, StateType.RUNNING, StateType.PAUSED, StateType.SCHEDULED})
"""In these states a run that somebody executes is not to be stopped."""


class Execution:
    """A run that is this process's.

    Guarantees: each change of its state is made only while it is; of what is done to it elsewhere, its function is
    stopped with the reason.

    Attributes:
        run: the run.
        holder: by which name it is held.
        state: the state that it was given last from here.
        entry: that state's place among the run's states.
        interrupt: by which its function can be stopped.
        failures: how often an execution of it has failed and was to be tried again.
    """

    def __init__(self, run: FlowRun, state: State | None = None, holder: str | None = None) -> None:
        """``state`` and ``holder`` are given for a run that this process was handed: its lease is another's business."""
        settings = current_settings()
        self.run = run
        self.key: str = keys.run_id(run.id)
        self.is_handed = holder is not None
        self._keeper = keeper_of_this_process(settings) if holder is None else None
        self.holder: str = holder or (self._keeper.holder if self._keeper is not None else "")
        self.state = state
        self.entry: EntryId = keys.FIRST
        self.interrupt = Interrupt()
        self.failures = run.failures
        self.is_first = state is None
        """Whether nothing can have been answered to it before."""
        self._asked = 0
        self._keys: set[str] = set()
        self._is_over = False

    @property
    def is_subflow(self) -> bool:
        """Whether another run called it in its own process; one that asked a deployment for it did not."""
        return self.run.parent_id is not None and not self.is_handed

    async def begin(self, broker: Broker, state: State, fields: Mapping[str, bytes], parameters: bytes | None) -> None:
        """Let the broker know of the run, and that it runs."""
        if self._keeper is None:
            await self.become(broker, state, counts=("run_count",))
        else:
            change = Change(
                state, holder=self.holder, lease=broker.settings.lease, fields=fields, counts=("run_count",)
            )
            self.entry = await store.begin(broker, self.run, change, parameters)
            self.run.state = self.state = state
            self._keeper.add(self.key, self.told)

    async def become(self, broker: Broker, state: State, **more: Any) -> None:
        """Give the run its next state; it goes on being executed here.

        Raises:
            IllegalTransition: something was done to it elsewhere.
        """
        change = Change(state, holder=self.holder, expected=self.state, lease=broker.settings.lease, **more)
        entry = await store.change(broker, self.run.id, change)
        assert entry is not None  # noqa: S101 - it need not be overdue
        self.saw(state, entry)

    async def end(self, broker: Broker, state: State, **more: Any) -> State:
        """Give the run a state in which nobody executes it; the one that it has, if something else was done to it first."""
        self.over()
        change = Change(state, holder=self.holder, **more)  # not `expected`: who was told to stop may have ended before
        with anyio.move_on_after(_FAREWELL, shield=True) as patience:
            try:
                self.entry = await store.change(broker, self.run.id, change) or self.entry
            except IllegalTransition as refused:
                if refused.now is not None and refused.now.is_final():
                    state = refused.now.model_copy(update={"data": state.data})
                else:
                    logger.error("The end of run %s could not be noted: %s", self.run.id, refused)  # noqa: TRY400
            except BrokerError as error:
                # What the flow did is done, and its caller has the result; the run will count as crashed.
                logger.error("The end of run %s could not be noted: %s", self.run.id, error)  # noqa: TRY400 - it says it all
        if patience.cancelled_caught:
            logger.error("The end of run %s could not be noted: the broker did not answer.", self.run.id)
        self.run.state = self.state = state
        return state

    def saw(self, state: State, entry: EntryId) -> None:
        """The run has this state now."""
        self.run.state = self.state = state
        self.entry = entry

    def over(self) -> None:
        """Nothing that is told matters any more."""
        self._is_over = True
        if self._keeper is not None:
            self._keeper.remove(self.key)

    def try_again(self) -> None:
        """Its function is called once more: what it asked for, it will ask for again."""
        self.interrupt = Interrupt()
        self.failures += 1
        self.is_first = False
        self._asked = 0
        self._keys.clear()

    def pause_key(self, given: str | None) -> tuple[str, bool, bool]:
        """The key of the next pause; whether it was asked under before, maybe; and whether that answer would do.

        Pauses are numbered, so that a function that is called again finds its answers. One that asks again under a
        key of its own does not want the answer that it has had.
        """
        self._asked += 1
        key = given or str(self._asked)
        is_new = key not in self._keys
        self._keys.add(key)
        return key, not (is_new and self.is_first), is_new and not self.is_first

    def told(self, kind: str) -> None:
        """The run has a state of this type; an empty text: it is another's, or nobody's. From any thread."""
        if self._is_over or kind in GOES_ON:
            return
        reason: StopRun
        if kind in (StateType.CANCELLING, StateType.CANCELLED):
            reason = CancelRun(f"Run {self.run.id} was cancelled.")
        elif kind == StateType.SUSPENDED:
            reason = SuspendRun(f"Run {self.run.id} was suspended.")
        else:
            reason = AbandonRun(f"Run {self.run.id} is executed here no more.")
        self.interrupt.strike(reason)


def is_same_run(run: UUID | str, other: UUID | str) -> bool:
    """Whether two IDs are of one run."""
    return keys.run_id(run) == keys.run_id(other)
