"""A run: something that can be spoken to, and what is known of it."""

from __future__ import annotations

import functools
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from flowchan.states import State


_NOT_FOR_A_RUN = frozenset({"sexy", "demonic", "naughty", "ludicrous", "lascivious"})
"""Words that nobody wants to see on an approval."""


class FlowRun:
    """A run, as it is known here; it does not change by itself: read it anew for what is so now.

    Attributes:
        id: a UUID where it is one (version 7 if flowchan made it), else the name that was given.
        flow_name: the name of the flow that this is a run of; None where it is of none.
        state: its state when it was read; None where it has none.
        parameters: what its flow was called with; None where that is not known.
        tags: what it was tagged with.
        deployment_id: the deployment whose servers execute it; None where it was called.
        deployment_name: that one's name, ``flow/name``.
        parent_id: the run that called it.
        created: when it was made, by the broker's clock, in UTC.
        run_count: how often its execution has begun.
        retries: how often it may be tried again in all.
        failures: how often it was.
        holder: who executes it; None where nobody does.
    """

    __slots__ = (
        "_name", "created", "deployment_id", "deployment_name", "failures", "flow_name", "holder", "id", "parameters",
        "parent_id", "retries", "run_count", "state", "tags",
    )  # fmt: skip

    def __init__(self, id: UUID | str, name: str | None = None, flow_name: str | None = None) -> None:  # noqa: A002
        self.id: UUID | str = id
        self.flow_name: str | None = flow_name
        self._name = name
        self.state: State | None = None
        self.parameters: dict[str, Any] | None = None
        self.tags: tuple[str, ...] = ()
        self.deployment_id: UUID | None = None
        self.deployment_name: str | None = None
        self.parent_id: UUID | str | None = None
        self.created: datetime | None = None
        self.run_count: int = 0
        self.retries: int = 0
        self.failures: int = 0
        self.holder: str | None = None

    @property
    def name(self) -> str:
        """What people call the run: as given, else made up when it is first asked for."""
        if self._name is None:
            self._name = _new_run_name()
        return self._name

    @property
    def waiting_for(self) -> str | None:
        """The base key of the input that it waits for, such as ``paused-1``; None where it waits for none."""
        state = self.state
        if state is None or not state.is_paused() or state.pause_key is None:
            return None
        return f"{state.name.lower()}-{state.pause_key}"

    def __repr__(self) -> str:
        return f"FlowRun(id={str(self.id)!r}, name={self.name!r}, flow_name={self.flow_name!r})"


@functools.lru_cache(maxsize=16_384)
def run_of_key(run: str) -> UUID | str:
    """A run's ID as users know it, from its spelling in keys."""
    try:
        return UUID(run)
    except ValueError:
        return run


def _new_run_name() -> str:
    """A name that a person can remember, such as ``gregarious-owl``."""
    import coolname  # noqa: PLC0415 - it takes 40 ms to read its words; a run that nobody calls by name does without

    while True:
        words = coolname.generate(2)
        if _NOT_FOR_A_RUN.isdisjoint(words):
            return "-".join(words)
