"""What a run waits for, and what it is resumed with: checked against the JSON Schema that it stored, before it counts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

import pydantic_core

from flowchan.broker.broker import Broker
from flowchan.errors import InvalidRunInput, MessageTooLarge, NotPausedError
from flowchan.input.keyset import keyset_from_paused_state
from flowchan.run import FlowRun
from flowchan.runs.schema import faults
from flowchan.wire import keys


def checked(run: UUID | str, run_input: Mapping[str, Any] | None, schema: bytes | None, limit: int) -> bytes:
    """The answer as it is stored: JSON.

    Raises:
        InvalidRunInput: it does not fit the schema, or there is an input and none was asked for.
        MessageTooLarge: it takes more than ``limit`` bytes.
    """
    given = dict(run_input or {})
    if schema is None:
        if given:
            raise _invalid(run, "", "it waits for no input.")
        return b"{}"
    try:
        answer: Any = pydantic_core.to_jsonable_python(given)
        text = json.dumps(answer, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, TypeError) as error:
        raise _invalid(run, "", f"it is nothing that JSON has a form for ({type(error).__name__}).") from None
    if len(text) > limit:
        raise MessageTooLarge(len(text), limit, f" (run {run})")
    # The outermost first. None quotes the value, for it may be seen in a log.
    found = min(faults(json.loads(schema), answer, secret=True), key=lambda fault: len(fault.path), default=None)
    if found is not None:
        raise _invalid(run, ".".join(map(str, (*found.path, *filter(None, [found.member])))), found.reason)
    return text


class Question(NamedTuple):
    """What a run waits for."""

    schema: dict[str, Any] | None
    """The JSON Schema of the input; None where it only waits to be resumed."""
    description: str | None
    """What is shown above a form, in Markdown."""


async def question(broker: Broker, run: FlowRun) -> Question:
    """What a paused or suspended run waits for.

    Raises:
        NotPausedError: it waits for nothing.
    """
    state = run.state
    if state is None or not state.is_paused():
        raise NotPausedError(
            f"Run {run.id} is not paused: it is {state.name if state else 'of no state'!r}.", now=state
        )
    keyset = keyset_from_paused_state(state)
    key = keys.inputs(broker.settings.namespace, keys.run_id(run.id))
    schema, description = await broker.fetch(key, [keyset["schema"], keyset["description"]])
    return Question(json.loads(schema) if schema is not None else None, description.decode() if description else None)


def _invalid(run: UUID | str, field: str, reason: str) -> InvalidRunInput:
    where = f"{field}: " if field else ""
    return InvalidRunInput(f"Run {run} was not resumed: {where}{reason}", field=field, reason=reason)
