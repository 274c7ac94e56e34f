"""``flowchan resume``: let a run go on, and give it what it waits for."""

from __future__ import annotations

import json
from typing import Annotated, Any

from cyclopts import Parameter

from flowchan import bridge, sync
from flowchan.cli import terminal
from flowchan.cli.find import find
from flowchan.errors import FlowchanError, InvalidRunInput, NotPausedError
from flowchan.run import FlowRun
from flowchan.runs.answer import question


def resume(
    run: str,
    /,
    *,
    answer: Annotated[
        str | None,
        Parameter(name="--json", help='What it waits for, as a JSON object, such as \'{"value": "andrew"}\'.'),
    ] = None,
) -> None:
    """Let a paused or suspended run go on.

    What it waits for is asked field by field; an answer that is rejected is asked for again, with the reason. RUN is
    the run's ID, the beginning of that, or its name. In a script:

        flowchan resume gregarious-owl --json '{"name": "andrew", "age": 3}'
    """
    terminal.prepare()
    known = bridge.call(lambda broker: find(broker, run))
    if answer is not None:
        sync.resume_flow_run(known.id, _object(answer))
    else:
        asked = bridge.call(lambda broker: question(broker, known))
        if asked.schema is None:
            sync.resume_flow_run(known.id)
        else:
            _ask(known, asked.schema, asked.description)
    print(f"{known.name} goes on.")


def _ask(run: FlowRun, schema: dict[str, Any], description: str | None) -> None:
    from flowchan.cli.form import fill  # noqa: PLC0415 - 150 ms for prompt_toolkit

    values: dict[str, Any] | None = None
    problem: str | None = None
    while True:
        values = fill(schema, description if values is None else None, known=values, problem=problem)
        try:
            sync.resume_flow_run(run.id, values, waiting_for=run.waiting_for)
        except InvalidRunInput as rejected:
            if not terminal.is_a_person():
                raise
            problem = f"{rejected.field}: {rejected.reason}" if rejected.field else rejected.reason
        except NotPausedError as gone:
            raise FlowchanError(f"{gone} Somebody else was first.") from None
        else:
            return


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise FlowchanError(f"What follows --json is no JSON: {error}.") from None
    if not isinstance(value, dict):
        raise FlowchanError(f"What follows --json is a JSON object of the fields, not a {type(value).__name__}.")
    return value
