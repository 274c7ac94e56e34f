"""Who there is, and how each is set up."""

from __future__ import annotations

from typing import NamedTuple


class Variant(NamedTuple):
    """A peer, set up in one way."""

    name: str
    server: str
    """What it talks over: a name of :mod:`benchmarks.peers.servers`."""
    arguments: tuple[str, ...] = ()
    """What its program takes besides the server's address."""
    trips: int = 500
    """In a round."""
    quick_trips: int = 100
    """In a round of a smoke test; none, if a single one takes too long for it."""
    at_most: float | None = None
    """How much of its time flowchan may take."""


class Peer(NamedTuple):
    """What is installed, and measured, together."""

    name: str
    """Its environment's, its requirements' and its module's."""
    packages: tuple[str, ...]
    """Those whose versions are told, itself first."""
    variants: tuple[Variant, ...]
    rounds: int = 20


PEERS = (
    Peer("nats", ("nats-py",), (Variant("NATS JetStream", "nats", at_most=0.8),)),
    Peer(
        "faststream",
        ("faststream",),
        (
            Variant("FastStream, XREAD", "valkey", ("plain",), at_most=1 / 3),
            Variant("FastStream, XREADGROUP", "valkey", ("group",), at_most=1 / 3),
        ),
    ),
    Peer(
        "docket",
        ("pydocket",),
        (
            Variant("docket, a task answers", "valkey", ("task",), trips=200),
            Variant("docket, result waited for", "valkey", ("result",), trips=200),
        ),
    ),
    Peer(
        "taskiq",
        ("taskiq", "taskiq-redis"),
        (
            Variant("taskiq, a task answers", "valkey", ("task",)),
            Variant("taskiq, result asked for", "valkey", ("result",), trips=10, quick_trips=5),
        ),
    ),
    Peer(
        "dbos",
        ("dbos",),
        (
            Variant("DBOS, PostgreSQL", "postgresql", ("default",), trips=20, quick_trips=10),
            Variant("DBOS, SQLite", "sqlite", ("default",), trips=2, quick_trips=1),
            Variant("DBOS, SQLite, every 10 ms", "sqlite", ("0.01",), trips=20, quick_trips=10),
        ),
        rounds=10,
    ),
    Peer(
        "prefect",
        ("prefect",),
        (
            Variant("Prefect, default (10 s)", "prefect", ("default",), 2, 0, at_most=1 / 500),
            # With less than that it looks as often as it can, and is no faster.
            Variant("Prefect, every 10 ms", "prefect", ("0.01",), 20, 10, at_most=1 / 500),
        ),
        rounds=7,
    ),
)
