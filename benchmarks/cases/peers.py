"""peers: the chat with others who carry messages, each in its own environment and as its makers advise.

One peer at a time, so that no other's server is in the way; flowchan takes part in each one's rounds.
"""

from __future__ import annotations

import tempfile
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from rich.progress import Progress

from benchmarks.cases import chat
from benchmarks.environment import environment
from benchmarks.peers import servers, venvs
from benchmarks.peers.catalogue import PEERS, Peer, Variant
from benchmarks.processes import Pair, Two, Worker, opened
from benchmarks.report import Column, Report, Row, Target, progress
from benchmarks.rounds import Rounds, alternate
from benchmarks.server import Server

QUICK_ROUNDS = 3
TRIPS, QUICK_TRIPS = 500, 200
"""flowchan's in a round."""
_ENOUGH = 100
"""Trips in a round, below which a 99th percentile is none."""

_PROGRAM = f"""
import importlib, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
importlib.import_module("benchmarks.peers." + sys.argv[1]).main(*sys.argv[2:])
"""

COLUMNS = (
    Column("contender", "contender"),
    Column("version", "version"),
    Column("p50_ms", "p50 ms", ",.2f"),
    Column("p99_ms", "p99 ms", ",.2f"),
    Column("flowchan_p50_ms", "flowchan p50 ms", ",.2f"),
    Column("times", "times flowchan", ",.1f"),
    Column("clients_cpu_us", "clients µs", ",.0f"),
    Column("server_cpu_us", "server µs", ",.0f"),
)


def run(*, quick: bool = False) -> list[Report]:
    rows: list[Row] = []
    targets: list[Target] = []
    left_out: dict[str, str] = {}
    there = [peer for peer in PEERS if venvs.is_installed(peer.name)]
    for peer in PEERS:
        if peer not in there:
            left_out[peer.name] = f"not installed: python -m benchmarks.peers install {peer.name}"
    _tell(left_out)
    if not there:
        return []
    with Server() as server, progress() as bar:
        about = environment(server.name)
        for peer in there:
            try:
                found = _compare(peer, server, bar, quick=quick)
            except Exception:  # noqa: BLE001 - the others are worth having
                traceback.print_exc()
                found = Compared([], [], {peer.name: "not measured, because of an error"})
            rows += found.rows
            targets += found.targets
            left_out |= found.left_out
            _tell(found.left_out)
    report = Report(
        case="peers",
        title="peers: the chat with others, each next to flowchan in the same rounds; medians of the rounds, µs of CPU a trip",
        parameters={"flowchan trips": QUICK_TRIPS if quick else TRIPS, "left out": left_out},
        environment=about,
        rows=rows,
        targets=targets,
        columns=COLUMNS,
    )
    return [report] if rows else []


class Compared(NamedTuple):
    """What came out of one peer."""

    rows: list[Row]
    targets: list[Target]
    left_out: dict[str, str]


def _compare(peer: Peer, server: Server, bar: Progress, *, quick: bool) -> Compared:
    rounds = QUICK_ROUNDS if quick else peer.rounds
    trips = {variant: variant.quick_trips if quick else variant.trips for variant in peer.variants}
    left_out = {
        variant.name: "a round trip takes too long for --quick" for variant, count in trips.items() if not count
    }
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        started = _started(stack, server, (variant for variant in peer.variants if trips[variant]))
        pairs: dict[Variant | None, Two] = {None: stack.enter_context(Pair(chat.FLOWCHAN, server.socket))}
        opened(list(pairs.values()))
        spent: dict[Variant | None, Callable[[], float]] = {None: server.cpu_seconds}
        for variant in peer.variants:
            place = started.get(variant.server)
            if isinstance(place, str):
                left_out[variant.name] = place
            elif place is not None and trips[variant]:
                spent[variant] = place.cpu_seconds
                pairs[variant] = stack.enter_context(_pair(peer, variant, place, folder / str(len(pairs))))
                _meet(pairs[variant])
        count = dict.fromkeys(pairs, QUICK_TRIPS if quick else TRIPS) | trips
        task = bar.add_task(peer.name, total=rounds * len(pairs))
        for each, pair in pairs.items():
            pair.each("ask", "answer", times=-(-count[each] // 10))

        def talk(each: Variant | None) -> Mapping[str, float]:
            return chat.round_of(pairs[each], spent[each], count[each])[0]

        found = alternate(list(pairs), rounds, talk, bar, task)
    measured = [variant for variant in pairs if variant is not None]
    versions = {variant: _versions(peer, started[variant.server]) for variant in measured}
    return Compared(
        [_row(variant, found, versions[variant], rounds, count[variant]) for variant in measured],
        [
            Target.of_ratio(f"p50: flowchan / {each.name}", found.ratio("p50_us", None, each), each.at_most)
            for each in measured
        ],
        left_out,
    )


def _row(variant: Variant, found: Rounds[Variant | None], version: str, rounds: int, trips: int) -> Row:
    return {
        "contender": variant.name,
        "version": version,
        "p50_ms": found.median(variant, "p50_us") / 1e3,
        "p99_ms": found.median(variant, "p99_us") / 1e3 if trips >= _ENOUGH else None,
        "flowchan_p50_ms": found.median(None, "p50_us") / 1e3,
        "times": found.ratio("p50_us", variant, None).median,
        "clients_cpu_us": found.median(variant, "clients_cpu_us"),
        "server_cpu_us": found.median(variant, "server_cpu_us") if variant.server != "sqlite" else None,
        "rounds": rounds,
        "trips": trips,
    }


class _Place(NamedTuple):
    """Where a peer's sides talk."""

    address: tuple[str, ...]
    surroundings: Mapping[str, str]
    cpu_seconds: Callable[[], float]
    version: str = ""
    """The server's, where it is not the benchmark's own."""


def _versions(peer: Peer, place: _Place | str) -> str:
    own, *others = peer.packages
    told = [venvs.version(peer.name, own)]
    told += [f"{each.removeprefix(f'{own}-')} {venvs.version(peer.name, each)}" for each in others]
    told += [f"server {place.version}"] if isinstance(place, _Place) and place.version else []
    return ", ".join(told)


def _started(stack: ExitStack, server: Server, variants: Iterable[Variant]) -> dict[str, _Place | str]:
    """A server of each kind that is asked for, or why there is none."""
    found: dict[str, _Place | str] = {
        "valkey": _Place((f"unix://{server.socket}",), servers.clean({}), server.cpu_seconds)
    }
    for variant in variants:
        if variant.server in found:
            continue
        try:
            place = stack.enter_context(servers.SERVERS[variant.server]())
        except servers.Missing as why:
            found[variant.server] = str(why)
        else:
            found[variant.server] = _Place(place.address, servers.clean(place.told()), place.cpu_seconds, place.version)
    return found


def _pair(peer: Peer, variant: Variant, place: _Place, errors: Path) -> Two:
    def worker(side: str) -> Worker:
        python = str(venvs.program(peer.name, "python"))
        command = [python, "-P", "-c", _PROGRAM, peer.name, *place.address, *variant.arguments]
        return Worker(f"{variant.name}, {side}", command, place.surroundings, errors.with_suffix(f".{side}"))

    answering = worker("answering")
    return Two(worker("asking"), answering)


def _meet(pair: Two) -> None:
    # One after the other: those who make tables in the same database do not make them at once.
    answering = pair.peer.call("open").result
    asking = pair.client.call("open").result
    pair.peer.call("meet", theirs=asking)
    pair.client.call("meet", theirs=answering)


def _tell(left_out: Mapping[str, Any]) -> None:
    for name, why in left_out.items():
        print(f"{name}: {why}", flush=True)
