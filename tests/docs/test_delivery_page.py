"""The page of promises names a test for each, and has a row for each fault that the suite knows."""

from __future__ import annotations

import re
from pathlib import Path

from tests.faults.catalogue import FAULTS
from tests.faults.fault import Fault, Seen
from tests.faults.table import PAGE, Row, cells_of, filled

EMPTY = "before\n<!-- faults -->\n<!-- /faults -->\nafter\n"
FIRST, SECOND = (Fault(name, "all must", 1, 2, lambda *_: Seen("", "")) for name in ("first", "second"))


TESTS = Path(__file__).parents[1]


def promises(page: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """Each sentence in a table whose last column is "shown by", with the files and tests that are named there."""
    tables = re.findall(r"^\| .*\| shown by \|\n\|[-|]+\n((?:\|.*\n)+)", page, re.MULTILINE)
    rows = [line.strip().strip("|").rpartition("|") for table in tables for line in table.splitlines()]
    named = re.compile(r"\[`(test_\w+)`\]\(\.\./tests/([\w/]+\.py)\)")
    return [(what, [(file, test) for test, file in named.findall(shown_by)]) for what, _, shown_by in rows]


def test_each_promise_names_tests_that_are_there() -> None:
    found = promises(PAGE.read_text(encoding="utf-8"))
    assert len(found) > 40
    for what, tests in found:
        assert tests, f"no test is named for: {what}"


def test_each_test_that_is_named_is_there() -> None:
    named = re.findall(r"\[`(test_\w+)`\]\(\.\./tests/([\w/]+\.py)\)", PAGE.read_text(encoding="utf-8"))
    for test, file in named:
        text = (TESTS / file).read_text(encoding="utf-8")
        assert re.search(rf"^(async )?def {test}\(", text, re.MULTILINE), f"{test} is not in {file}"


def test_each_fault_has_its_row_with_its_promise() -> None:
    rows = {cells[0]: cells[1] for cells in cells_of(PAGE.read_text(encoding="utf-8"))}
    assert rows == {fault.name: fault.must_hold for fault in FAULTS}


def test_a_row_that_was_not_run_again_stays_and_that_is_said() -> None:
    both = {name: Row(name, held=True, seen=Seen("2 times", "0 lost"), seconds=3.4) for name in ("first", "second")}
    page = filled(EMPTY, [FIRST, SECOND], both, "Seen today.")
    assert "more than one run" not in page

    again = filled(
        page,
        [FIRST, SECOND],
        {"first": Row("first", held=True, seen=Seen("9 times", "0 lost"), seconds=1)},
        "Seen later.",
    )

    assert again.startswith("before\n")
    assert again.endswith("\nafter\n")
    assert "Seen later.\nThe rows are of more than one run.\n" in again
    assert cells_of(again) == [
        ("first", "all must", "9 times", "0 lost", "1"),
        ("second", "all must", "2 times", "0 lost", "3"),
    ]


def test_a_promise_that_was_not_kept_is_told_as_such() -> None:
    page = filled(
        EMPTY,
        [FIRST],
        {"first": Row("first", held=False, seen=Seen("2 times", "1 lost | or so"), seconds=3.4)},
        "Seen today.",
    )
    assert "| first | all must | 2 times | **NOT HELD**: 1 lost ¦ or so | 3 |" in page


def test_a_fault_that_was_never_run_is_told_as_such() -> None:
    page = filled(EMPTY, [FIRST], {}, "Seen today.")
    assert "| first | all must | not run |  |  |" in page
