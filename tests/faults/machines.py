"""What all state machines have: a server, a loop that runs while a step lasts, and clients as of several processes."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, TypeVar

import hypothesis
import redis
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from flowchan.broker.broker import broker_of_this_loop
from flowchan.channels import Channels
from tests.faults.fault import Progress
from tests.faults.surroundings import own_server

T = TypeVar("T")

_numbers = itertools.count()


class Machine(RuleBasedStateMachine):
    """Each step is a coroutine that is run to its end; between steps, nobody does anything.

    What can be drawn must not depend on what the server did: a step that finds nothing to do does nothing.
    """

    runner: ClassVar[asyncio.Runner]
    client: ClassVar[redis.Redis]
    begun: ClassVar[Callable[[], None]]

    def __init__(self) -> None:
        super().__init__()
        type(self).begun()
        self.run_id = f"r-{next(_numbers)}"

    def do(self, step: Coroutine[Any, Any, T]) -> T:
        async def limited() -> T:
            async with asyncio.timeout(30):
                return await step

        return self.runner.run(limited())

    def kill_connections(self, which: int | None = None) -> None:
        """Those of all clients, or one of them, as a firewall would; the server closes them."""
        found = [each["id"] for each in self.client.client_list() if each["name"].startswith("flowchan")]
        for each in found if which is None else found[which % len(found) :][:1] if found else []:
            self.client.client_kill_filter(_id=each)


class Process:
    """What one process has: connections, a producer and a consumer of its own."""

    def __init__(self) -> None:
        # Settings that differ are another client's, and change nothing here.
        self.channels = Channels(max_pending=20_000 + next(_numbers))

    async def begin(self) -> None:
        """Reach the broker: who never did is told at once that it is not there."""
        await broker_of_this_loop(self.channels.settings).persistent.call("the beginning", "PING")

    async def crash(self) -> None:
        """Its connections end, and it says nothing before."""
        broker = broker_of_this_loop(self.channels.settings)
        broker.dialler.close()
        for lane in broker.hub._all_lanes():
            lane.close()
        broker.commands.close()
        broker.outbox.close()

    async def close(self) -> None:
        await broker_of_this_loop(self.channels.settings).close()


def play(machine: type[Machine], examples: int, steps: int, progress: Progress, **surroundings: str) -> int:
    """Play so many examples; how many were begun, those that narrow a failure down among them."""
    begun = 0

    def count() -> None:
        nonlocal begun
        begun += 1
        progress(min(begun, examples))

    settings = hypothesis.settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        # A story that is told again does not go the same way: threads and a server take part in it.
        phases=[hypothesis.Phase.generate],
    )
    with own_server(append_only=False, **surroundings) as server, server.client() as client, asyncio.Runner() as runner:
        machine.runner, machine.client, machine.begun = runner, client, count
        run_state_machine_as_test(machine, settings=settings)  # type: ignore[no-untyped-call, unused-ignore]
    return begun


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
