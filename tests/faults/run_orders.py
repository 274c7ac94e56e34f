"""Runs in whatever order things happen: they pause or are suspended, are resumed by one or several, are cancelled, their
process dies. After each step a run is as it should be; who resumes it wins alone, and its answers are its result.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from flowchan import flow, get_client, pause_flow_run, resume_flow_run
from flowchan.deployments import run_deployment
from flowchan.errors import InvalidRunInput, NotPausedError
from flowchan.flow_runs import cancel_flow_run
from flowchan.settings import current_settings
from flowchan.wire import keys
from tests.cli.program import Program
from tests.faults.fault import Fault, Progress, Seen
from tests.faults.machines import Machine, play

STEPS = 25
MOST = 3
ENDED = ("COMPLETED", "CANCELLED", "CRASHED")

SERVED = """
from flowchan import flow, suspend_flow_run

@flow
async def asks(rounds: int) -> list[int]:
    return [await suspend_flow_run(wait_for_input=int) for _ in range(rounds)]

if __name__ == "__main__":
    asks.serve("it", limit=4)
"""


@flow
async def pauses(rounds: int) -> list[int]:
    return [await pause_flow_run(wait_for_input=int) for _ in range(rounds)]


@dataclass(eq=False)
class Run:
    """What a run should be by now."""

    id: Any
    rounds: int
    call: asyncio.Task[Any] | None
    """The call of a flow that pauses here; one that is suspended is executed elsewhere."""
    answers: list[int] = field(default_factory=list)
    state: str = ""

    @property
    def waits_for(self) -> str:
        return f"{'paused' if self.call is not None else 'suspended'}-{len(self.answers) + 1}"


class Serving:
    """Who executes what was suspended: killed now and then, and another begins."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "served.py"
        self._file.write_text(SERVED)
        self._program: Program | None = None

    def start(self) -> None:
        if self._program is None:
            self._program = Program("-W", "error", str(self._file))
            self._program.says("$ flowchan run")

    def kill(self) -> None:
        if self._program is not None:
            for child in self._program.children():
                with contextlib.suppress(Exception):
                    child.kill()
            self._program.kill()
            self._program.close()
            self._program = None


class RunOrders(Machine):
    """Runs of two flows: one pauses in this process, the other is suspended and executed by another."""

    serving: ClassVar[Serving]

    @initialize()
    def it_begins(self) -> None:
        self.serving.start()
        self.runs: list[Run] = []
        self.given = 0

    # --- what can happen -------------------------------------------------------------------------

    @precondition(lambda self: len(self.runs) < MOST)
    @rule(rounds=st.integers(1, 3), suspends=st.booleans())
    def one_begins(self, rounds: int, *, suspends: bool) -> None:
        async def begin() -> Run:
            if suspends:
                asked_for: Any = await run_deployment("asks/it", {"rounds": rounds}, timeout=0)
                return Run(asked_for.id, rounds, None)
            known = {each.id for each in await get_client().read_flow_runs(flow="pauses")}
            call: asyncio.Task[Any] = asyncio.ensure_future(pauses(rounds))
            while True:
                for each in await get_client().read_flow_runs(flow="pauses", limit=5):
                    if each.id not in known:
                        return Run(each.id, rounds, call)
                await asyncio.sleep(0.002)

        run = self.do(begin())
        self.runs.append(run)
        self.do(self._settles(run))

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), racers=st.integers(1, 3))
    def one_is_resumed(self, data: st.DataObject, racers: int) -> None:
        run = self._one(data)

        async def resume() -> None:
            values = [self._value() for _ in range(racers)]
            outcomes = await asyncio.gather(
                *(resume_flow_run(run.id, {"value": value}) for value in values), return_exceptions=True
            )
            won = [value for value, outcome in zip(values, outcomes, strict=True) if outcome is None]
            others = [outcome for outcome in outcomes if outcome is not None]
            assert all(isinstance(each, NotPausedError) for each in others), others
            assert len(won) == (0 if run.state in ENDED else 1), won
            run.answers += won
            await self._settles(run)

        self.do(resume())

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def one_is_answered_wrongly(self, data: st.DataObject) -> None:
        run = self._one(data)

        async def resume() -> None:
            with contextlib.suppress(InvalidRunInput, NotPausedError):
                await resume_flow_run(run.id, {"value": "no number"})
                raise AssertionError("it was taken")
            await self._settles(run)

        self.do(resume())

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def one_is_cancelled(self, data: st.DataObject) -> None:
        run = self._one(data)

        async def cancel() -> None:
            if run.state not in ENDED:
                await cancel_flow_run(run.id)
                run.state = "CANCELLED"
            await self._settles(run)

        self.do(cancel())

    @precondition(lambda self: any(run.call is not None for run in self.runs))
    @rule(data=st.data())
    def one_is_not_heard_of(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from([run for run in self.runs if run.call is not None]))
        if run.state in ENDED:
            return
        due = keys.due(current_settings().namespace, keys.partition_tag(str(run.id)))

        async def crash() -> None:
            # Its process may be heard of between the two.
            while not (await self._known(run)).state.is_crashed():
                self.client.zadd(due, {str(run.id): 1})
            run.state = "CRASHED"
            await self._settles(run)

        self.do(crash())

    @precondition(lambda self: any(run.call is None for run in self.runs))
    @rule(data=st.data())
    def one_is_resumed_and_its_process_dies(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from([run for run in self.runs if run.call is None]))
        if run.state in ENDED:
            return

        async def resume() -> None:
            value = self._value()
            await resume_flow_run(run.id, {"value": value})
            run.answers.append(value)

        self.do(resume())
        self.serving.kill()
        self.serving.start()

        async def settle() -> None:
            # Handed on where it had not begun, crashed where it had.
            state = await self._until(run, "SUSPENDED", "COMPLETED", "CRASHED")
            run.state = "CRASHED" if state == "CRASHED" else ""
            await self._settles(run)

        self.do(settle())

    @rule(which=st.none() | st.integers(0, 20))
    def connections_are_cut(self, which: int | None) -> None:
        self.kill_connections(which)

    def teardown(self) -> None:
        if hasattr(self, "runs"):
            self.do(self._all_end())

    # --- how -------------------------------------------------------------------------------------

    def _one(self, data: st.DataObject) -> Run:
        return data.draw(st.sampled_from(self.runs))

    def _value(self) -> int:
        self.given += 1
        return self.given

    @staticmethod
    async def _known(run: Run) -> Any:
        return await get_client().read_flow_run(run.id)

    async def _until(self, run: Run, *states: str) -> str:
        while True:
            known = await self._known(run)
            kind = str(known.state.type.value)
            # One that was resumed may not have left its pause yet, as others see it.
            is_there = kind in ENDED or known.waiting_for == run.waits_for
            if kind in states and is_there:
                return kind
            assert kind not in ENDED or kind in states, f"{known.state!r} instead of {states}"
            await asyncio.sleep(0.002)

    async def _settles(self, run: Run) -> None:
        """Until it is as it should be."""
        if run.state not in ENDED:
            waits = "PAUSED" if run.call is not None else "SUSPENDED"
            run.state = "COMPLETED" if len(run.answers) == run.rounds else waits
        await self._until(run, run.state)
        if run.state == "COMPLETED":
            result = await run.call if run.call is not None else await (await self._known(run)).state.result()
            assert result == run.answers, (result, run.answers)
        elif run.state in ENDED and run.call is not None:
            with contextlib.suppress(BaseException):
                await asyncio.wait_for(asyncio.shield(run.call), 10)
            assert run.call.done(), "its flow goes on"
            assert run.call.cancelled() or run.call.exception() is not None

    async def _all_end(self) -> None:
        for run in self.runs:
            while run.state not in ENDED:
                value = self._value()
                await resume_flow_run(run.id, {"value": value})
                run.answers.append(value)
                await self._settles(run)


@contextlib.contextmanager
def served() -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="fcr-") as folder:
        RunOrders.serving = Serving(Path(folder))
        try:
            yield
        finally:
            RunOrders.serving.kill()


def in_any_order(count: int, progress: Progress) -> Seen:
    """``count`` stories of :data:`STEPS` steps."""
    with served():
        begun = play(RunOrders, count, STEPS, progress, lease="1.5")
    return Seen(
        f"{begun:,} stories of ≤ {STEPS} steps",
        "each state as it should be; one of several resumers won; all answers kept",
    )


FAULTS = (
    Fault(
        "runs in any order (hypothesis): pause, suspend, resume, race, cancel, crash, cut",
        "states as they should be; one resumer wins; no answer is lost",
        5,
        60,
        in_any_order,
    ),
)
