"""The log of a run: seen where nobody has set logging up, and where the program wants it where somebody has."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import textwrap

import pytest

from flowchan import flow, get_run_logger, open_run
from flowchan.context import get_run_context
from flowchan.errors import MissingRunError
from flowchan.logging import get_run_logger as from_its_own_module

FLOW = """
from flowchan import flow, get_run_logger, open_run

@flow(flow_run_name="gregarious-owl")
def talks():
    logger = get_run_logger()
    logger.debug("a detail")
    logger.info("hello, %s", "andrew")
    logger.warning("careful")
"""


def said_by(program: str) -> list[str]:
    """What a program says on standard error."""
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=40, check=True
    )
    assert ended.stdout == ""
    return ended.stderr.splitlines()


def test_a_flows_own_lines_are_seen_where_nobody_has_set_logging_up() -> None:
    hello, careful = said_by(f"{FLOW}\ntalks()")

    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} \| INFO    \| Flow run 'gregarious-owl' - hello, andrew", hello)
    assert careful.endswith("| WARNING | Flow run 'gregarious-owl' - careful")


def test_each_line_is_seen_once_however_many_runs_there_are() -> None:
    assert len(said_by(f"{FLOW}\nfor _ in range(3): talks()")) == 6


def test_a_run_that_is_no_flows_is_seen_too() -> None:
    (line,) = said_by(f"{FLOW}\nwith open_run(name='script'): get_run_logger().info('hello')")

    assert line.endswith("Flow run 'script' - hello")


def test_a_program_that_has_set_logging_up_decides_itself() -> None:
    lines = said_by(f"""
import logging
logging.basicConfig(level=logging.WARNING, format="%(name)s %(flow_run_name)s %(message)s")
{FLOW}
talks()
""")

    assert lines == ["flowchan.flow_runs gregarious-owl careful"]


def test_a_program_that_wants_silence_gets_it() -> None:
    assert (
        said_by(f"import logging\nlogging.getLogger('flowchan').addHandler(logging.NullHandler())\n{FLOW}\ntalks()")
        == []
    )


def test_nothing_is_set_up_for_a_flow_that_says_nothing() -> None:
    lines = said_by("""
import logging
from flowchan import flow

@flow
def silent(): pass

silent()
logging.basicConfig(format="configured: %(message)s", level=logging.INFO)
logging.getLogger("flowchan.flow_runs").info("later")
""")

    assert lines == ["configured: later"]


def test_records_bear_the_run(caplog: pytest.LogCaptureFixture) -> None:
    @flow(name="Greeter", flow_run_name="gregarious-owl")
    def talks() -> str:
        get_run_logger().info("hello", extra={"order": 4711})
        return str(get_run_context().flow_run.id)

    with caplog.at_level(logging.INFO):
        run = talks()

    (record,) = [record for record in caplog.records if record.name == "flowchan.flow_runs"]
    told = {name: getattr(record, name) for name in ("flow_run_id", "flow_run_name", "flow_name", "order")}
    assert told == {"flow_run_id": run, "flow_run_name": "gregarious-owl", "flow_name": "Greeter", "order": 4711}


def test_a_program_that_listens_is_told_of_each_run(caplog: pytest.LogCaptureFixture) -> None:
    @flow(name="Greeter", flow_run_name="gregarious-owl")
    def outer() -> None:
        inner()

    @flow
    def inner() -> None: ...

    with caplog.at_level(logging.INFO):
        outer()

    (message,) = [record.getMessage() for record in caplog.records]
    assert message == "Created flow run 'gregarious-owl' for flow 'Greeter'"


def test_a_run_without_a_flow_has_a_logger(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), open_run("order-4711"):
        from_its_own_module().info("hello")

    (record,) = caplog.records
    assert (record.flow_run_id, record.flow_name) == ("order-4711", "")  # type: ignore[attr-defined]


def test_without_a_run_there_is_no_logger() -> None:
    with pytest.raises(MissingRunError):
        get_run_logger()
