"""Whatever breaks between two steps of a pause and a resume, nothing is lost, and nothing is done twice."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from flowchan import flow, get_client
from flowchan.errors import NotPausedError
from flowchan.flow_runs import pause_flow_run, resume_flow_run
from flowchan.settings import Settings, chosen, current_settings
from tests.support import programs
from tests.support.proxy import Fate, Proxy
from tests.support.runs import seen, started, state_of
from tests.support.server import Server
from tests.support.waiting import eventually

pytestmark = pytest.mark.anyio

CUTS = [Fate.LOSE_REQUEST, Fate.HALVE_REQUEST, Fate.LOSE_REPLY, Fate.HALVE_REPLY]
THE_WAY = ["Running", "Paused", "Running", "Completed"]


@flow
async def asks() -> Any:
    return await pause_flow_run(int)


@pytest.fixture
def by_proxy(shared_server: Server, make_proxy: Callable[[Path], Proxy]) -> tuple[Proxy, Settings, Settings]:
    """A proxy, and the settings of who goes by it and of who does not."""
    direct = current_settings()
    proxy = make_proxy(shared_server.socket)
    return proxy, current_settings(), direct


class Nth:
    """Lets all pass but the n-th piece of what is sent; ``happened`` says whether there was one."""

    def __init__(self, number: int, fate: Callable[[], Fate]) -> None:
        self._left = number
        self._fate = fate
        self.happened = False

    def __call__(self, _: bytes) -> Fate:
        self._left -= 1
        if self._left:
            return Fate.PASS
        self.happened = True
        return self._fate()


async def states() -> list[str]:
    """What the states of the newest run were called."""
    (run,) = await get_client().read_flow_runs(limit=1)
    return [state.name for state in await get_client().read_flow_run_states(run.id)]


async def round_trip(flows: Settings, resumers: Settings, before_resume: Callable[[], None] = lambda: None) -> None:
    """A flow pauses and is resumed, by whatever ways; it goes as it should."""
    with chosen(flows):
        call: asyncio.Task[Any] = asyncio.ensure_future(asks())  # type: ignore[arg-type]
    run = await seen("asks", "PAUSED")
    before_resume()
    with chosen(resumers):
        await resume_flow_run(run.id, {"value": 42})
    assert await call == 42
    assert await states() == THE_WAY


# --- connections that are cut --------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", CUTS, ids=lambda it: it.name.lower())
async def test_a_flow_whose_connection_is_cut_at_any_command_pauses_and_goes_on_once(
    cut: Fate, by_proxy: tuple[Proxy, Settings, Settings]
) -> None:
    proxy, by_way, direct = by_proxy
    with chosen(direct):
        await round_trip(by_way, direct)  # who was never there is not waited for: that is another matter
        for number in count(1):
            proxy.fate = nth = Nth(number, lambda: cut)
            await round_trip(by_way, direct)
            if not nth.happened:
                break
    assert number > 6, "a pause takes more than that"


@pytest.mark.parametrize("cut", CUTS, ids=lambda it: it.name.lower())
async def test_a_resumer_whose_connection_is_cut_at_any_command_resumes_once(
    cut: Fate, by_proxy: tuple[Proxy, Settings, Settings]
) -> None:
    proxy, by_way, direct = by_proxy
    with chosen(direct):
        await round_trip(direct, by_way)
        for number in count(1):
            nth = Nth(number, lambda: cut)

            def arm(nth: Nth = nth) -> None:
                proxy.fate = nth

            await round_trip(direct, by_way, arm)
            proxy.fate = lambda _: Fate.PASS
            if not nth.happened:
                break
    assert number > 3, "a resume takes more than that"


# --- a server that dies --------------------------------------------------------------------------------------


async def test_a_server_that_is_killed_between_pause_and_resume_has_forgotten_nothing(server: Server) -> None:
    async with started(asks) as call:
        run = await seen("asks", "PAUSED")
        server.restart()
        assert await state_of(run) == run.state
        await resume_flow_run(run.id, {"value": 42})
        assert await call == 42
    assert await states() == THE_WAY


async def test_a_server_that_is_away_when_a_run_is_to_be_resumed_is_waited_for(server: Server) -> None:
    async with started(asks) as call:
        run = await seen("asks", "PAUSED")
        server.kill()
        resuming = asyncio.ensure_future(resume_flow_run(run.id, {"value": 42}))
        await asyncio.sleep(0.05)
        assert not resuming.done()
        server.start()
        await resuming
        assert await call == 42


async def test_a_server_that_is_killed_right_after_the_resume_has_forgotten_nothing(server: Server) -> None:
    async with started(asks) as call:
        run = await seen("asks", "PAUSED")
        await resume_flow_run(run.id, {"value": 42})
        server.restart()
        assert await call == 42
    assert (await state_of(run)).is_completed()


async def test_a_server_may_be_killed_at_every_other_command_of_a_pause_and_a_resume(
    server: Server, make_proxy: Callable[[Path], Proxy]
) -> None:
    direct = current_settings()
    proxy = make_proxy(server.socket)
    by_way = current_settings()

    def restart() -> Fate:
        server.restart()
        return Fate.LOSE_REQUEST

    with chosen(direct):
        await round_trip(by_way, by_way)
    for number in count(1, 2):  # each time takes a second, until everybody has found the way back
        proxy.fate = nth = Nth(number, restart)
        with chosen(direct):
            await round_trip(by_way, by_way)
        if not nth.happened:
            break
    assert number > 10, "a pause and a resume take more than that"


# --- processes that die --------------------------------------------------------------------------------------


RESUMER = """
import sys
from flowchan.flow_runs import resume_flow_run

sys.stdin.readline()
resume_flow_run({run!r}, {{"value": 1}})
"""


@pytest.fixture
def killing(by_proxy: tuple[Proxy, Settings, Settings]) -> Iterator[Callable[[subprocess.Popen[str], int, Fate], Nth]]:
    """Kills a process that goes by the proxy when it sends its n-th piece, which then passes or is lost."""
    proxy, _, direct = by_proxy

    def killing(process: subprocess.Popen[str], number: int, then: Fate) -> Nth:
        def kill() -> Fate:
            process.kill()
            return then

        proxy.fate = nth = Nth(number, kill)
        return nth

    with chosen(direct):
        yield killing


async def test_a_resumer_that_is_killed_at_any_command_has_resumed_the_run_or_not(
    killing: Callable[..., Nth], by_proxy: tuple[Proxy, Settings, Settings]
) -> None:
    values = []
    for number in count(1):
        async with started(asks) as call:
            run = await seen("asks", "PAUSED")
            with programs.running(RESUMER.format(run=str(run.id))) as process:
                nth = killing(process, number, Fate.PASS)
                await asyncio.to_thread(process.communicate, "go\n", 20)
            await asyncio.to_thread(by_proxy[0].deliver)
            try:
                await resume_flow_run(run.id, {"value": 2})
            except NotPausedError:
                values.append(1)
            else:
                values.append(2)
            assert await call == values[-1]
        assert await states() == THE_WAY
        if not nth.happened:
            break
    assert (values[0], values[-1]) == (2, 1), "the first was killed before it said anything, the last not at all"


@pytest.mark.parametrize("then, value", [(Fate.LOSE_REQUEST, 2), (Fate.PASS, 1)], ids=["before it", "after it"])
async def test_a_resumer_that_is_killed_at_its_change_has_made_it_if_it_was_sent(
    then: Fate, value: int, by_proxy: tuple[Proxy, Settings, Settings]
) -> None:
    proxy, _, direct = by_proxy

    def fate(piece: bytes) -> Fate:
        if b"EVALSHA" not in piece:
            return Fate.PASS
        process.kill()
        return then

    proxy.fate = fate
    with chosen(direct):
        async with started(asks) as call:
            run = await seen("asks", "PAUSED")
            with programs.running(RESUMER.format(run=str(run.id))) as process:
                await asyncio.to_thread(process.communicate, "go\n", 20)
            await asyncio.to_thread(proxy.deliver)
            with contextlib.suppress(NotPausedError):
                await resume_flow_run(run.id, {"value": 2})
            assert await call == value


FLOW = """
import sys
from flowchan import flow, pause_flow_run

@flow
def asks():
    return pause_flow_run(int)

sys.stdin.readline()
asks()
"""


def _is_a_new_run_paused(client: Any, known: int) -> bool:
    runs = client.read_flow_runs()
    return len(runs) > known and runs[0].state.is_paused()


def test_a_flow_whose_process_is_killed_at_any_command_has_crashed(
    killing: Callable[..., Nth], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWCHAN_LEASE", "1")
    client: Any = get_client()
    known = 0
    for number in count(1):
        with programs.running(FLOW) as process:
            nth = killing(process, number, Fate.PASS)
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
            # Those that were killed before count as paused, too, for as long as their leases last.
            paused = partial(_is_a_new_run_paused, client, known)
            eventually(lambda: nth.happened or process.poll() is not None or paused(), "something")  # noqa: B023
            process.kill()
            process.wait()
        runs = client.read_flow_runs()
        assert len(runs) <= known + 1
        known = len(runs)
        if not nth.happened:
            break
    assert known > 2, "it was killed before it had begun"
    # All at once: a lease is doubted first, by who looks for the first time.
    eventually(lambda: all(run.state.is_crashed() for run in client.read_flow_runs()), "the crashes")
