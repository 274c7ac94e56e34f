"""``flowchan broker``: the embedded server, by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flowchan.broker import embedded
from flowchan.broker.embedded import contact
from flowchan.settings import Settings
from tests.cli.program import FLOWCHAN, run


def broker(*arguments: str) -> Any:
    """What ``flowchan broker … --json`` says; it must end well."""
    ended = run(*FLOWCHAN, "broker", *arguments, "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    return json.loads(ended.stdout)


def test_it_is_started_seen_and_stopped(home: Settings) -> None:
    started = broker("start")
    assert started["started"]

    seen = broker("status")
    assert seen["running"]
    assert seen["pid"] == started["pid"]
    assert seen["clients"] == 0
    assert seen["memory"] > 0
    assert seen["disk"] >= 0

    assert broker("stop") == {"stopped": True}
    assert embedded.running(home) is None
    assert broker("stop") == {"stopped": False}


def test_start_prints_the_url_and_nothing_else_where_a_program_reads(home: Settings) -> None:
    ended = run(*FLOWCHAN, "broker", "start")

    server = embedded.running(home)
    assert server
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"unix://{server.socket}\n", "")


@pytest.mark.usefixtures("home")
def test_starting_it_twice_starts_one() -> None:
    first = broker("start")

    assert broker("start") == first | {"started": False}


def test_the_status_of_one_that_runs_is_for_people_too(home: Settings) -> None:
    server = embedded.ensure(home)

    ended = run(*FLOWCHAN, "broker", "status")

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("The embedded server is running.\n")
    for told in (str(server.pid), server.version, str(server.data), str(server.socket)):
        assert told in ended.stdout


@pytest.mark.usefixtures("home")
def test_one_that_does_not_run_has_an_exit_code_of_its_own_and_is_not_started(tmp_path: Path) -> None:
    for arguments in ([], ["--json"]):
        ended = run(*FLOWCHAN, "broker", "status", *arguments)
        assert (ended.returncode, ended.stderr) == (3, "")
    assert json.loads(ended.stdout)["running"] is False
    assert list(tmp_path.iterdir()) == []


def test_what_was_stored_stays(home: Settings) -> None:
    program = "from flowchan import sync; {}"
    run("-c", program.format("sync.send_input('hi', flow_run_id='a')"))

    broker("stop")

    assert embedded.running(home) is None
    got = run("-c", program.format("print(sync.receive_input(str, flow_run_id='a', timeout=5).next())"))
    assert (got.stdout, got.stderr) == ("hi\n", "")


def test_its_paths_are_those_that_it_will_use(home: Settings, tmp_path: Path) -> None:
    paths = broker("path")
    assert list(tmp_path.iterdir()) == []

    server = embedded.ensure(home)

    assert (paths["data"], paths["socket"]) == (str(server.data), str(server.socket))
    assert Path(paths["log"]).exists()
    assert paths["data"] in run(*FLOWCHAN, "broker", "path").stdout


def test_a_client_is_counted(home: Settings) -> None:
    server = embedded.ensure(home)
    with contact.connect(str(server.socket), 5.0):
        assert broker("status")["clients"] == 1


def test_a_home_that_cannot_be_used_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FLOWCHAN_HOME", str(tmp_path / "file"))

    ended = run(*FLOWCHAN, "broker", "start")

    assert (ended.stdout, ended.returncode) == ("", 1)
    assert "FLOWCHAN_HOME" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("command", ["start", "stop", "status", "path"])
def test_each_has_help_with_its_options(command: str) -> None:
    shown = run(*FLOWCHAN, "broker", command, "--help")

    assert "--json" in shown.stdout
    assert f"flowchan broker {command}" in shown.stdout.split("Parameters")[0].split("\n", 1)[1]
