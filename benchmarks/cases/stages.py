"""stages: where the time of a message goes, by the rooms that it passes.

A hundred runs talk with a hundred others of the same process, under cProfile: so one profile holds both sides of a
message. A profiler makes each call dearer than it is, so the shares are a hint, and the time of the whole is taken
without it.
"""

from __future__ import annotations

import asyncio
import cProfile
import os
import pstats
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import uvloop

import flowchan
from benchmarks.contenders.crowd_typed import Text
from benchmarks.conversation import Place
from benchmarks.environment import environment
from benchmarks.report import Column, Report, progress
from benchmarks.server import Server

_RUNS = 100
_PACKAGE = Path(flowchan.__file__).parent

_WAY = (
    ("input: which run, channel, sender, settings; respond", ("input/run_input", "input/sending", "input/model",
     "input/types", "wire/keys", "context", "settings", "run", "broker/broker")),
    ("input: value → body, in msgpack", ("input/body", "wire/codec:encode")),
    ("outbox: message ID, XADD, what became of it", ("broker/outbox", "broker/sent", "broker/destination")),
    ("connection: bytes to the socket, and from it", ("broker/connection",)),
    ("metadata of what was sent", ("input/metadata",)),
    ("lane: reply → tap → source", ("broker/lane", "broker/tap", "broker/source")),
    ("waiting: queued, woken, in time", ("broker/subscription", "broker/alarms", "broker/hub")),
    ("receiver: entry → envelope, nothing twice", ("input/receiver", "wire/envelope", "wire/excluded")),
    ("body → validated value", ("wire/codec", "wire/limits", "input/body:instance_of")),
)  # fmt: skip
_ENCODING = {"encode", "_packed_as_it_is", "_is_plain"}

COLUMNS = (
    Column("stage", "stage of a message's way"),
    Column("calls", "calls", ".1f"),
    Column("share", "share", ".0%"),
    Column("us", "about µs", ".1f"),
)


def run(*, quick: bool = False) -> list[Report]:
    turns = 20 if quick else 200
    with Server() as server, progress() as bar:
        about = environment(server.name)
        task = bar.add_task("stages", total=2)
        os.environ["FLOWCHAN_URL"] = f"unix://{server.socket}"
        try:
            plain = min(uvloop.run(_talk(server.socket, turns, None)) for _ in range(3))
            bar.advance(task)
            profile = cProfile.Profile()
            uvloop.run(_talk(server.socket, turns, profile))
        finally:
            del os.environ["FLOWCHAN_URL"]
    shares, calls = _by_stage(profile)
    messages = 2 * _RUNS * turns
    total = sum(shares.values())
    rows = [
        {"stage": stage, "calls": calls[stage] / messages, "share": shares[stage] / total, "us": shares[stage] / total * plain}
        for stage in (*(stage for stage, _ in _WAY), "the caller", "the loop and its futures")
    ]  # fmt: skip
    return [
        Report(
            case="stages",
            title=f"stages: {plain:.0f} µs of CPU for a message, sent and received and awaited at both ends, of"
            f" {_RUNS} runs at once, both sides in one process, uvloop; calls for each message",
            parameters={"runs": _RUNS, "turns": turns},
            environment=about,
            rows=rows,
            targets=(),
            columns=COLUMNS,
        )
    ]


async def _talk(socket: str, turns: int, profile: cProfile.Profile | None) -> float:
    """Microseconds of processor time for a message."""
    one, other = uuid.uuid4().hex, uuid.uuid4().hex
    ask, answer = Text(Place(socket, one, other)), Text(Place(socket, other, one))
    await ask.open(_RUNS)
    await answer.open(_RUNS)
    await asyncio.gather(ask.talk(5), answer.reply(5))
    if profile is not None:
        profile.enable()
    before = time.process_time()
    await asyncio.gather(ask.talk(turns), answer.reply(turns))
    spent = time.process_time() - before
    if profile is not None:
        profile.disable()
    await ask.close()
    await answer.close()
    return spent / (2 * _RUNS * turns) * 1e6


def _by_stage(profile: cProfile.Profile) -> tuple[Counter[str], Counter[str]]:
    """Seconds and calls of each stage: a function's own, and those of what is built in and called from it."""
    seconds: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    found: Any = pstats.Stats(profile)
    for (file, _, name), (_, count, own, _, callers) in found.stats.items():
        if file != "~":
            seconds[_stage(file, name)] += own
            calls[_stage(file, name)] += count
        elif not callers:
            seconds[_stage("", "")] += own
        else:
            for (its_file, _, its_name), (_, _, its_own, _) in callers.items():
                seconds[_stage(its_file, its_name)] += its_own
    return seconds, calls


def _stage(file: str, name: str) -> str:
    path = Path(file)
    if not path.is_relative_to(_PACKAGE):
        return "the caller" if "benchmarks" in path.parts else "the loop and its futures"
    room = path.relative_to(_PACKAGE).with_suffix("").as_posix()
    if room == "wire/codec" and name in _ENCODING:
        room = "wire/codec:encode"
    if room == "input/body" and name == "instance_of":
        room = "input/body:instance_of"
    return next((stage for stage, rooms in _WAY if room in rooms), "the loop and its futures")
