"""Runs as they are told: as JSON for programs, in words and colours for people."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from flowchan.run import FlowRun
from flowchan.states import State, StateType

COLOURS = {
    StateType.SCHEDULED: "yellow",
    StateType.PENDING: "yellow",
    StateType.RUNNING: "blue",
    StateType.PAUSED: "magenta",
    StateType.SUSPENDED: "magenta",
    StateType.CANCELLING: "bright_black",
    StateType.CANCELLED: "bright_black",
    StateType.COMPLETED: "green",
    StateType.FAILED: "red",
    StateType.CRASHED: "bold red",
}
"""What a state looks like on a terminal."""


def as_dict(run: FlowRun) -> dict[str, Any]:
    """What is known of a run, for a line of JSON."""
    state = run.state
    return {
        "id": str(run.id),
        "name": run.name,
        "flow": run.flow_name,
        "state": state.type.value if state else None,
        "state_name": state.name if state else None,
        "message": state.message if state else None,
        "since": state.timestamp.isoformat() if state else None,
        "waiting_for": run.waiting_for,
        "created": run.created.isoformat() if run.created else None,
        "deployment": run.deployment_name,
        "parent": str(run.parent_id) if run.parent_id is not None else None,
        "tags": list(run.tags),
        "run_count": run.run_count,
    }


def state_as_dict(state: State) -> dict[str, Any]:
    """A state, for a line of JSON."""
    return {
        "type": state.type.value,
        "name": state.name,
        "message": state.message,
        "timestamp": state.timestamp.isoformat(),
        "pause_key": state.pause_key,
    }


def line(value: Any) -> str:
    """A line of JSON."""
    return json.dumps(value, ensure_ascii=False, default=str)


def ago(when: datetime) -> str:
    """How long something is so, in the two largest units that matter: ``5 s``, ``3 min``, ``2 h 10 min``, ``4 d``."""
    seconds = max(0, int((datetime.now(UTC) - when).total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86_400
    if hours < 1:
        return f"{minutes} min"
    if days < 1:
        return f"{hours} h {minutes % 60} min" if minutes % 60 else f"{hours} h"
    return f"{days} d {hours % 24} h" if days < 3 and hours % 24 else f"{days} d"


def state_name(state: State) -> str:
    """A state in a word, or two where its name is not its type's."""
    return state.type.value if state.name.upper() == state.type.value else f"{state.type.value} ({state.name})"
