"""The server: takes what is asked for, as long as it has room, and answers for it until it has ended."""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from flowchan.broker.broker import Broker, broker_of_this_loop
from flowchan.errors import BrokerError, CodeError, IllegalTransition, ObjectNotFound
from flowchan.runner.entry import Entry
from flowchan.runner.pool import Pool
from flowchan.runner.process import Process, Setup, how_it_ended
from flowchan.runner.requests import Place, Requests
from flowchan.runs import catalogue, reaper, store
from flowchan.runs.catalogue import Deployment
from flowchan.runs.execution import GOES_ON
from flowchan.runs.keeper import Keeper
from flowchan.runs.store import Change
from flowchan.settings import Settings
from flowchan.states import Failed, Pending
from flowchan.wire import keys

logger = logging.getLogger(__name__)

PATIENCE = 10.0
"""Seconds that a run has to stop, once it was told to."""

_PAUSE = 1.0
_SAVED = 60.0
_LOOK = 10.0
_REAPED = 5.0


class Execution:
    """A run that this server has taken, and the process that executes it.

    It has a holder and a keeper of its own: a run that was suspended and resumed may be this server's again before the
    process that suspended it has ended.
    """

    def __init__(self, run: str, place: Place, process: Process, keeper: Keeper) -> None:
        self.run = run
        self.place = place
        self.process = process
        self.keeper = keeper
        self.killer: asyncio.TimerHandle | None = None


class Server:
    """Executes what it is asked for.

    Guarantees: a run that it takes is its own and nobody else's; while the server lives, the run is not overdue,
    whatever its process does; when the process has died, the run's state says so at once.

    Args:
        settings: whose broker the requests come from.
        deployments: what is served, and where its code is.
        limit: how many runs at once. None: no limit.
        told: is called with a sentence when a person should know.
        began: is called when it waits for requests.
    """

    def __init__(
        self,
        settings: Settings,
        deployments: Sequence[tuple[Deployment, Entry]],
        limit: int | None,
        told: Callable[[str], None],
        began: Callable[[], None],
    ) -> None:
        namespace = settings.namespace
        self._settings = settings
        self._deployments = [deployment for deployment, _ in deployments]
        self._entries = {
            str(catalogue.id_of(namespace, deployment.full_name)): entry for deployment, entry in deployments
        }
        self._limit = limit
        self._told = told
        self._began = began
        self._changed = asyncio.Event()
        self._executions: dict[Process, Execution] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_draining = False
        self._is_stopped = False

    def stop(self) -> None:
        """Take no more, and end when all runs have; called again: end them. On the server's loop."""
        if not self._is_draining:
            self._is_draining = True
            running = sum(not process.is_over for process in self._executions)
            if running:
                runs = "1 run" if running == 1 else f"{running} runs"
                self._told(f"Waiting for {runs} to end. Ctrl-C again stops {'it' if running == 1 else 'them'}.")
        else:
            self.stop_now()
        self._changed.set()

    def stop_now(self) -> None:
        """End all runs. On the server's loop."""
        self._is_draining = True
        if not self._is_stopped:
            self._is_stopped = True
            for execution in self._executions.values():
                execution.process.end(signal.SIGTERM)
                self._kill_later(execution)
        self._changed.set()

    async def serve(self) -> None:
        """Serve until it is stopped.

        Raises:
            CodeError: the code cannot be imported by another process.
            BrokerError: the broker cannot be reached, or refuses.
        """
        self._loop = asyncio.get_running_loop()
        self._broker: Broker = broker_of_this_loop(self._settings)
        self._pool = Pool(self._loop, Setup(self._settings, self._entries), self._changed.set)
        self._requests = Requests(self._broker, list(self._entries), self._changed)
        try:
            self._pool.fill(self._spares())
            await self._save()
            await self._ready()
            self._requests.listen()
            self._every(_SAVED, self._save)
            self._every(_LOOK, self._requests.look)
            self._every(min(_REAPED, self._settings.lease / 3), self._reap)
            self._began()
            while not self._is_draining or self._executions:
                await self._changed.wait()
                self._changed.clear()
                await self._take_all()
        finally:
            self._is_draining = self._is_stopped = True
            self._requests.close()
            self._pool.close()
            for execution in self._executions.values():
                execution.process.end()
            while self._executions:
                await self._changed.wait()
                self._changed.clear()
            for task in list(self._tasks):
                if task.get_name() != "settling":
                    task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _ready(self) -> None:
        while self._pool.problems is None:
            if self._is_draining:
                return
            await self._changed.wait()
            self._changed.clear()
            self._pool.fill(self._spares())
        self._changed.set()
        if self._pool.problems:
            problem = next(iter(self._pool.problems.values()))
            raise CodeError(f"The code cannot be imported by the processes that are to execute it: {problem}.")

    # --- taking ------------------------------------------------------------------------------------

    def _room(self) -> int:
        if self._is_draining:
            return 0
        return 1_000_000 if self._limit is None else self._limit - len(self._executions)

    def _spares(self) -> int:
        """How many processes are to wait for runs."""
        usual = 1 if self._limit == 1 else 2
        # With as many runs as it may have, it needs one for the next.
        return 0 if self._is_draining else max(1, min(self._room(), max(usual, len(self._requests))))

    async def _take_all(self) -> None:
        while self._room() > 0:
            if self._limit is not None:
                # Who can take only some takes the oldest; of those in other lanes or on other nodes it hears a little late.
                await self._requests.look()
            place = self._requests.oldest()
            if place is None:
                break
            spare = self._pool.pick(place[0])
            if spare is None:
                break  # a request that waits is for whoever is ready first
            await self._take(place, spare)
        self._pool.fill(self._spares())

    async def _take(self, place: Place, spare: Process) -> None:
        deployment, tag = place
        state, holder = Pending(), secrets.token_hex(8)
        state_id, whole, rest = store.stored(state)
        told = state_id, whole, state.type.value, rest
        request = self._requests.take(place)
        try:
            taken = await self._broker.records.take(deployment, tag, request, holder, self._settings.lease, told)
        except BrokerError as error:
            # The others may be with another node of a Cluster.
            logger.warning("A request could not be taken: %s", error)
            self._loop.call_later(_PAUSE, self._requests.add, place, request)
            return
        if taken.following is not None:
            self._requests.add(place, taken.following)
        if taken.run is None:
            return
        if deployment in spare.problems:
            self._settle(self._fail(taken.run, holder, spare.problems[deployment]))
        elif not spare.is_ready:  # it has died meanwhile
            why = "The process that was to execute it died."
            self._settle(self._hand_back(taken.run, holder, why, has_begun=False))
        else:
            self._pool.give(spare)
            self._begin(Execution(taken.run, place, spare, Keeper(self._settings, self._loop, holder)))

    def _begin(self, execution: Execution) -> None:
        process = execution.process
        self._executions[process] = execution
        process.heard_by(self._look)
        execution.keeper.add(execution.run, lambda kind: self._be_told(execution, kind))
        process.give(execution.place[0], execution.run, execution.keeper.holder)

    # --- what becomes of runs ------------------------------------------------------------------------

    def _be_told(self, execution: Execution, kind: str) -> None:
        if kind in GOES_ON:
            return
        execution.process.tell(kind)
        self._kill_later(execution)

    def _kill_later(self, execution: Execution) -> None:
        if execution.killer is None:
            execution.killer = self._loop.call_later(PATIENCE, execution.process.end)

    def _look(self, process: Process) -> None:
        execution = self._executions.get(process)
        if execution is None:
            return
        if process.exit_code is None:
            if process.is_over:
                execution.keeper.stop()
                self._kill_later(execution)  # a thread that user code has left behind, perhaps
            return
        del self._executions[process]
        if execution.killer is not None:
            execution.killer.cancel()
        execution.keeper.stop()
        why = (
            "The server was stopped." if self._is_stopped else f"Its process ended: {how_it_ended(process.exit_code)}."
        )
        self._settle(self._hand_back(execution.run, execution.keeper.holder, why, has_begun=process.has_begun))
        self._changed.set()

    async def _hand_back(self, run: str, holder: str, why: str, *, has_begun: bool) -> None:
        state = await reaper.settle(self._broker, run, holder, why, has_begun=has_begun)
        if state is not None:
            logger.warning("Run %s is %s.", run, state)
        # Each execution has one: it would be kept for as long as the run.
        await self._broker.persistent.call(f"run {run}", "UNLINK", keys.control(self._settings.namespace, holder))

    async def _fail(self, run: str, holder: str, problem: str) -> None:
        state = Failed(message=f"The flow's code could not be imported: {problem}.")
        try:
            await store.change(self._broker, run, Change(state, holder=holder))
        except (ObjectNotFound, IllegalTransition):
            await reaper.settle(
                self._broker, run, holder, state.message or "", has_begun=True
            )  # it was cancelled just now
        logger.warning("Run %s is %s.", run, state)

    def _settle(self, work: Coroutine[Any, Any, None]) -> None:
        async def settling() -> None:
            try:
                await work
            except BrokerError as error:
                logger.warning("What became of a run could not be noted, it will be found overdue: %s", error)

        self._start(settling(), "settling")

    # --- now and then ---------------------------------------------------------------------------------

    def _every(self, seconds: float, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def again_and_again() -> None:
            while True:
                await asyncio.sleep(seconds)
                try:
                    await work()
                except BrokerError as error:
                    logger.warning("The broker: %s", error)

        self._start(again_and_again(), "now and then")

    async def _save(self) -> None:
        for deployment in self._deployments:
            await catalogue.save(self._broker, deployment)

    async def _reap(self) -> None:
        await reaper.reap(self._broker)

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = self._loop.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
