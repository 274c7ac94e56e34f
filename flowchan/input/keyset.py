"""Under which names a run's asked-for input is stored: its schema, its description, its response."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from flowchan.states import State


class Keyset(TypedDict):
    """The three names of one input. A plain dict at run time."""

    description: str
    """The Markdown that is shown above the form, where there is one."""
    response: str
    """The input itself, once somebody has given it."""
    schema: str
    """The JSON Schema that the input must fit."""


def keyset_from_base_key(base_key: str) -> Keyset:
    """The keyset of ``base_key``: ``<base key>-description``, ``<base key>-response``, ``<base key>-schema``."""
    return {
        "description": f"{base_key}-description",
        "response": f"{base_key}-response",
        "schema": f"{base_key}-schema",
    }


def keyset_from_paused_state(state: State) -> Keyset:
    """The keyset of what a paused or suspended run waits for; its base key is ``<state name lower>-<pause key>``.

    Raises:
        RuntimeError: the state is no pause, or a pause without a key.
    """
    if not state.is_paused():
        raise RuntimeError(f"{state.type.value!r} is unsupported.")
    if state.pause_key is None:
        # Two pauses of one run would share their answers under "paused-None".
        raise RuntimeError(f"{state} has no pause key.")
    return keyset_from_base_key(f"{state.name.lower()}-{state.pause_key}")
