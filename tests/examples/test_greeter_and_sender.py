"""The greeters and the senders: scripts for two terminals that are started in any order, and again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from flowchan.broker import embedded
from flowchan.settings import Settings
from flowchan.wire import keys
from tests.cli.program import Program
from tests.support.waiting import eventually

Start = Callable[..., Program]
QUESTION = "What is your name? "


@pytest.mark.parametrize(
    "greeter,sender",
    [
        ("greeter.py", "sender_sync.py"),
        ("greeter_sync.py", "sender.py"),
        ("greeter_group.py", "sender.py"),
    ],
)
def test_they_talk_whoever_starts_first(start: Start, greeter: str, sender: str) -> None:
    # The sender is the first, then the greeter is.
    asking = start(sender)
    asking.says(QUESTION)
    asking.type("\nandrew\n")
    greeting = start(greeter)
    asking.says("Hello, andrew!")
    asking.type("q\n")
    asking.says("Goodbye!")
    greeting.says("Goodbye!")
    assert (asking.ends(), greeting.ends()) == (0, 0)

    greeting = start(greeter)
    greeting.says("Waiting for names.")
    asking = start(sender)
    asking.type("marvin\n")
    asking.says("Hello, marvin!")
    asking.hang_up()
    asking.says("Goodbye!")
    greeting.says("Goodbye!")
    assert (asking.ends(), greeting.ends()) == (0, 0)
    assert "andrew" not in asking.screen


@pytest.mark.parametrize("greeter", ["greeter.py", "greeter_sync.py", "greeter_group.py"])
def test_a_greeter_that_is_started_again_goes_on_and_greets_nobody_twice(
    start: Start, greeter: str, client: redis.Redis, namespace: str
) -> None:
    asking = start("sender.py")
    asking.type("andrew\n")
    greeting = start(greeter)
    asking.says("Hello, andrew!")
    if "group" in greeter:  # between its answer and its asking for the next name it would greet once more
        names = keys.stream(namespace, "greeter", "strautomaticruninput-auto")
        eventually(lambda: not client.xpending(names, "greeters")["pending"], "the acknowledgement")

    greeting.interrupt()
    assert greeting.ends() == 0
    assert "Traceback" not in greeting.screen
    start(greeter)
    asking.type("marvin\n")

    assert asking.says("marvin!").count("Hello") == 1


def test_a_sender_that_is_started_again_does_not_see_old_greetings(start: Start) -> None:
    start("greeter.py")
    asking = start("sender.py")
    asking.type("andrew\n")
    asking.says("Hello, andrew!")
    asking.kill()
    asking.ends()

    asking = start("sender.py")
    asking.type("marvin\n")

    assert "andrew" not in asking.says("Hello, marvin!")


@pytest.mark.parametrize("sender", ["sender.py", "sender_sync.py"])
def test_ctrl_c_ends_a_sender_that_asks(start: Start, sender: str) -> None:
    asking = start(sender, terminal=True)
    asking.says(QUESTION)
    asking.interrupt()
    asking.ends()

    assert "Traceback" not in asking.screen


def test_they_need_no_server_that_somebody_has_started(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("FLOWCHAN_URL")
    monkeypatch.setenv("FLOWCHAN_HOME", str(tmp_path))
    try:
        start("greeter.py")
        asking = start("sender.py")
        asking.type("andrew\n")
        asking.says("Hello, andrew!")
    finally:
        embedded.stop(Settings(home=tmp_path))
