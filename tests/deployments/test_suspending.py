"""Runs that give up their process, and go on in another: elsewhere, later, with other code."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from flowchan import flow, resume_flow_run, sync
from flowchan.deployments import run_deployment
from flowchan.flow_runs import cancel_flow_run
from tests.deployments.conftest import Runs, Servers
from tests.support.streams import Streams
from tests.support.waiting import eventually

PROGRAM = """
from flowchan import flow, suspend_flow_run, pause_flow_run

@flow
async def asks():
    first = await suspend_flow_run(wait_for_input=str)
    second = await suspend_flow_run(wait_for_input=int)
    return first * second

if __name__ == "__main__":
    asks.serve("it")
"""


def test_a_run_is_suspended_without_a_process_and_goes_on_at_another_server(servers: Servers, runs: Runs) -> None:
    first = servers.serving(PROGRAM)
    run: Any = run_deployment("asks/it", timeout=0)
    runs.until(run, "SUSPENDED")
    psutil.Process(first.pid).send_signal(signal.SIGTERM)
    assert first.ends() == 0  # nothing is waited for

    servers.serving(PROGRAM)
    resume_flow_run(run.id, {"value": "ab"})
    runs.until(run, "SUSPENDED")
    resume_flow_run(run.id, {"value": 2})

    assert runs.until(run, "COMPLETED").result() == "abab"
    assert runs.known(run).run_count == 3


def test_what_is_sent_to_a_suspended_run_is_there_when_it_goes_on_however_late(
    servers: Servers, runs: Runs, streams: Streams, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWCHAN_RETENTION", "100")
    servers.serving(PROGRAM.replace("wait_for_input=str", "wait_for_input=str, timeout=3000"))
    run: Any = run_deployment("asks/it", timeout=0)
    sync.send_input(1, run.id, key_prefix="before")
    runs.until(run, "SUSPENDED")
    sync.send_input(2, run.id, key_prefix="while")

    for channel in ("before", "while"):
        assert 3_000_000 < client.pttl(streams.key(str(run.id), channel)) <= 3_100_000  # type: ignore[operator]
    resume_flow_run(run.id, {"value": "ab"})

    # And the next time it waits without a limit
    runs.until(run, "SUSPENDED")
    year = 365 * 24 * 3_600_000
    assert year - 60_000 < client.pttl(streams.key(str(run.id), "before")) <= year  # type: ignore[operator]


def test_a_run_that_another_run_asked_for_can_be_suspended(servers: Servers, runs: Runs) -> None:
    servers.serving(PROGRAM)

    @flow
    def asking() -> Any:
        return run_deployment("asks/it", timeout=0)

    run = asking()

    assert run.parent_id is not None
    runs.until(run, "SUSPENDED")


def test_a_run_that_is_cancelled_while_it_is_suspended_is_not_executed_again(servers: Servers, runs: Runs) -> None:
    servers.serving(PROGRAM)
    run: Any = run_deployment("asks/it", timeout=0)
    runs.until(run, "SUSPENDED")

    cancel_flow_run(run.id)

    assert runs.states(run) == ["SCHEDULED", "PENDING", "RUNNING", "SUSPENDED", "CANCELLED"]


def test_code_that_asks_for_less_since_the_suspension_finds_what_it_asks_for(
    servers: Servers, runs: Runs, tmp_path: Path
) -> None:
    servers.serving(PROGRAM)
    run: Any = run_deployment("asks/it", timeout=0)
    runs.until(run, "SUSPENDED")

    second = "    second = await suspend_flow_run(wait_for_input=int)\n"
    (tmp_path / "served.py").write_text(PROGRAM.replace(second, "    second = 3\n"))
    resume_flow_run(run.id, {"value": "x"})

    assert runs.until(run, "COMPLETED").result() == "xxx"


def test_code_that_asks_for_more_since_the_suspension_asks_for_that(
    servers: Servers, runs: Runs, tmp_path: Path
) -> None:
    servers.serving(PROGRAM)
    run: Any = run_deployment("asks/it", timeout=0)
    runs.until(run, "SUSPENDED")
    resume_flow_run(run.id, {"value": "x"})
    runs.until(run, "SUSPENDED")

    more = "    more = await suspend_flow_run(wait_for_input=int)\n    return first * second * more\n"
    (tmp_path / "served.py").write_text(PROGRAM.replace("    return first * second\n", more))
    resume_flow_run(run.id, {"value": 2})
    eventually(lambda: runs.known(run).waiting_for == "suspended-3", "the third question")
    resume_flow_run(run.id, {"value": 2})

    assert runs.until(run, "COMPLETED").result() == "xxxx"
