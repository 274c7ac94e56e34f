"""What a run is resumed with: checked against the JSON Schema that it stored, before it counts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pydantic_core

from flowchan.errors import InvalidRunInput, MessageTooLarge


def checked(run: UUID | str, run_input: Mapping[str, Any] | None, schema: bytes | None, limit: int) -> bytes:
    """The answer as it is stored: JSON.

    Raises:
        InvalidRunInput: it does not fit the schema, or there is an input and none was asked for.
        MessageTooLarge: it takes more than ``limit`` bytes.
    """
    given = dict(run_input or {})
    if schema is None:
        if given:
            raise _invalid(run, "", "it waits for no input")
        return b"{}"
    try:
        answer: Any = pydantic_core.to_jsonable_python(given)
        text = json.dumps(answer, allow_nan=False).encode()
    except (ValueError, TypeError) as error:
        raise _invalid(run, "", f"it is nothing that JSON has a form for ({type(error).__name__})") from None
    if len(text) > limit:
        raise MessageTooLarge(len(text), limit, f" (run {run})")
    problem = problem_with(answer, json.loads(schema))
    if problem is not None:
        raise _invalid(run, *problem)
    return text


def problem_with(answer: Any, schema: Mapping[str, Any]) -> tuple[str, str] | None:
    """What is wrong with an answer: the path of a field, and the reason; None where it fits.

    The reason does not quote the value: it may be seen in a log.
    """
    import jsonschema_rs  # noqa: PLC0415 - 10 ms, and who sends and receives does without

    validator = jsonschema_rs.validator_for(dict(schema), validate_formats=True, mask="the value")
    error = min(validator.iter_errors(answer), key=lambda error: len(list(error.instance_path)), default=None)
    if error is None:
        return None
    return ".".join(map(str, error.instance_path)), str(error.message)


def _invalid(run: UUID | str, field: str, reason: str) -> InvalidRunInput:
    where = f"{field}: " if field else ""
    return InvalidRunInput(f"Run {run} was not resumed: {where}{reason}.", field=field, reason=reason)
