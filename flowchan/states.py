# ruff: noqa: N802 - the kinds of a state are functions that read like classes, as in the documents
"""What a run is doing: a state, its type, and the kinds that states are made by."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Self
from uuid import UUID, uuid4

from pydantic import AwareDatetime, BaseModel, Field, ValidationInfo, field_validator, model_validator

from flowchan.context import calls_are_async
from flowchan.errors import FlowchanError, RunCancelled, RunCrashed, RunFailed


class StateType(StrEnum):
    """What the engine does with a run. A state's name may say more to a person."""

    SCHEDULED = "SCHEDULED"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    SUSPENDED = "SUSPENDED"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CRASHED = "CRASHED"


PAUSE_TYPES = frozenset({StateType.PAUSED, StateType.SUSPENDED})
"""The run waits to be resumed: paused within its process, suspended without one."""

FINAL_TYPES = frozenset({StateType.CANCELLED, StateType.COMPLETED, StateType.FAILED, StateType.CRASHED})
"""The run does nothing more."""

_T = StateType
FOLLOWS: Mapping[StateType, frozenset[StateType]] = {
    # A run that waits for a worker was resumed, is to be tried again, or lost its worker (while it waited for that, too).
    _T.SCHEDULED: frozenset({_T.SUSPENDED, _T.RUNNING, _T.PENDING, _T.PAUSED, _T.SCHEDULED}),
    _T.PENDING: frozenset({_T.SCHEDULED}),
    _T.RUNNING: frozenset({_T.SCHEDULED, _T.PENDING, _T.PAUSED}),
    _T.PAUSED: frozenset({_T.RUNNING}),
    _T.SUSPENDED: frozenset({_T.RUNNING}),
    _T.CANCELLING: frozenset({_T.RUNNING, _T.PENDING}),
    # Who waits is cancelled at once: there is nothing to be stopped. Who runs may say so of itself.
    _T.CANCELLED: frozenset({_T.CANCELLING, _T.RUNNING, _T.SCHEDULED, _T.PAUSED, _T.SUSPENDED}),
    # What was told to stop may have ended before it heard of it.
    _T.COMPLETED: frozenset({_T.RUNNING, _T.CANCELLING}),
    _T.FAILED: frozenset({_T.RUNNING, _T.CANCELLING, _T.PENDING, _T.SCHEDULED, _T.PAUSED, _T.SUSPENDED}),
    _T.CRASHED: frozenset({_T.RUNNING, _T.CANCELLING, _T.PENDING, _T.SCHEDULED, _T.PAUSED}),
}
"""Which states each one may follow. What is final is followed by none. The broker decides by this, atomically."""


def _now() -> datetime:
    return datetime.now(UTC)


class State(BaseModel, frozen=True, extra="forbid"):
    """One state of one run: never changed, only followed by another.

    The name is the type's in title case unless another is given, and the timestamp is in UTC whatever
    zone it came in; one without a zone is refused.
    """

    id: UUID = Field(default_factory=uuid4)
    type: StateType
    name: str = Field(default="", validate_default=True)
    """What people read; never empty."""
    message: str | None = None
    timestamp: AwareDatetime = Field(default_factory=_now)
    pause_key: str | None = None
    """Which pause of the run this is, so that a resume finds what was asked for. Only on a pause."""
    data: Any = Field(default=None, exclude=True)
    """What the run returned, or the exception that ended it, where it is known in this process. Never stored here."""

    @field_validator("timestamp")
    @classmethod
    def _in_utc(cls, value: datetime) -> datetime:
        return value.astimezone(UTC)

    @field_validator("name")
    @classmethod
    def _by_default_from_type(cls, value: str, info: ValidationInfo) -> str:
        if value or "type" not in info.data:
            return value
        kind: StateType = info.data["type"]
        return kind.value.title()

    @model_validator(mode="after")
    def _pause_key_on_pauses_only(self) -> Self:
        if self.pause_key is not None and not self.is_paused():
            raise ValueError(f"a state of type {self.type.value} has no pause key")
        return self

    def is_scheduled(self) -> bool:
        """Whether the run waits for its time or for a worker."""
        return self.type == StateType.SCHEDULED

    def is_pending(self) -> bool:
        """Whether the run is about to start."""
        return self.type == StateType.PENDING

    def is_running(self) -> bool:
        """Whether the run's function is being executed."""
        return self.type == StateType.RUNNING

    def is_paused(self) -> bool:
        """Whether the run waits to be resumed, in its process (paused) or without one (suspended)."""
        return self.type in PAUSE_TYPES

    def is_cancelling(self) -> bool:
        """Whether the run was told to stop and has not stopped yet."""
        return self.type == StateType.CANCELLING

    def is_cancelled(self) -> bool:
        """Whether the run stopped because it was told to."""
        return self.type == StateType.CANCELLED

    def is_completed(self) -> bool:
        """Whether the run ended well."""
        return self.type == StateType.COMPLETED

    def is_failed(self) -> bool:
        """Whether the run's own code raised."""
        return self.type == StateType.FAILED

    def is_crashed(self) -> bool:
        """Whether the run was ended by what is around it: a lost worker, a signal."""
        return self.type == StateType.CRASHED

    def is_final(self) -> bool:
        """Whether no state follows this one."""
        return self.type in FINAL_TYPES

    def result(self, raise_on_failure: bool = True, fetch: bool | None = None) -> Any:
        """What the run returned. Awaited in async code, unless ``fetch=False``.

        Args:
            raise_on_failure: whether a run that did not end well raises, or its exception is returned.
            fetch: as in the documents; False returns the result itself in async code too.

        Raises:
            Exception: what the run raised, if it ran in this process.
            RunFailed, RunCrashed, RunCancelled: it ran elsewhere, or what ended it was no exception.
            SignatureError: there are signing keys, and none of them has signed the result that was kept.
            DecodeError: what was kept cannot be read.
            ValueError: the run has not ended.
        """
        if fetch is not False and calls_are_async():
            return _awaited(self, raise_on_failure)
        return result(self, raise_on_failure=raise_on_failure)

    def fresh_copy(self, **changes: Any) -> Self:
        """The same state again, as one that begins now: with a new ID and timestamp.

        Args:
            changes: fields of the copy that differ.

        Raises:
            pydantic.ValidationError: a change fits no field.
        """
        kept = {field: value for field, value in self if field not in {"id", "timestamp"}}
        return self.model_validate(kept | changes)

    def __repr__(self) -> str:
        """All that a debugger needs: ``MyCompletedState(message="my message", type=COMPLETED, result='it')``."""
        message = f"message={_quoted(self.message)}" if self.message else None
        result = f"result={self.data!r}" if self.data is not None else None
        return self._called(message, f"type={self.type.value}", result)

    def __str__(self) -> str:
        """What a log needs: ``MyCompletedState("my message", type=COMPLETED)``, without a type that the name says."""
        message = _quoted(self.message) if self.message else None
        named_so = self.name.upper() == self.type.value
        return self._called(message, None if named_so else f"type={self.type.value}")

    def _called(self, *parts: str | None) -> str:
        return f"{self.name}({', '.join(part for part in parts if part)})"


class Withheld:
    """Stands where a result would: nobody is to have it, for a reason."""

    def __init__(self, reason: FlowchanError) -> None:
        self.reason = reason

    def __repr__(self) -> str:
        return f"Withheld({type(self.reason).__name__})"


_WITHOUT_RESULT = {
    StateType.FAILED: RunFailed,
    StateType.CRASHED: RunCrashed,
    StateType.CANCELLED: RunCancelled,
}


def result(state: State, *, raise_on_failure: bool = True) -> Any:
    """What a run in this state returned; as :meth:`State.result`, in async code too."""
    if not state.is_final():
        raise ValueError(f"The run has not ended, so it has no result: it is {state}.")
    error = _WITHOUT_RESULT.get(state.type)
    if error is None:
        if isinstance(state.data, Withheld):
            raise state.data.reason
        return state.data
    failure = state.data if isinstance(state.data, BaseException) else error(state.message or str(state))
    if raise_on_failure:
        raise failure
    return failure


async def _awaited(state: State, raise_on_failure: bool) -> Any:
    return result(state, raise_on_failure=raise_on_failure)


def _quoted(text: str) -> str:
    # In double quotes, as the documents show it. Python's repr would choose single ones.
    return json.dumps(text, ensure_ascii=False)


def Scheduled(*, message: str | None = None, name: str | None = None) -> State:
    """The run waits for its time or for a worker."""
    return _state(StateType.SCHEDULED, message, name)


def Pending(*, message: str | None = None, name: str | None = None) -> State:
    """The run is about to start."""
    return _state(StateType.PENDING, message, name)


def Running(*, message: str | None = None, name: str | None = None) -> State:
    """The run's function is being executed."""
    return _state(StateType.RUNNING, message, name)


def Paused(*, message: str | None = None, name: str | None = None, pause_key: str | None = None) -> State:
    """The run waits in its process to be resumed."""
    return _state(StateType.PAUSED, message, name, pause_key)


def Suspended(*, message: str | None = None, name: str | None = None, pause_key: str | None = None) -> State:
    """The run's process ended; a worker runs it again after the resume."""
    return _state(StateType.SUSPENDED, message, name, pause_key)


def Cancelling(*, message: str | None = None, name: str | None = None) -> State:
    """The run was told to stop."""
    return _state(StateType.CANCELLING, message, name)


def Cancelled(*, message: str | None = None, name: str | None = None, data: Any = None) -> State:
    """The run stopped because it was told to."""
    return _state(StateType.CANCELLED, message, name, data=data)


def Completed(*, message: str | None = None, name: str | None = None, data: Any = None) -> State:
    """The run ended well."""
    return _state(StateType.COMPLETED, message, name, data=data)


def Failed(*, message: str | None = None, name: str | None = None, data: Any = None) -> State:
    """The run's own code raised."""
    return _state(StateType.FAILED, message, name, data=data)


def Crashed(*, message: str | None = None, name: str | None = None, data: Any = None) -> State:
    """The run was ended by what is around it."""
    return _state(StateType.CRASHED, message, name, data=data)


def _state(
    kind: StateType, message: str | None, name: str | None, pause_key: str | None = None, data: Any = None
) -> State:
    return State(type=kind, message=message, name=name or "", pause_key=pause_key, data=data)
