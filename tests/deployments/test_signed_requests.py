"""With signing keys: a server executes what somebody who has a key asked for, with those very parameters."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import redis

from flowchan import get_client, resume_flow_run
from flowchan.deployments import run_deployment
from flowchan.errors import SignatureError
from flowchan.wire import keys
from tests.deployments.conftest import Runs, Servers
from tests.support.waiting import eventually

KEYS = f"k1:{base64.b64encode(b'a secret of thirty-two bytes, so').decode()}"

PROGRAM = """
from flowchan import flow, serve, suspend_flow_run

@flow
def add(a: int, b: int = 1):
    return a + b

@flow
def returns_what_cannot_be_kept():
    return object()

@flow
async def add_later(a: int):
    return a + await suspend_flow_run(int)

if __name__ == "__main__":
    serve(add.to_deployment("it", parameters={"a": 1}), add_later.to_deployment("it"),
          returns_what_cannot_be_kept.to_deployment("it"))
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


# --- results ----------------------------------------------------------------------------------------------


@pytest.fixture
def done(servers: Servers, namespace: str) -> tuple[Any, str]:
    """A run that has returned 3, and the key of its record."""
    servers.serving(PROGRAM)
    run = asked("add/it", {"b": 2})
    assert run.state.result() == 3
    return run, keys.record(namespace, str(run.id))


def test_a_result_that_was_changed_is_refused_and_hides_no_other_run(
    done: tuple[Any, str], runs: Runs, client: redis.Redis
) -> None:
    run, record = done
    client.hset(record, "result", client.hget(record, "result").replace(b"\x03", b"\x04"))  # type: ignore[union-attr]

    state = runs.known(run).state
    for raises in (True, False):
        with pytest.raises(SignatureError, match=f"The result of run {run.id} is refused"):
            state.result(raise_on_failure=raises)
    assert "Withheld(SignatureError)" in repr(state)
    listed: Any = get_client()
    assert [each.id for each in listed.read_flow_runs()] == [run.id]


@pytest.mark.parametrize("missing", ["result", "result_signature"])
def test_a_result_of_which_a_part_was_taken_away_is_refused(
    done: tuple[Any, str], runs: Runs, client: redis.Redis, missing: str
) -> None:
    run, record = done
    client.hdel(record, missing)
    with pytest.raises(SignatureError):
        runs.known(run).state.result()


def test_a_result_of_another_run_is_refused(
    done: tuple[Any, str], runs: Runs, client: redis.Redis, namespace: str
) -> None:
    run, record = done
    other = asked("add/it", {"b": 1000})
    kept = client.hmget(keys.record(namespace, str(other.id)), "result", "result_signature")
    client.hset(record, mapping=dict(zip(("result", "result_signature"), kept, strict=True)))  # type: ignore[arg-type]

    with pytest.raises(SignatureError, match="forged, changed or moved"):
        runs.known(run).state.result()
    assert runs.known(other).state.result() == 1001


def test_a_run_that_did_not_return_is_not_made_out_to_have(
    servers: Servers, runs: Runs, client: redis.Redis, namespace: str
) -> None:
    servers.serving(PROGRAM)
    run = asked("add/it", {"b": None})
    assert run.state.is_failed()
    client.hset(keys.record(namespace, str(run.id)), "type", "COMPLETED")

    with pytest.raises(SignatureError, match="is not signed"):
        runs.known(run).state.result()


def test_a_result_that_cannot_be_kept_is_none_and_signed_all_the_same(servers: Servers) -> None:
    servers.serving(PROGRAM)
    run = asked("returns-what-cannot-be-kept/it")
    assert run.state.is_completed()
    assert run.state.result() is None


# --- again --------------------------------------------------------------------------------------------------


def test_a_signed_request_that_somebody_repeats_is_not_executed_again(
    servers: Servers, runs: Runs, client: redis.Redis, namespace: str
) -> None:
    servers.serving(PROGRAM)
    run = asked("add-later/it", {"a": 1}, timeout=0)
    runs.until(run, "SUSPENDED")
    resume_flow_run(run.id, {"value": 2})
    runs.until(run, "COMPLETED")
    before = runs.states(run)
    stream = keys.requests(namespace, keys.partition_tag(str(run.id)), str(run.deployment_id))
    requests = [state for state in before if state == "SCHEDULED"]
    assert len(requests) == 2

    client_of_runs: Any = get_client()
    for state in client_of_runs.read_flow_run_states(run.id):
        client.xadd(stream, {"v": 1, "id": str(state.id), "run": str(run.id)})

    eventually(lambda: not client.xlen(stream), "their end")
    assert runs.states(run) == before
