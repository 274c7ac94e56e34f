"""A client that reads what is known of runs, as the documents use it."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import TYPE_CHECKING, Self
from uuid import UUID

from flowchan.dual import asked
from flowchan.run import FlowRun
from flowchan.runs import reaper, store
from flowchan.states import State, StateType
from flowchan.wire import keys

if TYPE_CHECKING:
    from types import TracebackType


class FlowchanClient:
    """Reads what is known of runs. It holds nothing, so it may be used bare, with ``async with``, or with ``with``.

    Each verb is awaited in async code and blocks in sync code.
    """

    def read_flow_run(self, flow_run_id: UUID | str) -> Awaitable[FlowRun]:
        """What is known of a run now: its ID, its name, its state and so on.

        Raises:
            ObjectNotFound: there is no such run.
        """
        keys.run_id(flow_run_id)
        return asked(lambda broker: reaper.current(broker, flow_run_id))

    def read_flow_runs(
        self,
        state: StateType | str | Iterable[StateType | str] | None = None,
        flow: str | None = None,
        limit: int = 200,
    ) -> Awaitable[list[FlowRun]]:
        """The newest runs, newest first.

        Args:
            state: only those whose state is of this type, or of one of these.
            flow: only those of the flow of this name.
            limit: how many at most.

        Raises:
            ValueError: there is no such type of state.
        """
        kinds = _types(state)
        return asked(lambda broker: reaper.newest(broker, limit, kinds, flow))

    def read_flow_run_states(self, flow_run_id: UUID | str) -> Awaitable[list[State]]:
        """All states that a run has had, oldest first; an empty list for a run that is not known."""
        keys.run_id(flow_run_id)
        return asked(lambda broker: store.history(broker, flow_run_id))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None


def get_client() -> FlowchanClient:
    """A client for the broker that holds here."""
    return FlowchanClient()


def _types(state: StateType | str | Iterable[StateType | str] | None) -> frozenset[StateType] | None:
    if state is None:
        return None
    named = [state] if isinstance(state, str) else list(state)
    return frozenset(StateType(str(each).upper()) for each in named)


__all__ = ["FlowchanClient", "get_client"]
