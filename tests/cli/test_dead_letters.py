"""``flowchan dead-letters``: what a group is not handed any more, from the command line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flowchan import flow, receive_input, sync
from flowchan.context import get_run_context
from tests.cli.program import FLOWCHAN, run

SHOP: dict[str, Any] = {"flow_run_id": "some-run", "key_prefix": "numbers", "timeout": 0, "raise_timeout_error": False}


def let_die(*values: object, group: str = "shop") -> list[str]:
    """The keys of what became of values that are no numbers."""
    for value in values:
        sync.send_input(value, "some-run", key_prefix="numbers")
    assert list(receive_input(int, group=group, on_invalid="dead-letter", **SHOP)) == []
    return [letter.key for letter in sync.read_dead_letters("some-run", group=group)]


def dead_letters(*arguments: str, name: str = "some-run") -> list[dict[str, Any]]:
    shown = run(*FLOWCHAN, "dead-letters", name, *arguments, "--json")
    assert (shown.returncode, shown.stderr) == (0, "")
    return [json.loads(line) for line in shown.stdout.splitlines()]


def test_they_are_listed_for_people() -> None:
    (key,) = let_die("andrew")

    shown = run(*FLOWCHAN, "dead-letters", "some-run")

    assert (shown.returncode, shown.stderr) == (0, "")
    heading, line = shown.stdout.splitlines()
    assert heading.split() == ["since", "channel", "group", "reason", "times", "value", "error", "key"]
    for told in ("numbers", "shop", "invalid", " 1 ", "andrew", "should be a valid integer", key):
        assert told in line


def test_where_there_are_none_that_is_said() -> None:
    shown = run(*FLOWCHAN, "dead-letters", "some-run")

    assert (shown.stdout, shown.stderr, shown.returncode) == ("There are no dead letters.\n", "", 0)
    assert dead_letters() == []


def test_they_are_listed_for_programs_of_one_channel_and_one_group() -> None:
    let_die("andrew")
    let_die(group="store")

    (one,) = dead_letters("numbers", "--group", "store")

    assert (one["group"], one["channel"], one["reason"], one["value"]) == ("store", "numbers", "invalid", "andrew")
    assert (one["deliveries"], one["sender"]) == (1, None)
    assert len(dead_letters()) == 2
    assert dead_letters("others") == []


def test_one_that_cannot_be_read_has_no_value(streams: Any) -> None:
    streams.client.xadd(streams.key("some-run", "numbers"), {"v": "1"})
    let_die()

    (one,) = dead_letters()

    assert (one["value"], one["reason"]) == (None, "unreadable")


def test_one_is_sent_again() -> None:
    first, second = let_die("andrew", "marvin")

    (told,) = dead_letters("--resend", first)

    assert (told["key"], told["done"]) == (first, "resent")
    messages = receive_input(str, group="shop", with_metadata=True, **SHOP)
    assert [(message.value, message.metadata.key) for message in messages] == [("andrew", told["message_key"])]
    assert [each["key"] for each in dead_letters()] == [second]


def test_all_are_sent_again_and_told() -> None:
    keys = let_die("andrew", "marvin", "trillian")

    shown = run(*FLOWCHAN, "dead-letters", "some-run", "--resend", "--all")

    assert shown.stdout.splitlines() == [f"{key} is resent." for key in keys]
    assert list(receive_input(str, group="shop", **SHOP)) == ["andrew", "marvin", "trillian"]


def test_some_are_discarded() -> None:
    first, second, third = let_die("andrew", "marvin", "trillian")

    assert run(*FLOWCHAN, "dead-letters", "some-run", "--discard", first, third).returncode == 0

    assert [each["key"] for each in dead_letters()] == [second]


def test_a_key_of_none_is_told_and_nothing_is_done() -> None:
    (key,) = let_die("andrew")

    shown = run(*FLOWCHAN, "dead-letters", "some-run", "--resend", key, f"{key}0")

    assert (shown.returncode, shown.stdout) == (1, "")
    assert f"{key}0" in shown.stderr
    assert len(dead_letters()) == 1


@pytest.mark.parametrize(
    "arguments",
    [("--resend", "a", "--discard", "b"), ("--all",), ("--resend",), ("--discard", "a", "--all")],
    ids=["both", "all of nothing", "nothing", "a key and all"],
)
def test_what_makes_no_sense_is_told_with_exit_code_2(arguments: tuple[str, ...]) -> None:
    shown = run(*FLOWCHAN, "dead-letters", "some-run", *arguments)

    assert shown.returncode == 2
    assert "Traceback" not in shown.stdout + shown.stderr


def test_show_says_how_many_a_run_has() -> None:
    @flow(flow_run_name="a-run")
    def work() -> str:
        here = str(get_run_context().flow_run.id)
        for value in ("andrew", "marvin"):
            sync.send_input(value, here, key_prefix="numbers")
        options = {**SHOP, "flow_run_id": here}
        assert list(receive_input(int, group="shop", on_invalid="dead-letter", **options)) == []
        return here

    name = work()

    assert "2 dead letters: flowchan dead-letters a-run" in run(*FLOWCHAN, "show", name).stdout
    assert json.loads(run(*FLOWCHAN, "show", "a-run", "--json").stdout)["dead_letters"] == 2
    assert len(dead_letters(name="a-run")) == 2
