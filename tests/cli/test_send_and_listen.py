"""``flowchan send`` and ``flowchan listen``: a run's channels from the command line."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from flowchan import RunInput, open_run, receive_input, send_input
from tests.cli.program import FLOWCHAN, Program, run
from tests.support.streams import Streams


class Point(RunInput):
    x: int
    y: int


def received(kind: Any, run_id: str = "some-run") -> Any:
    return receive_input(kind, flow_run_id=run_id, timeout=0).next()


@pytest.mark.parametrize(
    "text, kind, value",
    [
        ("andrew", "str", "andrew"),
        ("3", "int", 3),
        ("-3", "int", -3),
        ("0.5", "float", 0.5),
        ("yes", "bool", True),
        ("abc", "bytes", b"abc"),
        ("2026-01-31", "date", dt.date(2026, 1, 31)),
        ("2026-01-31T10:00:00Z", "datetime", dt.datetime(2026, 1, 31, 10, tzinfo=dt.UTC)),
        ("1.10", "decimal", Decimal("1.10")),
        ("12345678-1234-5678-1234-567812345678", "uuid", uuid.UUID("12345678-1234-5678-1234-567812345678")),
        ('{"a": [1, null]}', "json", {"a": [1, None]}),
    ],
)
def test_what_is_sent_is_of_the_type_that_is_said(text: str, kind: str, value: object) -> None:
    shown = run(*FLOWCHAN, "send", "some-run", text, "--type", kind)

    assert (shown.returncode, shown.stderr) == (0, "")
    got = received(type(value))
    assert (got, type(got)) == (value, type(value))


def test_the_key_is_printed() -> None:
    key = run(*FLOWCHAN, "send", "some-run", "andrew").stdout.strip()
    told = json.loads(run(*FLOWCHAN, "send", "some-run", "marvin", "--json").stdout)

    messages = receive_input(str, flow_run_id="some-run", timeout=0, with_metadata=True, raise_timeout_error=False)
    assert [message.metadata.key for message in messages] == [key, told["key"]]


def test_a_value_is_read_from_standard_input() -> None:
    assert run(*FLOWCHAN, "send", "some-run", "-", "--type", "json", given="[1, 2]\n").returncode == 0

    assert received(list) == [1, 2]


def test_a_value_that_is_not_of_its_type_is_told_and_not_sent() -> None:
    shown = run(*FLOWCHAN, "send", "some-run", "three", "--type", "int")

    assert (shown.returncode, shown.stdout) == (1, "")
    assert "int" in shown.stderr
    with pytest.raises(TimeoutError):
        received(int)


def test_a_run_that_can_be_none_is_told() -> None:
    shown = run(*FLOWCHAN, "send", "a run", "x")

    assert shown.returncode == 1
    assert "'a run'" in shown.stderr


def test_listen_shows_what_was_sent_and_what_comes(start: Callable[..., Program]) -> None:
    send_input("before", "some-run")
    program = start(*FLOWCHAN, "listen", "some-run")
    program.says("before")

    with open_run("a-sender"):
        send_input("and after", "some-run")
    said = program.says("and after")

    assert "a-sender" in said
    program.interrupt()
    assert program.ends() == 130


def test_listen_hears_channels_that_begin_later(start: Callable[..., Program]) -> None:
    send_input("text", "some-run")
    program = start(*FLOWCHAN, "listen", "some-run", "--json")
    program.says("text")

    Point(x=1, y=2).send_to("some-run")
    program.says("\n")
    program.says("\n")

    told = json.loads(program.screen.splitlines()[-1])
    assert (told["channel"], told["value"]) == ("point-auto", {"x": 1, "y": 2})


def test_listen_to_one_channel_hears_no_other() -> None:
    send_input("text", "some-run")
    send_input(3, "some-run", key_prefix="mine")

    shown = run(*FLOWCHAN, "listen", "some-run", "--channel", "mine", "--timeout", "0.2", "--json")

    (line,) = shown.stdout.splitlines()
    assert json.loads(line)["value"] == 3
    assert shown.returncode == 0


def test_listen_says_what_is_lost_and_goes_on(streams: Streams) -> None:
    for name in ("andrew", "marvin", "zaphod"):
        send_input(name, "some-run", sender="somebody")
    streams.client.xtrim(streams.key("some-run", "strautomaticruninput-auto"), maxlen=1, approximate=False)
    shown = run(*FLOWCHAN, "listen", "some-run", "--timeout", "0.2", "--json")

    (line,) = shown.stdout.splitlines()
    assert json.loads(line)["value"] == "zaphod"
    assert "Messages 1 to 2 of somebody to run some-run" in " ".join(shown.stderr.split())
    assert shown.returncode == 0


def test_nothing_is_taken_from_anybody() -> None:
    send_input("andrew", "some-run")
    run(*FLOWCHAN, "listen", "some-run", "--timeout", "0.2")

    assert received(str) == "andrew"
