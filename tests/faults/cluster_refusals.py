"""A Cluster that refuses for a while, because a slot is on its way or a part of it is gone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from flowchan.wire import keys
from tests.faults.checker import hold
from tests.faults.conversation import Conversation, conversation
from tests.faults.fault import Fault, Progress, Seen
from tests.faults.surroundings import RUN, environment
from tests.support.cluster import PRIMARIES, Cluster
from tests.support.numbers import stored
from tests.support.streams import CHANNEL
from tests.support.waiting import eventually


def stream() -> str:
    return keys.stream(os.environ["FLOWCHAN_NAMESPACE"], RUN, CHANNEL)


@contextmanager
def tryagain(cluster: Cluster) -> Iterator[None]:
    """The channel's slot is on its way, and the stream is there before its markers are."""
    slot, source = keys.slot(stream()), cluster.primary(stream())
    target = next(node for node in cluster.nodes[:PRIMARIES] if node is not source)
    with cluster.moving(slot, target):
        source.ask("MIGRATE", "127.0.0.1", target.port, stream(), 0, 5000)
        yield
        while names := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 100):
            source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *names)


@contextmanager
def clusterdown(cluster: Cluster) -> Iterator[None]:
    """One node is gone, and with it a third of the slots: the others refuse, too."""
    owner = cluster.primary(stream())
    gone = next(node for node in cluster.nodes[:PRIMARIES] if node is not owner)
    gone.forget_connection()
    gone.server.kill()
    eventually(lambda: not owner.is_fine(), "the others' noticing")
    yield
    gone.server.start()
    eventually(lambda: all(node.is_fine() for node in cluster.nodes), "the Cluster's recovery")


KINDS: dict[str, Callable[[Cluster], Any]] = {"TRYAGAIN": tryagain, "CLUSTERDOWN": clusterdown}


def refused(cluster: Cluster, code: str) -> list[int]:
    """How often each of its nodes has refused anything so."""
    infos = [node.ask("INFO", "errorstats") for node in cluster.nodes]
    return [info.get(f"errorstat_{code}", {"count": 0})["count"] for info in infos]


def refuses_and_goes_on(count: int, progress: Progress) -> Seen:
    """``count`` times each."""
    counted = f"{count:,} times each"
    met: dict[str, int] = dict.fromkeys(KINDS, 0)
    with Cluster() as cluster, environment(url=cluster.urls):

        async def all_kinds() -> Conversation:
            async with conversation(count * len(KINDS)) as mine:
                for done in range(count):
                    for code, kind in KINDS.items():
                        before = refused(cluster, code)
                        await mine.refused(lambda kind=kind: kind(cluster))  # type: ignore[misc]
                        # A node that was started anew counts anew.
                        met[code] += sum(
                            max(0, now - then) for now, then in zip(refused(cluster, code), before, strict=True)
                        )
                    progress(done + 1)
            return mine

        mine = asyncio.run(all_kinds())
        found = stored(cluster.primary(stream()), stream())
    hold(found, [mine.sender]).must_be_none(counted)
    return mine.seen(counted, len(found), met)


FAULTS = (Fault("TRYAGAIN, CLUSTERDOWN", "retried within the deadline; order kept", 1, 10, refuses_and_goes_on),)
