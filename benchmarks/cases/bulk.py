"""bulk: many messages to one run, sent without awaiting each, and read in a loop."""

from __future__ import annotations

import uuid
from contextlib import ExitStack

from benchmarks.contenders import Contender
from benchmarks.environment import environment
from benchmarks.loops import Loop
from benchmarks.processes import Alone, Worker
from benchmarks.report import Column, Report, Target, progress
from benchmarks.rounds import alternate
from benchmarks.server import Server

PAGE = 1000
WANTED = 100_000

FLOWCHAN = Contender("flowchan", "bulk_typed:Text", Loop.UVLOOP)
FLOWCHAN_ON_ASYNCIO = Contender("flowchan", "bulk_typed:Text", Loop.ASYNCIO)
PIPELINE = Contender("redis-py pipeline, same commands; read and unpacked", "bulk_redis_py:Pipeline", Loop.UVLOOP)
UNREAD = Contender("redis-py pipeline, same commands; read only", "bulk_redis_py:WithoutUnpacking", Loop.UVLOOP)

CONTENDERS = (FLOWCHAN, FLOWCHAN_ON_ASYNCIO, PIPELINE, UNREAD)
COLUMNS = (
    Column("contender", "contender"),
    Column("loop", "loop"),
    Column("sent", "sent/s", ",.0f"),
    Column("received", "received/s", ",.0f"),
    Column("send_cpu_us", "send: client CPU µs", ".1f"),
    Column("send_server_cpu_us", "send: server CPU µs", ".1f"),
    Column("receive_cpu_us", "receive: client CPU µs", ".1f"),
)


def run(*, quick: bool = False) -> list[Report]:
    count, rounds = (10_000, 2) if quick else (100_000, 7)
    with Server() as server, ExitStack() as stack, progress() as bar:
        about = environment(server.name)
        workers: dict[Contender, Worker] = {
            each: stack.enter_context(Alone(each, server.socket)) for each in CONTENDERS
        }
        task = bar.add_task("bulk", total=(rounds + 1) * len(CONTENDERS))

        def transfer(contender: Contender, messages: int = count) -> dict[str, float]:
            name, worker = uuid.uuid4().hex, workers[contender]
            before = server.cpu_seconds()
            sent = worker.call("send", run=name, count=messages, page=PAGE)
            spent = server.cpu_seconds() - before
            received = worker.call("receive", run=name, count=messages)
            server.forget()
            return {
                "sent": messages / sent.result,
                "received": messages / received.result,
                "send_cpu_us": sent.cpu_seconds / messages * 1e6,
                "send_server_cpu_us": spent / messages * 1e6,
                "receive_cpu_us": received.cpu_seconds / messages * 1e6,
            }

        for each in CONTENDERS:
            transfer(each, 2 * PAGE)
            bar.advance(task)
        found = alternate(CONTENDERS, rounds, transfer, bar, task)
    reads = found.ratio("received", FLOWCHAN, UNREAD)
    rate = found.median(FLOWCHAN, "received")
    return [
        Report(
            case="bulk",
            title=f"bulk: {count:,} small messages to one run; medians of {rounds} rounds",
            parameters={"count": count, "rounds": rounds, "page": PAGE},
            environment=about,
            rows=[{"contender": each.name, "loop": each.loop.value, **found.medians(each)} for each in CONTENDERS],
            targets=[
                Target.of_ratio("send / redis-py pipeline", found.ratio("sent", FLOWCHAN, PIPELINE), at_least=0.6),
                # Either will do: the one that is nearer to being met says whether.
                Target("receive, validated", rate, at_least=WANTED, unit="/s")
                if rate >= WANTED or reads.median < 0.3
                else Target("receive, validated", rate, unit="/s"),
                Target.of_ratio("receive / unvalidated read", reads, at_least=None if rate >= WANTED else 0.3),
                Target.of_ratio("receive / unvalidated read, unpacked", found.ratio("received", FLOWCHAN, PIPELINE)),
            ],
            columns=COLUMNS,
        )
    ]
