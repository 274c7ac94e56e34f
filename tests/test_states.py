"""What a state says of a run."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import ValidationError

from flowchan import states
from flowchan.broker.broker import broker_of_this_loop
from flowchan.context import FlowRun, new_run_id
from flowchan.errors import IllegalTransition, NotPausedError, ObjectNotFound, RunCancelled, RunCrashed, RunFailed
from flowchan.runs import store
from flowchan.runs.store import Change
from flowchan.settings import current_settings
from flowchan.states import (
    FINAL_TYPES,
    FOLLOWS,
    Cancelled,
    Completed,
    Crashed,
    Failed,
    Paused,
    Running,
    State,
    StateType,
    Suspended,
)

KINDS: dict[StateType, Callable[[], State]] = {
    StateType.SCHEDULED: states.Scheduled,
    StateType.PENDING: states.Pending,
    StateType.RUNNING: states.Running,
    StateType.PAUSED: states.Paused,
    StateType.SUSPENDED: states.Suspended,
    StateType.CANCELLING: states.Cancelling,
    StateType.CANCELLED: states.Cancelled,
    StateType.COMPLETED: states.Completed,
    StateType.FAILED: states.Failed,
    StateType.CRASHED: states.Crashed,
}

QUESTIONS = {
    "is_scheduled": {StateType.SCHEDULED},
    "is_pending": {StateType.PENDING},
    "is_running": {StateType.RUNNING},
    "is_paused": {StateType.PAUSED, StateType.SUSPENDED},
    "is_cancelling": {StateType.CANCELLING},
    "is_cancelled": {StateType.CANCELLED},
    "is_completed": {StateType.COMPLETED},
    "is_failed": {StateType.FAILED},
    "is_crashed": {StateType.CRASHED},
    "is_final": {StateType.CANCELLED, StateType.COMPLETED, StateType.FAILED, StateType.CRASHED},
}


def test_there_is_a_kind_for_each_type() -> None:
    assert set(KINDS) == set(StateType)


@pytest.mark.parametrize("kind", StateType)
def test_a_kind_makes_a_state_of_its_type_and_name(kind: StateType) -> None:
    state = KINDS[kind]()

    assert state.type is kind
    assert state.name == kind.value.title()


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("kind", StateType)
def test_a_state_answers_by_its_type(kind: StateType, question: str) -> None:
    assert getattr(KINDS[kind](), question)() is (kind in QUESTIONS[question])


def test_a_name_is_for_people_and_changes_no_answer() -> None:
    state = Failed(name="Paused", message="the disk is full")

    assert state.name == "Paused"
    assert state.message == "the disk is full"
    assert state.is_failed()
    assert not state.is_paused()


def test_a_type_may_be_given_as_its_text() -> None:
    assert State.model_validate({"type": "RUNNING"}).name == "Running"


def test_only_the_types_there_are_can_be_given() -> None:
    with pytest.raises(ValidationError) as error:
        State.model_validate({"type": "ASLEEP"})
    assert [problem["loc"] for problem in error.value.errors()] == [("type",)]


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="text"):
        State.model_validate({"type": "RUNNING", "text": "x"})


def test_a_state_is_never_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Running().name = "Done"


def test_a_state_says_when_it_began_in_utc() -> None:
    before = datetime.now(UTC)
    state = Running()
    assert before <= state.timestamp <= datetime.now(UTC)
    assert state.timestamp.tzinfo is UTC


def test_a_timestamp_of_another_zone_is_turned_into_utc() -> None:
    noon = datetime(2026, 1, 2, 12, tzinfo=timezone(timedelta(hours=2)))
    state = State(type=StateType.RUNNING, timestamp=noon)

    assert state.timestamp == noon
    assert state.timestamp.utcoffset() == timedelta(0)


def test_a_timestamp_without_a_zone_is_refused() -> None:
    with pytest.raises(ValidationError, match="timezone"):
        State.model_validate({"type": "RUNNING", "timestamp": "2026-01-02T12:00:00"})


@pytest.mark.parametrize("kind", [Paused, Suspended])
def test_a_pause_knows_its_key(kind: Callable[..., State]) -> None:
    assert kind(pause_key="approval").pause_key == "approval"


def test_only_a_pause_has_a_key() -> None:
    with pytest.raises(ValidationError, match="a state of type RUNNING has no pause key"):
        State(type=StateType.RUNNING, pause_key="approval")


def test_a_fresh_copy_is_the_same_state_beginning_now() -> None:
    state = Paused(message="which size?", name="Asking", pause_key="1")
    copy = state.fresh_copy()

    assert copy.id != state.id
    assert copy.timestamp >= state.timestamp
    unchanged = {"type", "name", "message", "pause_key"}
    assert copy.model_dump(include=unchanged) == state.model_dump(include=unchanged)


def test_a_fresh_copy_may_differ_in_what_is_given() -> None:
    state = Paused(message="which size?", pause_key="1")
    copy = state.fresh_copy(pause_key="2")

    assert copy.pause_key == "2"
    assert copy.message == "which size?"
    assert state.pause_key == "1"


def test_a_fresh_copy_is_checked_like_any_state() -> None:
    with pytest.raises(ValidationError, match="text"):
        Running().fresh_copy(text="x")


def test_a_state_survives_json() -> None:
    state = Suspended(message="which size?", pause_key="2")
    assert State.model_validate_json(state.model_dump_json()) == state


def test_two_states_are_two_even_if_they_say_the_same() -> None:
    assert Running() != Running()
    assert len({Running(), Running()}) == 2


@pytest.mark.parametrize(
    "state, text, representation",
    [
        (
            Completed(name="MyCompletedState", message="my message"),
            'MyCompletedState("my message", type=COMPLETED)',
            'MyCompletedState(message="my message", type=COMPLETED)',
        ),
        (Completed(), "Completed()", "Completed(type=COMPLETED)"),
        (Completed(message="done"), 'Completed("done")', 'Completed(message="done", type=COMPLETED)'),
        (Failed(name="Lost"), "Lost(type=FAILED)", "Lost(type=FAILED)"),
        (
            Failed(message='say "no"\nénd'),
            r'Failed("say \"no\"\nénd")',
            r'Failed(message="say \"no\"\nénd", type=FAILED)',
        ),
    ],
)
def test_a_state_reads_as_in_the_documents(state: State, text: str, representation: str) -> None:
    assert str(state) == text
    assert repr(state) == representation


def test_the_representation_tells_the_data_and_the_text_does_not() -> None:
    state = Completed(message="done", data=42)

    assert repr(state) == 'Completed(message="done", type=COMPLETED, result=42)'
    assert str(state) == 'Completed("done")'


def test_the_data_of_a_state_is_not_in_its_json() -> None:
    assert "secret" not in Completed(data="secret").model_dump_json()


# --- its result ------------------------------------------------------------------------------------------------


def test_the_result_of_what_ended_well_is_its_data() -> None:
    assert Completed(data=42).result() == 42
    assert Completed().result() is None


def test_the_result_of_what_failed_is_raised_or_returned() -> None:
    error = ZeroDivisionError()
    state = Failed(data=error)

    assert state.result(raise_on_failure=False) is error
    with pytest.raises(ZeroDivisionError):
        state.result()


@pytest.mark.parametrize(
    "kind, error", [(Failed, RunFailed), (Crashed, RunCrashed), (Cancelled, RunCancelled)], ids=lambda it: it.__name__
)
def test_an_end_without_an_exception_is_an_error_of_its_kind(
    kind: Callable[..., State], error: type[Exception]
) -> None:
    with pytest.raises(error, match="why"):
        kind(message="why").result()
    assert isinstance(kind(message="why").result(raise_on_failure=False), error)


@pytest.mark.parametrize("kind", sorted(set(StateType) - FINAL_TYPES))
def test_what_has_not_ended_has_no_result(kind: StateType) -> None:
    with pytest.raises(ValueError, match="has not ended"):
        KINDS[kind]().result()


@pytest.mark.anyio
async def test_in_async_code_a_result_is_awaited_unless_it_is_not_to_be_fetched() -> None:
    assert await Completed(data=42).result() == 42
    assert Completed(data=42).result(fetch=False) == 42
    with pytest.raises(ZeroDivisionError):
        await Failed(data=ZeroDivisionError()).result()


def test_a_fresh_copy_has_the_data_too() -> None:
    assert Completed(data=42).fresh_copy().data == 42


# --- what follows what -----------------------------------------------------------------------------------------


def test_it_is_said_of_every_type_what_it_may_follow() -> None:
    assert set(FOLLOWS) == set(StateType)


def test_no_state_follows_a_final_one() -> None:
    assert not FINAL_TYPES & frozenset().union(*FOLLOWS.values())


@pytest.mark.parametrize("kind", sorted(set(StateType) - FINAL_TYPES))
def test_from_every_state_that_is_not_final_there_is_a_way_to_one_that_is(kind: StateType) -> None:
    reached = {kind}
    while True:
        further = {after for after, before in FOLLOWS.items() if before & reached}
        if further <= reached:
            break
        reached |= further

    assert reached & FINAL_TYPES


@pytest.mark.anyio
@pytest.mark.parametrize("after", StateType)
@pytest.mark.parametrize("before", StateType)
async def test_the_broker_makes_a_change_that_may_be_and_refuses_any_other(before: StateType, after: StateType) -> None:
    broker = broker_of_this_loop(current_settings())
    run = FlowRun(new_run_id(), "a-run")
    first, second = KINDS[before](), KINDS[after]()
    await store.begin(broker, run, Change(first), None)

    if before in FOLLOWS[after]:
        assert await store.change(broker, run.id, Change(second)) is not None
        expected = [first, second]
    else:
        with pytest.raises(IllegalTransition) as refused:
            await store.change(broker, run.id, Change(second))
        assert f"cannot become {second.name!r}: it is {first.name!r}" in str(refused.value)
        assert refused.value.now == first
        expected = [first]
    assert await store.history(broker, run.id) == expected
    assert (await store.read(broker, run.id)).state == expected[-1]


@pytest.mark.anyio
async def test_a_change_from_a_state_that_the_run_has_no_more_is_refused() -> None:
    broker = broker_of_this_loop(current_settings())
    run = FlowRun(new_run_id(), "a-run")
    first = Paused(pause_key="1")
    await store.begin(broker, run, Change(first), None)
    await store.change(broker, run.id, Change(Running(), expected=first))
    await store.change(broker, run.id, Change(Paused(pause_key="2")))

    with pytest.raises(NotPausedError):
        await store.change(broker, run.id, Change(Running(), expected=first))


@pytest.mark.anyio
async def test_a_change_of_a_run_that_there_is_not_is_refused() -> None:
    with pytest.raises(ObjectNotFound, match="nobody"):
        await store.change(broker_of_this_loop(current_settings()), "nobody", Change(Running()))


@pytest.mark.anyio
async def test_a_run_is_made_once() -> None:
    broker = broker_of_this_loop(current_settings())
    run = FlowRun("order-4711", "a-run")
    await store.begin(broker, run, Change(Running()), None)

    with pytest.raises(IllegalTransition, match="order-4711"):
        await store.begin(broker, run, Change(Running()), None)
