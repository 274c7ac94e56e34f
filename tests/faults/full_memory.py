"""A server at its maxmemory: what writes is refused, whole; what reads goes on; all goes on when there is room."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import redis

from flowchan import RunInput, flow, pause_flow_run, receive_input, resume_flow_run, send_input
from flowchan.blocks.system import JSON
from flowchan.errors import BrokerRefused
from flowchan.flow_runs import cancel_flow_run
from flowchan.input import keyset_from_base_key, read_dead_letters
from tests.faults.checker import Sender, Witness, hold
from tests.faults.fault import Broken, Fault, Progress, Seen
from tests.faults.surroundings import RUN, looking, own_server
from tests.support.runs import seen, started, state_of
from tests.support.server import Server
from tests.support.streams import CHANNEL
from tests.support.waiting import eventually_async

LEASE = 1.0
AGAIN = 10.0
"""Seconds within which all goes on when there is room."""


class Answer(RunInput):
    text: str


@flow
async def asks() -> int:
    return await pause_flow_run(wait_for_input=int)


@flow
async def ends() -> None:
    """A run of its own, which cannot even begin."""


@contextmanager
def full(client: redis.Redis) -> Iterator[None]:
    client.config_set("maxmemory", 1)
    try:
        yield
    finally:
        client.config_set("maxmemory", 0)


def contents(client: redis.Redis) -> dict[bytes, Any]:
    """All that is kept, but for what time alone changes: who was heard of when, how long something is kept."""
    found: dict[bytes, Any] = {}
    namespace = os.environ["FLOWCHAN_NAMESPACE"]
    for key in client.scan_iter(f"{namespace}:*", count=1000):
        if client.type(key) != b"stream":
            found[key] = None if key.endswith(b":@due") else client.dump(key)
            continue
        groups: Any = client.xinfo_groups(key)
        known = [(each["name"], each["pending"], each["last-delivered-id"]) for each in groups]
        pending = {
            name: [
                (each["message_id"], each["consumer"], each["times_delivered"])
                for each in client.xpending_range(key, name, "-", "+", 1000)  # type: ignore[union-attr]
            ]
            for name, *_ in known
        }
        found[key] = (client.xrange(key), known, pending)
    return found


@dataclass
class Writes:
    """What is tried on a full server; each is refused."""

    paused: str
    letter: Any

    def all(self) -> dict[str, Callable[[], Awaitable[Any]]]:
        return {
            "send": lambda: send_input(-1, RUN, key_prefix=CHANNEL),
            "send with a key": lambda: send_input(-1, RUN, key_prefix=CHANNEL, idempotency_key="x"),
            "send again a dead letter": self.letter.resend,
            "save a schema": lambda: Answer.save(keyset_from_base_key("x"), RUN),  # type: ignore[no-any-return, unused-ignore]
            "save a block": lambda: JSON(value=1).save("block", overwrite=True),
            "begin a run": ends,  # type: ignore[dict-item, unused-ignore]
            "resume a run": lambda: resume_flow_run(self.paused, {"value": 1}),
            "cancel a run": lambda: cancel_flow_run(self.paused),
        }

    async def try_all(self, counted: str) -> int:
        writes = self.all()
        for name, write in writes.items():
            try:
                await write()
            except BrokerRefused as refused:
                if refused.code != "OOM":
                    raise Broken(counted, f"{name}: {refused.code}") from None
            else:
                raise Broken(counted, f"{name}: was not refused")
        return len(writes)


@asynccontextmanager
async def following(witness: Witness) -> AsyncIterator[None]:
    """A private receiver that hears all that comes."""

    async def follow() -> None:
        async with receive_input(int, flow_run_id=RUN, key_prefix=CHANNEL, timeout=None) as receiver:
            while True:
                witness.values.append(await receiver.next())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow)
        yield
        tasks.cancel_scope.cancel()


async def replayed(**options: Any) -> list[int]:
    """All that is there for a new receiver."""
    options = {"timeout": 0, "raise_timeout_error": False, **options}
    async with receive_input(int, flow_run_id=RUN, key_prefix=CHANNEL, **options) as receiver:
        return [value async for value in receiver]


async def a_letter() -> Any:
    """A dead letter."""
    await send_input("no number", "bad", key_prefix=CHANNEL)
    bad = receive_input(
        int, 0, raise_timeout_error=False, flow_run_id="bad", key_prefix=CHANNEL, group="g", on_invalid="dead-letter"
    )
    async with bad:
        assert [value async for value in bad] == []
    return (await read_dead_letters("bad"))[-1]


async def _rounds(server: Server, count: int, progress: Progress) -> tuple[Sender, Witness, int]:
    sender, witness, tried = Sender(), Witness(), 0
    counted = f"{count:,} times full"

    async def send(number: int) -> None:
        sender.sends(number)
        await send_input(number, RUN, key_prefix=CHANNEL)
        sender.acknowledged(number)

    async with following(witness), started(asks) as waiting:
        paused = await seen("asks", "PAUSED")
        writes = Writes(str(paused.id), await a_letter())
        with server.client() as client:
            for done in range(count):
                await send(2 * done)
                await eventually_async(lambda: len(witness.values) == len(sender.told), "the arrival")
                with full(client):
                    before = contents(client)
                    tried += await writes.try_all(counted)
                    if (after := contents(client)) != before:
                        changed = [key for key in before.keys() | after.keys() if before.get(key) != after.get(key)]
                        raise Broken(counted, f"something was done of what was refused: {changed}")
                    if (found := await replayed()) != sorted(sender.told):  # type: ignore[type-var]
                        raise Broken(counted, f"a new receiver found {found}")
                    if done and (found := await replayed(group="workers")) != [2 * done - 1, 2 * done]:
                        raise Broken(counted, f"a group found {found}")
                    if not done:
                        # Past its lease: a run that waits is renewed though nothing may be written.
                        await asyncio.sleep(1.5 * LEASE)
                if not done:
                    await replayed(group="workers")
                with anyio.fail_after(AGAIN):
                    await send(2 * done + 1)
                    await eventually_async(lambda: len(witness.values) == len(sender.told), "going on", AGAIN)
                if (state := await state_of(paused)).type.value != "PAUSED":
                    raise Broken(counted, f"a run that waited is {state}")
                progress(done + 1)
        await resume_flow_run(paused.id, {"value": 7})
        assert await waiting == 7
    return sender, witness, tried


def fills_memory(count: int, progress: Progress) -> Seen:
    """``count`` times full, and then not any more."""
    counted = f"{count:,} times full"
    with own_server("--maxmemory-policy", "noeviction", lease=str(LEASE)) as server:
        sender, witness, tried = asyncio.run(_rounds(server, count, progress))
        with looking(server) as streams:
            stored = streams.values(RUN)
    hold(stored, [sender]).must_be_none(counted)
    witness.hold(stored, [sender]).must_be_none(counted)
    return Seen(
        f"{counted}, {tried:,} writes of 8 kinds",
        "each refused as BrokerRefused (OOM), and nothing of it done; receivers and a group read on, a waiting run kept"
        " its lease; all went on when there was room",
    )


FAULTS = (
    Fault(
        "maxmemory reached",
        "typed error, nothing half done, readers go on",
        2,
        50,
        fills_memory,
    ),
)
