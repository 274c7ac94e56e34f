"""What is served is executed when it is asked for: once, elsewhere, with what was given."""

from __future__ import annotations

import signal
import textwrap
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest

import flowchan
from flowchan import flow, resume_flow_run, tags
from flowchan.deployments import run_deployment
from flowchan.errors import MessageTooLarge, ObjectNotFound, ParameterBindError
from tests.cli.program import Program
from tests.deployments.conftest import Runs, Servers

PROGRAM = """
import os, sys, time
import flowchan
from flowchan import flow, pause_flow_run

@flow
def add(a: int, b: int = 1):
    "Adds two numbers."
    return a + b

@flow
async def note(path: str):
    with open(path, "a") as file:
        file.write(f"{os.getpid()} {os.getppid()}\\n")

@flow
def spell(path: str):
    with open(path, "a") as file:
        file.write("begin\\n")
    pause_flow_run()
    with open(path, "a") as file:
        file.write("end\\n")

if __name__ == "__main__":
    flowchan.serve(
        add.to_deployment("it", parameters={"a": 1}, tags=["served"]),
        note.to_deployment("it"),
        spell.to_deployment("it"),
        limit=int(sys.argv[1]) if sys.argv[1:] else None,
    )
    print("It has ended.")
"""


def asked(name: str, *arguments: Any, **options: Any) -> Any:
    return run_deployment(name, *arguments, **{"timeout": 20, **options})


def test_a_run_is_executed_with_the_parameters_that_were_given(servers: Servers) -> None:
    servers.serving(PROGRAM)

    run = asked("add/it", {"a": 2, "b": 3})

    assert run.state.is_completed()
    assert run.state.result() == 5
    assert (run.flow_name, run.deployment_name) == ("add", "add/it")
    assert run.parameters == {"a": 2, "b": 3}
    assert asked(run.deployment_id, {"b": 5}).state.result() == 6  # by its ID; the deployment's own default


def test_a_run_that_is_not_waited_for_has_a_name_at_once(servers: Servers, runs: Runs) -> None:
    servers.serving(PROGRAM)

    run = asked("add/it", timeout=0)

    assert run.state.is_scheduled()
    runs.until(run, "COMPLETED")
    assert runs.known(run).name == run.name
    assert asked("add/it", timeout=0, flow_run_name="mine").name == "mine"


def test_what_is_asked_for_while_nobody_serves_waits(servers: Servers, runs: Runs) -> None:
    server = servers.serving(PROGRAM)
    psutil.Process(server.pid).send_signal(signal.SIGTERM)
    assert server.ends() == 0

    waiting = asked("add/it", timeout=0)
    assert asked("add/it", timeout=0.05).state.is_scheduled()
    servers.serving(PROGRAM)

    runs.until(waiting, "COMPLETED")


def test_servers_of_one_name_share_the_runs_and_each_is_executed_once(
    servers: Servers, runs: Runs, notes: Path, noted: Callable[[int], list[str]]
) -> None:
    several = [servers.start(PROGRAM, "1") for _ in range(2)]
    for server in several:
        server.says("$ flowchan run")

    asked_for = [asked("note/it", {"path": str(notes)}, timeout=0) for _ in range(8)]

    for run in asked_for:
        runs.until(run, "COMPLETED")
        assert runs.states(run) == ["SCHEDULED", "PENDING", "RUNNING", "COMPLETED"]
    lines = noted(8)
    assert len(lines) == 8
    assert len({line.split()[0] for line in lines}) == 8  # a process each


def test_a_server_executes_no_more_at_once_than_its_limit(
    servers: Servers, runs: Runs, notes: Path, noted: Callable[[int], list[str]]
) -> None:
    servers.serving(PROGRAM, "1")

    first = asked("spell/it", {"path": str(notes)}, timeout=0)
    runs.until(first, "PAUSED")  # of two at once, the younger may be heard of first
    second = asked("spell/it", {"path": str(notes)}, timeout=0)
    assert runs.known(second).state.is_scheduled()
    resume_flow_run(first.id)
    runs.until(second, "PAUSED")
    resume_flow_run(second.id)
    runs.until(second, "COMPLETED")

    assert noted(4) == ["begin", "end"] * 2


def test_a_run_is_tagged_by_its_deployment_and_by_who_asks(servers: Servers) -> None:
    servers.serving(PROGRAM)

    with tags("around"):
        assert asked("add/it", tags=["asked"], timeout=0).tags == ("around", "asked", "served")


def test_who_asks_twice_with_one_key_gets_one_run(servers: Servers) -> None:
    servers.serving(PROGRAM)

    first = asked("add/it", idempotency_key="order-7")
    second = asked("add/it", idempotency_key="order-7")

    assert second.id == first.id
    assert second.state.is_completed()
    assert second.run_count == 1


def test_the_run_that_asks_is_the_parent_unless_it_says_otherwise(servers: Servers) -> None:
    servers.serving(PROGRAM)

    @flow
    def asking() -> Any:
        me = flowchan.context.get_run_context().flow_run.id
        child = asked("add/it")
        return me, child.parent_id, asked("add/it", as_subflow=False, timeout=0).parent_id

    me, parent, none = asking()
    assert parent == me
    assert none is None


@pytest.mark.anyio
async def test_in_async_code_it_is_awaited(servers: Servers) -> None:
    servers.serving(PROGRAM)

    run = await run_deployment("add/it", {"a": 4}, timeout=20)

    assert run.state is not None
    assert run.state.result(fetch=False) == 5


def test_a_deployment_that_is_not_known_is_not_found_and_it_is_said_how_it_would_be() -> None:
    with pytest.raises(ObjectNotFound, match=r"flow\.serve\(name='it'\)"):
        asked("nobody/it")
    with pytest.raises(ObjectNotFound, match="'flow/name'"):
        asked("nobody")
    with pytest.raises(ObjectNotFound):
        asked(uuid4())


def test_what_cannot_be_asked_for_is_refused_before_there_is_a_run(servers: Servers, monkeypatch: Any) -> None:
    servers.serving(PROGRAM)
    before = len(flowchan.get_client().read_flow_runs())  # type: ignore[arg-type]

    with pytest.raises(ParameterBindError, match="no parameter 'c'"):
        asked("add/it", {"c": 1})
    with pytest.raises(NotImplementedError, match="scheduled_time"):
        asked("add/it", scheduled_time=datetime.now(UTC) + timedelta(hours=1))
    monkeypatch.setenv("FLOWCHAN_MAX_MESSAGE_BYTES", "100")
    with pytest.raises(MessageTooLarge):
        asked("add/it", {"a": "1" * 200})
    with pytest.raises(TypeError):
        asked("add/it", tags="one")

    assert len(flowchan.get_client().read_flow_runs()) == before  # type: ignore[arg-type]


def test_parameters_that_do_not_fit_fail_the_run(servers: Servers) -> None:
    servers.serving(PROGRAM)

    state = asked("add/it", {"a": "much"}).state

    assert state.is_failed()
    assert "a: Input should be a valid integer" in state.message
    assert asked("note/it").state.is_failed()  # a missing one, too


# --- how it is served ---------------------------------------------------------------------------------

ONE = """
import asyncio, sys
from flowchan import flow

@flow
def one(n: int = 1):
    return n

"""


@pytest.mark.parametrize(
    "call",
    [
        "one.serve()",
        "asyncio.run(one.serve(name='one'))",
        "asyncio.run(main())\n",
    ],
)
def test_serving_blocks_or_is_awaited_and_ends_with_a_signal(servers: Servers, call: str) -> None:
    text = (
        f"{ONE}async def main():\n    await one.serve()\n\nif __name__ == '__main__':\n    {call}\n    print('ended')\n"
    )
    server = servers.start(text)
    assert "'one'" in server.says("$ flowchan run 'one/one'")

    assert asked("one/one").state.result() == 1
    server.interrupt()

    server.says("ended")
    assert server.ends() == 0


def test_a_flow_may_be_in_a_module_that_is_found_where_the_program_finds_it(servers: Servers, tmp_path: Path) -> None:
    (tmp_path / "flows_elsewhere.py").write_text(ONE)
    program = f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        from flows_elsewhere import one
        one.serve()
    """

    servers.serving(textwrap.dedent(program))

    assert asked("one/one", {"n": 3}).state.result() == 3


@pytest.mark.parametrize(
    "text, reason",
    [
        (f"{ONE}one.serve()", "Guard it"),
        (f"{ONE}def make():\n    @flow\n    def two(): ...\n    return two\n\nmake().serve()", "within a function"),
        (f"{ONE}one.with_options(name='other').serve()", "no such flow"),
        (f"{ONE}if __name__ != '__main__':\n    import nothing_of_that_name\none.serve()", "nothing_of_that_name"),
        (f"{ONE}if __name__ != '__main__':\n    import os; os._exit(3)\none.serve()", "exit code 3"),
    ],
)
def test_what_another_process_would_not_find_is_not_served(servers: Servers, text: str, reason: str) -> None:
    server = servers.start(text)

    assert server.ends() == 1
    assert "CodeError" in server.screen
    assert reason in server.screen
    assert "$ flowchan run" not in server.screen


def test_a_flow_that_is_in_no_file_is_not_served() -> None:
    program = Program("-c", f"{ONE}one.serve()")
    try:
        assert program.ends() == 1
        assert "in no file" in program.screen
    finally:
        program.close()


@flow
def here() -> None:
    """A flow of this module."""


@pytest.mark.parametrize("option", ["cron", "interval", "schedules", "work_pool_name"])
def test_what_wants_a_scheduler_is_refused_by_name(option: str) -> None:
    with pytest.raises(NotImplementedError, match=option):
        here.to_deployment("it", **{option: "x"})


@pytest.mark.parametrize(
    "options, kind",
    [
        ({"name": "a/b"}, ValueError),
        ({"name": ""}, ValueError),
        ({"tags": "one"}, TypeError),
        ({"parameters": {"n": 1}}, ParameterBindError),
        ({"colour": "red"}, TypeError),
    ],
)
def test_what_makes_no_deployment_is_refused(options: dict[str, Any], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        here.to_deployment(**options)


def test_what_cannot_be_served_together_is_refused() -> None:
    made = here.to_deployment("it")
    with pytest.raises(ValueError, match="two deployments"):
        flowchan.serve(made, made)
    with pytest.raises(TypeError):
        flowchan.serve()
    with pytest.raises(TypeError):
        flowchan.serve(here)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="limit"):
        flowchan.serve(made, limit=0)
