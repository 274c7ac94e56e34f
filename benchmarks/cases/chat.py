"""chat: one conversation, closed loop, two processes: what a round trip takes with flowchan and without."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from benchmarks import figures
from benchmarks.contenders import Contender
from benchmarks.environment import environment
from benchmarks.loops import Loop
from benchmarks.processes import Pair, Two, opened
from benchmarks.report import Column, Report, Target, progress
from benchmarks.rounds import Rounds, alternate
from benchmarks.server import Server

SOCKETS = Contender("blocking sockets", "sockets:Sockets", Loop.NONE)
HIREDIS = Contender("hiredis, bare protocol", "bare_protocol:BareProtocol", Loop.UVLOOP)
REDIS_PY = Contender("redis-py asyncio", "redis_py:Asyncio", Loop.UVLOOP)
REDIS_PY_AS_IT_COMES = Contender("redis-py asyncio, defaults", "redis_py:AsyncioAsItComes", Loop.UVLOOP)
REDIS_PY_ON_ASYNCIO = Contender("redis-py asyncio", "redis_py:Asyncio", Loop.ASYNCIO)
FLOWCHAN = Contender("flowchan, str", "typed:Text", Loop.UVLOOP)
FLOWCHAN_MODEL = Contender("flowchan, RunInput", "typed:Model", Loop.UVLOOP)
FLOWCHAN_UNAWAITED = Contender("flowchan, sends not awaited", "typed:Unawaited", Loop.UVLOOP)
FLOWCHAN_ON_ASYNCIO = Contender("flowchan, str", "typed:Text", Loop.ASYNCIO)

CONTENDERS = (
    SOCKETS,
    HIREDIS,
    REDIS_PY,
    REDIS_PY_AS_IT_COMES,
    FLOWCHAN,
    FLOWCHAN_MODEL,
    FLOWCHAN_UNAWAITED,
    REDIS_PY_ON_ASYNCIO,
    FLOWCHAN_ON_ASYNCIO,
)

# Short rounds, so that one is over before its neighbours change.
QUICK_ROUNDS, QUICK_TRIPS = 3, 300
QUICK = (HIREDIS, REDIS_PY, FLOWCHAN, REDIS_PY_ON_ASYNCIO, FLOWCHAN_ON_ASYNCIO)

COLUMNS = (
    Column("contender", "contender"),
    Column("loop", "loop"),
    Column("p50_us", "p50 µs", ".0f"),
    Column("p99_us", "p99 µs", ".0f"),
    Column("p50_ratio", "p50 ratio", ".2f"),
    Column("p99_ratio", "p99 ratio", ".2f"),
    Column("clients_cpu_us", "clients µs", ".0f"),
    Column("server_cpu_us", "server µs", ".0f"),
)


def run(*, quick: bool = False) -> list[Report]:
    rounds, trips = (QUICK_ROUNDS, QUICK_TRIPS) if quick else (40, 500)
    with Server() as server:
        about = environment(server.name)
        found, times = conversations(server, QUICK if quick else CONTENDERS, rounds, trips, "chat")
    return [
        Report(
            case="chat",
            title=f"chat: round trip between two processes; medians of {rounds} rounds of {trips}, µs of CPU a"
            " trip, ratios to redis-py asyncio on uvloop",
            parameters={"rounds": rounds, "trips": trips},
            environment=about,
            rows=rows(found, times, REDIS_PY),
            targets=[
                Target.of_ratio("p50: flowchan / redis-py asyncio, uvloop", of(found, FLOWCHAN, REDIS_PY), 1.0),
                Target.of_ratio(
                    "p50: flowchan / redis-py asyncio, asyncio",
                    of(found, FLOWCHAN_ON_ASYNCIO, REDIS_PY_ON_ASYNCIO),
                    1.0,
                ),
                *(
                    Target.of_ratio(f"p50: flowchan / {each.name}, uvloop", of(found, FLOWCHAN, each))
                    for each in (REDIS_PY_AS_IT_COMES, HIREDIS)
                    if each in found
                ),
            ],
            columns=COLUMNS,
        )
    ]


def of(found: Rounds[Contender], ours: Contender, theirs: Contender) -> figures.Ratio:
    """How many times theirs our p50 is."""
    return found.ratio("p50_us", ours, theirs)


def conversations(
    server: Server, contenders: tuple[Contender, ...], rounds: int, trips: int, what: str
) -> tuple[Rounds[Contender], dict[Contender, list[int]]]:
    """The figures of each round, and each contender's times of all rounds in nanoseconds."""
    times: dict[Contender, list[int]] = {contender: [] for contender in contenders}
    with ExitStack() as stack, progress() as bar:
        task = bar.add_task(what, total=len(contenders) * rounds)
        pairs = {contender: stack.enter_context(Pair(contender, server.socket)) for contender in contenders}
        opened(list(pairs.values()))
        for pair in pairs.values():
            pair.each("ask", "answer", times=trips)

        def talk(contender: Contender) -> dict[str, float]:
            found, taken = round_of(pairs[contender], server.cpu_seconds, trips)
            times[contender] += taken
            return found

        return alternate(contenders, rounds, talk, bar, task), times


def round_of(pair: Two, spent: Callable[[], float], trips: int) -> tuple[dict[str, float], list[int]]:
    """The figures of one round, and the time of each trip in nanoseconds."""
    before = spent()
    done = pair.each("ask", "answer", times=trips)
    spending = spent() - before
    taken = done.client.nanoseconds
    return {
        "p50_us": figures.quantile(taken, 0.5) / 1e3,
        "p99_us": figures.quantile(taken, 0.99) / 1e3,
        "clients_cpu_us": done.cpu_seconds / trips * 1e6,
        "server_cpu_us": spending / trips * 1e6,
    }, taken


def rows(
    found: Rounds[Contender], times: dict[Contender, list[int]], base: Contender
) -> list[dict[str, str | float | list[float]]]:
    return [
        {
            "contender": contender.name,
            "loop": contender.loop.value,
            **found.medians(contender),
            "p50_ratio": found.ratio("p50_us", contender, base).median,
            "p99_ratio": found.ratio("p99_us", contender, base).median,
            "distribution_us": figures.distribution(time / 1e3 for time in times[contender]),
        }
        for contender in found.of
    ]
