"""With signing keys: a server executes what somebody who has a key asked for, with those very parameters."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import redis

from flowchan import resume_flow_run
from flowchan.deployments import run_deployment
from flowchan.errors import SignatureError
from flowchan.wire import keys
from tests.deployments.conftest import Runs, Servers

KEYS = f"k1:{base64.b64encode(b'a secret of thirty-two bytes, so').decode()}"

PROGRAM = """
from flowchan import flow, serve, suspend_flow_run

@flow
def add(a: int, b: int = 1):
    return a + b

@flow
async def add_later(a: int):
    return a + await suspend_flow_run(int)

if __name__ == "__main__":
    serve(add.to_deployment("it", parameters={"a": 1}), add_later.to_deployment("it"))
"""


@pytest.fixture(autouse=True)
def signed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWCHAN_SIGNING_KEYS", KEYS)


def asked(name: str, *arguments: Any, **options: Any) -> Any:
    return run_deployment(name, *arguments, **{"timeout": 20, **options})


def test_a_request_that_is_signed_is_executed(servers: Servers, runs: Runs) -> None:
    servers.serving(PROGRAM)
    assert asked("add/it", {"b": 2}).state.result() == 3

    run = asked("add-later/it", {"a": 1}, timeout=0)
    runs.until(run, "SUSPENDED")
    resume_flow_run(run.id, {"value": 2})
    runs.until(run, "COMPLETED")
    assert runs.known(run).state.result() == 3


def test_a_request_of_who_has_no_key_fails(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    servers.serving(PROGRAM)
    monkeypatch.delenv("FLOWCHAN_SIGNING_KEYS")

    state = asked("add/it", {"b": 2}).state

    assert state.is_failed()
    assert "It is not signed" in state.message


def test_parameters_that_were_changed_after_the_request_are_refused(
    servers: Servers, runs: Runs, client: redis.Redis, namespace: str
) -> None:
    servers.serving(PROGRAM)
    run = asked("add-later/it", {"a": 1}, timeout=0)
    runs.until(run, "SUSPENDED")
    other = asked("add-later/it", {"a": 1000}, timeout=0)
    runs.until(other, "SUSPENDED")

    record = keys.record(namespace, str(other.id))
    taken: Any = client.hmget(record, "parameters", "signature")
    client.hset(keys.record(namespace, str(run.id)), mapping=dict(zip(("parameters", "signature"), taken, strict=True)))
    resume_flow_run(run.id, {"value": 2})

    state = runs.until(run, "FAILED", "COMPLETED")
    assert "forged, changed or moved" in state.message
    resume_flow_run(other.id, {"value": 2})
    runs.until(other, "COMPLETED")


def test_the_parameters_of_a_deployment_that_were_changed_are_not_signed_anew(
    servers: Servers, client: redis.Redis, namespace: str
) -> None:
    servers.serving(PROGRAM)
    deployment = asked("add/it").deployment_id
    key = keys.deployment(namespace, str(deployment))
    client.hset(key, "parameters", b"\x81\xa5value\x81\xa1a\x7f")

    with pytest.raises(SignatureError, match="add/it is refused"):
        asked("add/it")
