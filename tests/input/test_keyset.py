"""The three names under which a run's input is stored."""

from __future__ import annotations

import pytest

from flowchan.input.keyset import keyset_from_base_key, keyset_from_paused_state
from flowchan.states import Cancelling, Completed, Paused, Running, Scheduled, State, StateType, Suspended


def test_a_keyset_has_a_name_for_each_of_its_parts() -> None:
    assert keyset_from_base_key("order") == {
        "description": "order-description",
        "response": "order-response",
        "schema": "order-schema",
    }


@pytest.mark.parametrize(
    "state, base_key",
    [
        (Paused(pause_key="1"), "paused-1"),
        (Suspended(pause_key="2"), "suspended-2"),
        (Paused(name="Waiting For Boss", pause_key="approval"), "waiting for boss-approval"),
        (State(type=StateType.PAUSED, name="Suspended", pause_key="1"), "suspended-1"),
    ],
)
def test_a_pause_has_the_keyset_of_its_name_and_key(state: State, base_key: str) -> None:
    assert keyset_from_paused_state(state) == keyset_from_base_key(base_key)


@pytest.mark.parametrize("state", [Scheduled(), Running(), Cancelling(), Completed(), Running(name="Paused")])
def test_a_state_that_is_no_pause_has_no_keyset(state: State) -> None:
    with pytest.raises(RuntimeError) as error:
        keyset_from_paused_state(state)

    assert str(error.value) == f"'{state.type.value}' is unsupported."


def test_a_pause_without_a_key_has_no_keyset_to_share_by_accident() -> None:
    with pytest.raises(RuntimeError, match=r"Paused\(\) has no pause key"):
        keyset_from_paused_state(Paused())
