"""What is good and what is not about a broker: a verdict on each thing that it says of itself."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from flowchan.broker.inspection import Inspection
from flowchan.settings import Settings

_OLDEST = (7, 0)


class Mark(enum.StrEnum):
    """A verdict."""

    OK = enum.auto()
    NOTE = enum.auto()
    """Neither good nor bad."""
    WARN = enum.auto()
    BAD = enum.auto()
    """It cannot be used like that."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    mark: Mark
    found: str
    hint: str = ""
    """What to do about it, or why it is so."""
    facts: dict[str, Any] = field(default_factory=dict)
    """For programs."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "check": self.name,
            "mark": self.mark.value,
            "found": self.found,
            "hint": self.hint or None,
            **self.facts,
        }


def checks(found: Inspection, settings: Settings) -> Iterator[Check]:
    """A verdict on each thing that matters."""
    yield _version(found)
    yield _mode(found)
    yield _persistence(found, settings)
    yield _eviction(found)
    yield _namespace(found, settings)
    yield _capabilities(found)


def _version(found: Inspection) -> Check:
    name, facts = "version", {"engine": found.engine, "version": found.version}
    release = tuple(int(part) for part in found.version.split(".")[:2] if part.isdecimal())
    if len(release) < 2:
        return Check(name, Mark.WARN, "unknown", "This user may not ask (INFO).", facts)
    told = f"{found.engine.capitalize()} {found.version}"
    if release < _OLDEST:
        return Check(name, Mark.WARN, told, "flowchan is tested with Redis 7.0 or newer, and Valkey.", facts)
    return Check(name, Mark.OK, told, facts=facts)


def _mode(found: Inspection) -> Check:
    name, facts = "mode", {"mode": found.mode, "role": found.role}
    if found.mode == "cluster":
        return _cluster(found, {**facts, "primaries": found.primaries, "cluster_state": found.cluster_state})
    if found.mode == "sentinel":
        hint = "It knows where the primary is, and keeps no messages. Point FLOWCHAN_URL at the primary."
        return Check(name, Mark.BAD, "a sentinel", hint, facts)
    if found.role == "slave":
        return Check(name, Mark.BAD, "a replica, which is read-only", "Point FLOWCHAN_URL at the primary.", facts)
    if not found.mode:
        return Check(name, Mark.WARN, "unknown", "This user may not ask (INFO).", facts)
    return Check(name, Mark.OK, found.mode, facts=facts)


def _cluster(found: Inspection, facts: dict[str, Any]) -> Check:
    told = "a Cluster" if not found.primaries else f"a Cluster of {found.primaries} primaries"
    if found.cluster_state not in ("ok", ""):
        hint = "Not all of its slots have a primary that answers: see CLUSTER INFO and CLUSTER NODES."
        return Check("mode", Mark.BAD, f"{told}, which is down", hint, facts)
    return Check("mode", Mark.OK, told, "what is said of the server below is said by one of its nodes", facts)


def _persistence(found: Inspection, settings: Settings) -> Check:
    name = "persistence"
    facts = {"appendonly": found.appendonly, "appendfsync": found.appendfsync, "aof_last_write_status": found.aof_write}
    if found.appendonly is None:
        return Check(name, Mark.WARN, "unknown", "This user may not ask (INFO).", facts)
    if found.appendonly and found.aof_write != "ok":
        hint = "The last write to its append-only file failed. Is its disk full?"
        return Check(name, Mark.BAD, "it takes no messages", hint, facts)
    if found.appendonly:
        return _synced(name, found, settings, facts)
    if found.snapshots or found.snapshots is None:
        told = "snapshots" if found.snapshots else "no append-only file"
        hint = "What came after the last one is lost if it ends: set appendonly to yes."
        if found.snapshot_write not in ("ok", ""):
            told, hint = "snapshots, of which the last failed", "Is its disk full?"
        return Check(name, Mark.WARN, told, hint, facts)
    return Check(name, Mark.WARN, "none", "All messages are lost if it ends: set appendonly to yes.", facts)


def _synced(name: str, found: Inspection, settings: Settings, facts: dict[str, Any]) -> Check:
    told = "append-only file"
    if settings.url is None and found.appendfsync != "always":
        # The server leaves it to the watchdog.
        if settings.server_fsync == "no":
            return Check(name, Mark.OK, told, "on disk when the system likes (FLOWCHAN_SERVER_FSYNC=no)", facts)
        return Check(name, Mark.OK, f"{told}, on disk once a second", facts=facts)
    match found.appendfsync:
        case "always":
            return Check(name, Mark.OK, f"{told}, on disk before each answer", facts=facts)
        case "no":
            hint = "Seconds are lost if the machine fails: set appendfsync to everysec or always."
            return Check(name, Mark.WARN, f"{told}, on disk when the system likes", hint, facts)
        case "everysec":
            return Check(name, Mark.OK, f"{told}, on disk once a second", facts=facts)
        case _:
            return Check(name, Mark.OK, told, facts=facts)


def _eviction(found: Inspection) -> Check:
    name, facts = "eviction", {"maxmemory": found.maxmemory, "maxmemory_policy": found.eviction}
    if not found.eviction:
        return Check(name, Mark.WARN, "unknown", "This user may not ask (INFO).", facts)
    if found.eviction == "noeviction":
        return Check(name, Mark.OK, f"{found.eviction}{_limit(found)}", facts=facts)
    hint = "It deletes channels when its memory is full: set maxmemory-policy to noeviction."
    return Check(name, Mark.WARN, f"{found.eviction}{_limit(found)}", hint, facts)


def _limit(found: Inspection) -> str:
    return f", memory limited to {found.maxmemory / 2**20:,.0f} MiB" if found.maxmemory else ""


def _namespace(found: Inspection, settings: Settings) -> Check:
    facts = {"namespace": settings.namespace, "partitions": found.partitions}
    told = settings.namespace
    if found.partitions is not None:
        told += f", in {found.partitions} partitions"
    return Check("namespace", Mark.OK, told, facts=facts)


def _capabilities(found: Inspection) -> Check:
    words = {True: "yes", False: "no", None: "unknown"}
    told = ", ".join(f"{name}: {words[there]}" for name, there in found.capabilities.items())
    hint = "" if all(found.capabilities.values()) else "newer commands, which flowchan does without"
    return Check("capabilities", Mark.NOTE, told, hint, {"capabilities": found.capabilities})
