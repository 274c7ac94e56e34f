"""What a flow prints goes to its run's log, if it says so."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from flowchan import flow
from flowchan.context import get_run_context
from tests.support import programs


class Log(logging.Handler):
    """What runs have logged."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def messages(self) -> list[str]:
        return [record.getMessage() for record in self.records]


@pytest.fixture
def log(caplog: Log) -> Iterator[Log]:
    caplog.set_level(logging.INFO)
    log, logger = Log(), logging.getLogger("flowchan.flow_runs")
    logger.addHandler(log)
    yield log
    logger.removeHandler(log)


def test_what_is_printed_is_logged_by_the_run(log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    @flow(log_prints=True)
    def talks() -> str:
        print("Hello,", "andrew", sep="  ", end="!\n\n")  # noqa: T201
        return get_run_context().run

    run = talks()

    (record,) = log.records
    assert (record.levelname, record.getMessage(), record.flow_run_id) == ("INFO", "Hello,  andrew!", run)
    assert capsys.readouterr().out == ""


def test_percent_signs_and_several_lines_are_logged_as_they_are(log: Log) -> None:
    @flow(log_prints=True)
    def talks() -> None:
        print("100 %s\nand more", flush=True)  # noqa: T201

    talks()
    assert log.messages == ["100 %s\nand more"]


def test_what_is_printed_to_a_file_goes_there(log: Log) -> None:
    file = io.StringIO()

    @flow(log_prints=True)
    def talks() -> None:
        print("hello", file=file)

    talks()
    assert (file.getvalue(), log.messages) == ("hello\n", [])


def test_otherwise_and_outside_it_is_printed(log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    @flow
    def talks() -> None:
        print("within")  # noqa: T201

    flow(log_prints=True)(lambda: None)()
    talks()
    print("outside")  # noqa: T201
    assert capsys.readouterr().out == "within\noutside\n"
    assert log.messages == []


@pytest.mark.parametrize("inner, logged", [(None, True), (True, True), (False, False)])
def test_a_subflow_that_says_nothing_does_as_the_flow_that_called_it(
    inner: bool | None, logged: bool, log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    @flow(log_prints=inner, flow_run_name="inner")
    def talks() -> None:
        print("inside")  # noqa: T201

    @flow(log_prints=True)
    def outer() -> None:
        talks()
        print("after")  # noqa: T201

    outer()
    assert log.messages == (["inside", "after"] if logged else ["after"])
    assert capsys.readouterr().out == ("" if logged else "inside\n")


def test_a_handler_that_prints_does_not_log_for_ever(capsys: pytest.CaptureFixture[str]) -> None:
    class Prints(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            print("handled", record.getMessage())  # noqa: T201

    handler = Prints()
    logging.getLogger("flowchan.flow_runs").addHandler(handler)
    logging.getLogger("flowchan.flow_runs").setLevel(logging.INFO)
    try:
        flow(log_prints=True)(lambda: print("hello"))()  # noqa: T201
    finally:
        logging.getLogger("flowchan.flow_runs").removeHandler(handler)
        logging.getLogger("flowchan.flow_runs").setLevel(logging.NOTSET)
    assert capsys.readouterr().out == "handled hello\n"


def test_threads_print_each_for_their_own_run(log: Log) -> None:
    @flow(log_prints=True)
    def talks(number: int) -> None:
        print(number)  # noqa: T201

    def call(number: int) -> None:
        talks.with_options(flow_run_name=f"run-{number}")(number)

    threads = [threading.Thread(target=call, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    said: Any = {(record.flow_run_name, record.getMessage()) for record in log.records}
    assert said == {(f"run-{number}", str(number)) for number in range(8)}


def test_prints_of_a_program_that_has_set_nothing_up_are_seen_on_standard_error() -> None:
    said = programs.run("""
        import contextlib, io, sys
        from flowchan import flow

        @flow(log_prints=True)
        def talks():
            print("hello")

        errors, sys.stderr = sys.stderr, io.StringIO()
        talks()
        said, sys.stderr = sys.stderr.getvalue(), errors
        print("| INFO    | Flow run" in said, said.rstrip().endswith("- hello"))
    """)

    assert said == "True True\n"
