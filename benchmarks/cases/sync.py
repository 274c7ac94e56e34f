"""sync: the chat in synchronous code, and 100 threads that chat at once."""

from __future__ import annotations

from benchmarks.cases import chat, many
from benchmarks.contenders import Contender
from benchmarks.environment import environment
from benchmarks.loops import Loop
from benchmarks.report import Column, Report, Target, progress
from benchmarks.server import Server

FLOWCHAN = Contender("flowchan.sync, str", "typed_sync:Text", Loop.NONE)
REDIS_PY = Contender("redis-py sync", "redis_py:Sync", Loop.NONE)
CONTENDERS = (FLOWCHAN, chat.FLOWCHAN, chat.FLOWCHAN_ON_ASYNCIO, REDIS_PY)

THREADS = Contender("flowchan.sync, threads", "threads:Typed", Loop.NONE)
THREADS_BY_HAND = Contender("redis-py sync, threads", "threads:RedisPy", Loop.NONE)
TASKS = Contender("flowchan, tasks", "crowd_typed:Text", Loop.UVLOOP)

COLUMNS = (
    Column("contender", "contender"),
    Column("trips_per_second", "trips/s", ",.0f"),
    Column("p50_ms", "p50 ms", ".2f"),
    Column("p99_ms", "p99 ms", ".2f"),
    Column("clients_cpu_us", "clients µs", ".0f"),
    Column("server_cpu_us", "server µs", ".1f"),
    Column("connections", "conn.", ".0f"),
)


def run(*, quick: bool = False) -> list[Report]:
    with Server() as server:
        return [_chat(server, quick=quick), _threads(server, quick=quick)]


def _chat(server: Server, *, quick: bool) -> Report:
    rounds, trips = (3, 300) if quick else (40, 500)
    about = environment(server.name)
    found, times = chat.conversations(server, CONTENDERS, rounds, trips, "sync")
    return Report(
        case="sync",
        title=f"sync: round trip in synchronous code; medians of {rounds} rounds of {trips}, ratios to redis-py sync",
        parameters={"rounds": rounds, "trips": trips},
        environment=about,
        rows=chat.rows(found, times, REDIS_PY),
        targets=[
            Target.of_ratio("p50: sync / async on uvloop", chat.of(found, FLOWCHAN, chat.FLOWCHAN), 2.0),
            Target.of_ratio("p50: sync / async on asyncio", chat.of(found, FLOWCHAN, chat.FLOWCHAN_ON_ASYNCIO), 2.0),
            Target.of_ratio("p50: flowchan.sync / redis-py sync", chat.of(found, FLOWCHAN, REDIS_PY)),
        ],
        columns=chat.COLUMNS,
    )


def _threads(server: Server, *, quick: bool) -> Report:
    threads, turns, rounds = 100, 10 if quick else 50, 2 if quick else 10
    contenders = [THREADS, THREADS_BY_HAND, TASKS]
    about = environment(server.name)
    with progress() as bar:
        task = bar.add_task(f"sync: {threads} threads", total=len(contenders) * rounds)
        found = many.crowds(server, contenders, threads, turns, rounds, bar, task)
    return Report(
        case="sync: threads",
        title=f"sync: {threads} threads chat at once, two processes; medians of {rounds} rounds of {threads} × {turns}",
        parameters={"rounds": rounds, "threads": threads, "turns": turns},
        environment=about,
        rows=[{"contender": each.name, **found.medians(each)} for each in contenders],
        targets=[
            Target.of_ratio("trips/s / redis-py's", found.ratio("trips_per_second", THREADS, THREADS_BY_HAND)),
            Target.of_ratio("trips/s / those of tasks", found.ratio("trips_per_second", THREADS, TASKS)),
        ],
        columns=COLUMNS,
    )
