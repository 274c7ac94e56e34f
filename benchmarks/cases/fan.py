"""fan: one sender and 1 000 receivers of one channel; 1 000 senders and one receiver."""

from __future__ import annotations

from contextlib import ExitStack
from typing import NamedTuple

from benchmarks import figures
from benchmarks.contenders import Contender
from benchmarks.environment import environment
from benchmarks.loops import Loop
from benchmarks.processes import Pair
from benchmarks.report import Column, Report, Target, progress
from benchmarks.rounds import alternate
from benchmarks.server import Server

FLOWCHAN = Contender("flowchan", "fan:Typed", Loop.UVLOOP)
BY_HAND = Contender("redis-py, a connection a receiver", "fan:ByHand", Loop.UVLOOP)

COLUMNS = (
    Column("senders", "senders", ",d"),
    Column("receivers", "receivers", ",d"),
    Column("contender", "contender"),
    Column("delivered", "delivered/s", ",.0f"),
    Column("p50_ms", "one way, p50 ms", ".2f"),
    Column("p99_ms", "p99 ms", ".2f"),
    Column("server_cpu_us", "server µs", ".2f"),
    Column("clients_cpu_us", "clients µs", ".1f"),
    Column("connections", "conn.", ".0f"),
)


class Fan(NamedTuple):
    """A contender, and how many talk to how many."""

    contender: Contender
    senders: int
    receivers: int
    messages: int
    """That each sender sends."""


def run(*, quick: bool = False) -> list[Report]:
    many = 200 if quick else 1000
    rounds = 2 if quick else 7
    compared = [
        Fan(contender, senders, receivers, messages)
        for senders, receivers, messages in ((1, many, 5 if quick else 20), (many, 1, 5 if quick else 20))
        for contender in (FLOWCHAN, BY_HAND)
    ]
    with Server() as server, ExitStack() as stack, progress() as bar:
        about = environment(server.name)
        task = bar.add_task("fan", total=len(compared) * rounds)
        pairs = {each: stack.enter_context(Pair(each.contender, server.socket)) for each in compared}
        connections: dict[Fan, int] = {}

        def deliver(each: Fan) -> dict[str, float]:
            pair, before = pairs[each], server.cpu_seconds()
            pair.peer.begin("receive", messages=each.senders * each.messages)
            pair.client.begin("send", senders=each.senders, messages=each.messages)
            done = pair.end()
            spent = server.cpu_seconds() - before
            count = each.senders * each.messages * each.receivers
            times = done.peer.result["nanoseconds"]
            return {
                "delivered": count / done.peer.result["seconds"],
                "p50_ms": figures.quantile(times, 0.5) / 1e6,
                "p99_ms": figures.quantile(times, 0.99) / 1e6,
                "server_cpu_us": spent / count * 1e6,
                "clients_cpu_us": done.cpu_seconds / count * 1e6,
                "connections": connections.get(each, 0),
            }

        for each, pair in pairs.items():
            before = server.connections()
            pair.peer.call("open", receivers=each.receivers)
            pair.client.call("open", receivers=0)
            deliver(each)
            connections[each] = server.connections() - before
        found = alternate(compared, rounds, deliver, bar, task)
    one, all_ = compared[:2], compared[2:]
    return [
        Report(
            case="fan",
            title=f"fan: one to many, and many to one; medians of {rounds} rounds",
            parameters={"rounds": rounds, "many": many, "messages": compared[0].messages},
            environment=about,
            rows=[
                {
                    "senders": each.senders,
                    "receivers": each.receivers,
                    "contender": each.contender.name,
                    **found.medians(each),
                }
                for each in compared
            ],
            targets=[
                Target.of_ratio(f"1 to {many:,}: delivered/s / by hand", found.ratio("delivered", one[0], one[1])),
                Target.of_ratio(f"{many:,} to 1: delivered/s / by hand", found.ratio("delivered", all_[0], all_[1])),
            ],
            columns=COLUMNS,
        )
    ]
