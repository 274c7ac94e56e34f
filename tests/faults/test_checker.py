"""The checker finds what it is there for."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults.checker import Findings, Sender, Told, Witness, all_told, hold
from tests.faults.fault import Broken

CLEAN = Findings([], [], [], [], [])


def sender(name: str, count: int = 5) -> Sender:
    """One that has sent ``<name>0``, ``<name>1``, … and was told that all are stored."""
    made = Sender(name)
    for number in range(count):
        made.sends(f"{name}{number}")
        made.acknowledged(f"{name}{number}")
    return made


def changed(**findings: Any) -> Findings:
    return CLEAN._replace(**findings)


def test_all_that_was_acknowledged_once_and_in_order_is_clean() -> None:
    assert hold(["a0", "a1", "a2", "a3", "a4"], [sender("a")]) == CLEAN


def test_senders_have_no_order_between_them() -> None:
    found = ["b0", "a0", "a1", "b1", "b2", "a2", "b3", "b4", "a3", "a4"]
    assert hold(found, [sender("a"), sender("b")]) == CLEAN


def test_a_lost_message_is_found() -> None:
    assert hold(["a0", "a1", "a3", "a4"], [sender("a")]) == changed(missing=["a2"])


def test_a_doubled_message_is_found_and_its_second_place_is_no_matter() -> None:
    assert hold(["a0", "a1", "a2", "a3", "a4", "a1"], [sender("a")]) == changed(doubled=["a1"])


def test_a_swapped_message_is_found() -> None:
    assert hold(["a0", "a2", "a1", "a3", "a4"], [sender("a")]) == changed(swapped=[("a1", "a2")])


def test_one_that_comes_much_too_late_is_found() -> None:
    assert hold(["a1", "a2", "a3", "a4", "a0"], [sender("a")]) == changed(swapped=[("a0", "a1")])


def test_a_message_that_nobody_sent_is_found() -> None:
    assert hold(["a0", "a1", "x", "a2", "a3", "a4"], [sender("a")]) == changed(foreign=["x"])


def test_a_send_of_unknown_outcome_may_be_there_or_not() -> None:
    mine = sender("a")
    mine.sends("a5")
    values = ["a0", "a1", "a2", "a3", "a4"]
    assert hold(values, [mine]) == CLEAN
    assert hold([*values, "a5"], [mine]) == CLEAN
    assert hold(["a5", *values], [mine]) == changed(swapped=[("a4", "a5")])


def test_a_send_that_failed_must_not_be_there() -> None:
    mine = sender("a", 2)
    mine.sends("a2")
    mine.failed("a2")
    assert hold(["a0", "a1"], [mine]) == CLEAN
    assert hold(["a0", "a1", "a2"], [mine]) == changed(undead=["a2"])


def test_a_receiver_must_see_what_is_stored_not_what_was_acknowledged() -> None:
    mine, witness = sender("a"), Witness()
    witness.values = ["a0", "a1"]
    assert witness.hold(["a0", "a1"], [mine]) == CLEAN
    assert witness.hold(["a0", "a1", "a2"], [mine]) == changed(missing=["a2"])


def test_a_value_is_sent_once_or_the_checker_refuses_it() -> None:
    mine = sender("a")
    with pytest.raises(AssertionError, match="sent twice"):
        mine.sends("a0")


@pytest.mark.parametrize("name", Findings._fields)
def test_each_finding_breaks_the_promise_unless_it_is_allowed(name: str) -> None:
    findings = changed(**{name: [("a0", "a1")]})
    with pytest.raises(Broken, match=r"9 things: .*a0"):
        findings.must_be_none("9 things")
    assert findings.must_be_none("9 things", besides=[name])


def test_what_was_found_is_told_in_a_few_words() -> None:
    assert str(CLEAN) == CLEAN.must_be_none("nothing") == "0 lost, 0 twice, in order"
    assert str(changed(missing=["a"] * 1000, swapped=[("a", "b")])) == "1,000 lost, 0 twice, 1 out of order"
    mine = sender("a")
    mine.sends("a5")
    mine.sends("a6")
    mine.failed("a6")
    assert all_told([mine, sender("b")]) == "10 acknowledged, 1 refused, 1 unknown"
    assert mine.count(Told.UNKNOWN) == 1
