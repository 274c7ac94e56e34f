"""The settings: where each comes from, what is refused and how, and that no secret is told."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from flowchan import Channels
from flowchan.errors import InvalidSettingError
from flowchan.settings import Settings, chosen, current_settings

URL = "redis://:sesame@localhost:6399/0"
SECRET = base64.b64encode(b"open, sesame! open, sesame!").decode()
KEYS = f"k1:{SECRET}"

pytestmark = pytest.mark.usefixtures("_nothing_set")


@pytest.fixture
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("FLOWCHAN_"):
            monkeypatch.delenv(name)


def test_what_is_not_set_has_a_default() -> None:
    settings = current_settings()

    assert settings.url is None
    assert settings.namespace == "flowchan"
    assert settings.connect_timeout == 5
    assert settings.max_pending == 10_000
    assert settings.max_message_bytes == 1024 * 1024
    assert settings.retention == 7 * 24 * 3600


@pytest.mark.parametrize(
    "variable, text, value",
    [
        ("FLOWCHAN_URL", URL, URL),
        ("FLOWCHAN_NAMESPACE", "mine", "mine"),
        ("FLOWCHAN_ALLOW_PLAINTEXT", "1", True),
        ("FLOWCHAN_SIGNING_KEYS", KEYS, SecretStr(KEYS)),
        ("FLOWCHAN_CONNECT_TIMEOUT", "0.5", 0.5),
        ("FLOWCHAN_SEND_TIMEOUT", "3", 3.0),
        ("FLOWCHAN_MAX_PENDING", "7", 7),
        ("FLOWCHAN_MAX_MESSAGE_BYTES", "1000", 1000),
        ("FLOWCHAN_RETENTION", "60", 60.0),
        ("FLOWCHAN_RETENTION_AFTER_END", "6", 6.0),
        ("FLOWCHAN_MAX_CHANNEL_LENGTH", "7", 7),
        ("FLOWCHAN_LEASE", "2", 2.0),
        ("FLOWCHAN_HOME", "/tmp/home", Path("/tmp/home")),
        ("FLOWCHAN_SERVER_BIN", "/bin/server", Path("/bin/server")),
        ("FLOWCHAN_SERVER_IDLE", "1.5", 1.5),
        ("FLOWCHAN_SERVER_FSYNC", "always", "always"),
    ],
)
def test_each_setting_is_a_variable(monkeypatch: pytest.MonkeyPatch, variable: str, text: str, value: object) -> None:
    monkeypatch.setenv(variable, text)

    assert getattr(current_settings(), variable.removeprefix("FLOWCHAN_").lower()) == value


def test_every_setting_has_been_tried() -> None:
    (tried,) = (mark.args[1] for mark in test_each_setting_is_a_variable.pytestmark)  # type: ignore[attr-defined]

    assert {variable for variable, _, _ in tried} == {f"FLOWCHAN_{field.upper()}" for field in Settings.model_fields}


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWCHAN_NAMESPACE", "")

    assert current_settings().namespace == "flowchan"


def test_a_variable_that_changes_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWCHAN_NAMESPACE", "one")
    assert current_settings().namespace == "one"

    monkeypatch.setenv("FLOWCHAN_NAMESPACE", "two")
    assert current_settings().namespace == "two"


def test_the_data_is_where_the_users_other_data_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert current_settings().home == tmp_path / ".local" / "share" / "flowchan"

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert current_settings().home == tmp_path / "data" / "flowchan"


@pytest.mark.parametrize(
    "variable, text",
    [
        ("FLOWCHAN_NAMESPACE", "a:b"),
        ("FLOWCHAN_NAMESPACE", "{a}"),
        ("FLOWCHAN_NAMESPACE", "a" * 65),
        ("FLOWCHAN_CONNECT_TIMEOUT", "0"),
        ("FLOWCHAN_CONNECT_TIMEOUT", "soon"),
        ("FLOWCHAN_MAX_PENDING", "0"),
        ("FLOWCHAN_MAX_MESSAGE_BYTES", "-1"),
        ("FLOWCHAN_RETENTION", "-1"),
        ("FLOWCHAN_RETENTION_AFTER_END", "0"),
        ("FLOWCHAN_MAX_CHANNEL_LENGTH", "0"),
        ("FLOWCHAN_SERVER_FSYNC", "sometimes"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, variable: str, text: str) -> None:
    monkeypatch.setenv(variable, text)

    with pytest.raises(InvalidSettingError) as refused:
        current_settings()

    assert isinstance(refused.value, ValueError)
    assert variable in str(refused.value)
    assert repr(text) in str(refused.value)


@pytest.mark.parametrize(
    "show",
    [repr, str, lambda settings: repr(Channels(url=settings.url))],
    ids=["repr", "str", "an explicit client's repr"],
)
def test_an_url_is_not_shown_for_it_may_hold_a_password(
    monkeypatch: pytest.MonkeyPatch, show: Callable[[Settings], str]
) -> None:
    monkeypatch.setenv("FLOWCHAN_URL", URL)

    assert "sesame" not in show(current_settings())


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        lambda settings: repr(Channels(signing_keys=settings.signing_keys.get_secret_value())),
        Settings.model_dump_json,
    ],
    ids=["repr", "str", "an explicit client's repr", "JSON"],
)
def test_signing_keys_are_not_shown(monkeypatch: pytest.MonkeyPatch, show: Callable[[Settings], str]) -> None:
    monkeypatch.setenv("FLOWCHAN_SIGNING_KEYS", KEYS)

    shown = show(current_settings())

    assert SECRET not in shown
    assert "sesame" not in shown


def test_signing_keys_are_in_base64_of_either_alphabet_with_padding_or_without() -> None:
    raw = bytes(range(240, 256)) + b"\xff"
    texts = [base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()]

    for text in (*texts, texts[0].rstrip("=")):
        assert Settings(signing_keys=f" k1:{text}, k.2_-:{SECRET}").signing_pairs == (
            ("k1", raw),
            ("k.2_-", b"open, sesame! open, sesame!"),
        )
    assert Settings().signing_pairs == ()


@pytest.mark.parametrize(
    "keys, told",
    [
        (SECRET, "Key no. 1 is not of the form id:secret"),
        (f":{SECRET}", "Key no. 1 is not of the form"),
        (f"k 1:{SECRET}", "Key no. 1 is not of the form"),
        (f"k1:{SECRET},", "Key no. 2 is not of the form"),
        (f"k1:{SECRET},k1:{SECRET}", "Key no. 2 has the id of an earlier one"),
        ("k1:sesame", "Key no. 1 has a secret that is not base64 of 16 bytes or more"),
        ("k1:", "Key no. 1 has a secret"),
        (f"k1:{SECRET}ä", "Key no. 1 has a secret"),
        (f"k1:{SECRET}!", "Key no. 1 has a secret"),
    ],
    ids=range(9),
)
def test_signing_keys_that_cannot_be_used_are_refused_and_not_told(
    monkeypatch: pytest.MonkeyPatch, keys: str, told: str
) -> None:
    monkeypatch.setenv("FLOWCHAN_SIGNING_KEYS", keys)

    for read in (current_settings, lambda: Channels(signing_keys=keys)):
        with pytest.raises(InvalidSettingError, match=r"(?i)signing_keys cannot be used") as refused:
            read()
        assert told in str(refused.value)
        assert SECRET not in str(refused.value)
        assert "sesame" not in str(refused.value)


def test_a_process_of_our_own_gets_the_same_settings_with_their_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWCHAN_URL", URL)
    monkeypatch.setenv("FLOWCHAN_SIGNING_KEYS", KEYS)
    settings = current_settings()

    assert Settings.model_validate(json.loads(json.dumps(settings.in_the_clear()))) == settings


def test_settings_that_are_chosen_hold_within_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWCHAN_NAMESPACE", "outer")
    mine = Settings(namespace="mine")

    with chosen(mine):
        assert current_settings() is mine
    assert current_settings().namespace == "outer"


def test_an_explicit_client_takes_what_it_is_given_and_the_rest_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FLOWCHAN_URL", URL)
    monkeypatch.setenv("FLOWCHAN_RETENTION", "60")

    settings = Channels(namespace="mine", max_pending=3).settings

    assert (settings.url, settings.namespace, settings.retention, settings.max_pending) == (URL, "mine", 60, 3)


@pytest.mark.parametrize(
    "given, named",
    [({"namespace": "a b"}, "namespace"), ({"retention": -1}, "retention"), ({"colour": "red"}, "colour")],
)
def test_an_explicit_client_refuses_what_cannot_be_used_and_tells_no_password(
    given: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidSettingError, match=named) as refused:
        Channels(**{"url": URL, **given})

    assert "sesame" not in str(refused.value)
