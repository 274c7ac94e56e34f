"""What dies, and what does not die with it: runs, their processes, servers, code."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from flowchan import resume_flow_run
from flowchan.deployments import run_deployment
from flowchan.flow_runs import cancel_flow_run
from flowchan.wire import keys
from tests.deployments.conftest import Runs, Servers, kill, spares
from tests.support.server import Server
from tests.support.waiting import eventually

PROGRAM = """
import os, sys, time
import flowchan
from flowchan import flow, pause_flow_run, suspend_flow_run

def note(path):
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\\n")

@flow
def ends_the_interpreter(code: int = 3):
    os._exit(code)

@flow
async def waits(path: str):
    note(path)
    await pause_flow_run()

@flow(retries=1)
async def is_tried_again(path: str):
    note(path)
    await pause_flow_run()
    return "done"

@flow(retries=1, retry_delay_seconds=3600)
def fails_once(path: str):
    note(path)
    with open(path) as file:
        if len(file.readlines()) == 1:
            raise ValueError("the first time")
    return "done"

@flow
async def blocks(path: str, seconds: float):
    note(path)
    time.sleep(seconds)
    return "alive"

@flow
def sleeps(path: str):
    note(path)
    time.sleep(3600)

if __name__ == "__main__":
    flowchan.serve(
        *(each.to_deployment("it") for each in (ends_the_interpreter, waits, is_tried_again, fails_once, blocks, sleeps)),
        limit=int(sys.argv[1]) if sys.argv[1:] else None,
    )
    print("It has ended.")
"""


def begun(name: str, notes: Path, noted: Callable[[int], list[str]], **parameters: Any) -> tuple[Any, int]:
    """A run whose flow has begun, and the process that it is in."""
    run = run_deployment(name, {"path": str(notes), **parameters}, timeout=0)
    return run, int(noted(1)[-1])


# --- a process dies -------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [3, 0])
def test_a_flow_that_ends_its_interpreter_has_crashed_and_it_is_said_how(servers: Servers, code: int) -> None:
    servers.serving(PROGRAM)

    run: Any = run_deployment("ends-the-interpreter/it", {"code": code}, timeout=20)

    assert run.state.is_crashed()
    assert f"exit code {code}" in run.state.message


def test_a_run_that_is_killed_has_crashed_at_once_and_takes_no_other_with_it(
    servers: Servers, runs: Runs, notes: Path, noted: Callable[[int], list[str]], tmp_path: Path
) -> None:
    servers.serving(PROGRAM)
    other: Any = run_deployment("waits/it", {"path": str(tmp_path / "other")}, timeout=0)
    runs.until(other, "PAUSED")
    run, process = begun("sleeps/it", notes, noted)

    kill(process)

    assert "SIGKILL" in runs.until(run, "CRASHED").message
    assert run_deployment("ends-the-interpreter/it", timeout=20).state.is_crashed()
    resume_flow_run(other.id)
    runs.until(other, "COMPLETED")


def test_a_run_that_is_killed_is_handed_on_as_often_as_its_retries_allow(
    servers: Servers, runs: Runs, notes: Path, noted: Callable[[int], list[str]]
) -> None:
    servers.serving(PROGRAM)
    run, process = begun("is-tried-again/it", notes, noted)
    runs.until(run, "PAUSED")

    kill(process)
    second = int(noted(2)[1])
    runs.until(run, "PAUSED")
    kill(second)

    runs.until(run, "CRASHED")
    assert runs.states(run).count("RUNNING") == 2


def test_a_process_that_dies_while_it_waits_to_try_again_owes_that_try(
    servers: Servers, runs: Runs, notes: Path, noted: Callable[[int], list[str]]
) -> None:
    servers.serving(PROGRAM)
    run, process = begun("fails-once/it", notes, noted)
    eventually(lambda: runs.known(run).state.name == "AwaitingRetry", "the first failure")

    kill(process)

    assert runs.until(run, "COMPLETED").result() == "done"


def test_spares_that_are_killed_are_replaced(servers: Servers) -> None:
    server = servers.serving(PROGRAM)

    for spare in spares(server, 2):
        spare.kill()

    assert run_deployment("ends-the-interpreter/it", timeout=20).state.is_crashed()


# --- a server dies --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("short_lease")
def test_the_runs_of_a_server_that_is_killed_end_and_have_crashed(
    servers: Servers, runs: Runs, notes: Path, noted: Callable[[int], list[str]]
) -> None:
    server = servers.serving(PROGRAM)
    run, process = begun("sleeps/it", notes, noted)
    runs.until(run, "RUNNING")
    servers.serving(PROGRAM)  # which finds it

    server.kill()

    eventually(lambda: not psutil.pid_exists(process) or _is_dead(process), "the end of the process")
    # Not by a look at the run, which would settle it, too.
    eventually(lambda: "CRASHED" in runs.states(run), "the crash")
    assert "not heard of" in runs.known(run).state.message


@pytest.mark.usefixtures("short_lease")
def test_a_run_with_retries_goes_on_at_another_server(
    servers: Servers, runs: Runs, notes: Path, noted: Callable[[int], list[str]]
) -> None:
    server = servers.serving(PROGRAM)
    run, _ = begun("is-tried-again/it", notes, noted)
    runs.until(run, "PAUSED")
    servers.serving(PROGRAM)

    server.kill()
    noted(2)
    runs.until(run, "PAUSED")
    resume_flow_run(run.id)

    assert runs.until(run, "COMPLETED").result() == "done"


@pytest.mark.usefixtures("short_lease")
def test_a_run_whose_server_died_before_it_began_is_executed_by_another(
    servers: Servers, runs: Runs, notes: Path, noted: Callable[[int], list[str]]
) -> None:
    server = servers.serving(PROGRAM)
    held = spares(server, 2)
    eventually(lambda: all(spare.status() == psutil.STATUS_SLEEPING for spare in held), "their rest")
    for spare in held:
        spare.suspend()  # they hear of a run, and do not begin it
    run: Any = run_deployment("blocks/it", {"path": str(notes), "seconds": 0}, timeout=0)
    runs.until(run, "PENDING")

    server.kill()
    for spare in held:
        spare.resume()
    servers.serving(PROGRAM)

    runs.until(run, "COMPLETED")
    assert len(noted(1)) == 1


def test_a_flow_that_blocks_its_loop_for_longer_than_its_lease_is_alive(
    short_lease: float, servers: Servers, runs: Runs, notes: Path, noted: Callable[[int], list[str]]
) -> None:
    for _ in range(2):  # the other one would find it overdue
        servers.serving(PROGRAM)

    run: Any = run_deployment("blocks/it", {"path": str(notes), "seconds": 2.5 * short_lease}, timeout=30)

    assert run.state.result() == "alive"
    assert runs.states(run) == ["SCHEDULED", "PENDING", "RUNNING", "COMPLETED"]
    assert len(noted(1)) == 1


def test_a_run_is_not_executed_twice_because_the_broker_was_held_up(
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    servers: Servers,
    runs: Runs,
    namespace: str,
    notes: Path,
    noted: Callable[[int], list[str]],
) -> None:
    lease = 3.0
    monkeypatch.setenv("FLOWCHAN_LEASE", str(lease))
    executor = psutil.Process(servers.serving(PROGRAM).pid)
    run, _ = begun("is-tried-again/it", notes, noted)
    runs.until(run, "PAUSED")
    servers.serving(PROGRAM)  # which would find it overdue

    executor.suspend()  # it is not the first to be back
    with server.paused():
        time.sleep(lease + 0.1)
    with server.client() as client:
        record = keys.record(namespace, str(run.id))
        eventually(lambda: client.hexists(record, "doubted"), "the other server's doubt")
    executor.resume()
    resume_flow_run(run.id)

    runs.until(run, "COMPLETED")
    assert runs.states(run) == ["SCHEDULED", "PENDING", "RUNNING", "PAUSED", "RUNNING", "COMPLETED"]
    assert len(noted(1)) == 1


# --- a server is stopped ----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_told_to_end_takes_no_more_and_waits_for_its_runs(
    servers: Servers, runs: Runs, notes: Path, noted: Callable[[int], list[str]], number: int
) -> None:
    server = servers.serving(PROGRAM)
    run, _ = begun("waits/it", notes, noted)
    runs.until(run, "PAUSED")

    os.kill(server.pid, number)
    server.says("Waiting for 1 run to end")
    late: Any = run_deployment("waits/it", {"path": str(notes)}, timeout=0)
    resume_flow_run(run.id)

    server.says("It has ended.")
    assert server.ends() == 0
    assert runs.known(run).state.is_completed()
    assert runs.known(late).state.is_scheduled()


def test_a_server_that_is_told_twice_ends_its_runs(
    servers: Servers, runs: Runs, notes: Path, noted: Callable[[int], list[str]]
) -> None:
    server = servers.serving(PROGRAM, terminal=True)
    run, _ = begun("waits/it", notes, noted)
    again: Any = run_deployment("is-tried-again/it", {"path": str(notes)}, timeout=0)
    for each in (run, again):
        runs.until(each, "PAUSED")

    server.interrupt()
    server.says("Ctrl-C again")
    server.interrupt()

    assert server.ends() == 0
    state = runs.known(run).state
    assert state.is_crashed()
    assert state.message == "The server was stopped."
    assert runs.known(again).state.is_scheduled()  # its retries allow it


def test_a_run_that_is_cancelled_ends_in_its_process(
    servers: Servers, runs: Runs, notes: Path, noted: Callable[[int], list[str]]
) -> None:
    servers.serving(PROGRAM)
    run, process = begun("sleeps/it", notes, noted)
    runs.until(run, "RUNNING")

    cancel_flow_run(run.id)

    runs.until(run, "CANCELLED")
    eventually(lambda: not psutil.pid_exists(process), "the end of the process")


# --- code that changes --------------------------------------------------------------------------------------

CHANGING = """
from flowchan import flow

@flow
def changing():
    return 1

if __name__ == "__main__":
    changing.serve("it")
"""


def asked() -> Any:
    """The state in which a run of the flow ends."""
    run: Any = run_deployment("changing/it", timeout=20)
    return run.state


def test_a_run_is_executed_by_the_code_as_it_is_now(servers: Servers, tmp_path: Path) -> None:
    servers.serving(CHANGING)
    assert asked().result() == 1

    (tmp_path / "served.py").write_text(CHANGING.replace("return 1", "return 2"))

    assert asked().result() == 2


@pytest.mark.parametrize(
    "broken, reason",
    [
        ("import nothing_of_that_name\n", "No module named 'nothing_of_that_name' (served.py, line 1)"),
        ("def (:\n", "SyntaxError"),
        ("raise SystemExit(4)\n", "SystemExit: 4"),
        ("import os\nos._exit(5)\n", "exit code 5"),
    ],
)
def test_code_that_cannot_be_imported_any_more_fails_the_run_with_the_reason_until_it_can(
    servers: Servers, tmp_path: Path, broken: str, reason: str
) -> None:
    server = servers.serving(CHANGING)
    path = tmp_path / "served.py"

    path.write_text(broken)
    state = asked()
    assert state.is_failed()
    assert reason in state.message

    path.write_text(CHANGING)
    # Who was killed by the code has not told what it imported: that is tried again after a while.
    eventually(lambda: asked().is_completed(), "a run by code that works")
    assert psutil.pid_exists(server.pid)


def test_a_flow_that_is_not_there_any_more_fails_the_run(servers: Servers, tmp_path: Path) -> None:
    servers.serving(CHANGING)

    (tmp_path / "served.py").write_text(CHANGING.replace("def changing", "def other"))

    state = asked()
    assert state.is_failed()
    assert "has no flow 'changing'" in state.message


def _is_dead(pid: int) -> bool:
    # Whose parent was killed: nobody may have asked for its end yet.
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
