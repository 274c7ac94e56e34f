"""``flowchan send``: a message to a run, from the command line."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import sys
import uuid
from collections.abc import Callable
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from pydantic import TypeAdapter, ValidationError

from flowchan import sync
from flowchan.cli import terminal, told
from flowchan.cli.find import run_called
from flowchan.cli.options import Json
from flowchan.errors import FlowchanError

Kind = Literal["str", "int", "float", "bool", "bytes", "date", "datetime", "decimal", "uuid", "json"]

_TYPES: dict[str, Any] = {
    "int": int,
    "float": float,
    "bool": bool,
    "date": dt.date,
    "datetime": dt.datetime,
    "decimal": decimal.Decimal,
    "uuid": uuid.UUID,
}


def send(
    run: str,
    value: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    kind: Annotated[Kind, Parameter(name=["--type", "-t"], help="What VALUE is.")] = "str",
    channel: Annotated[
        str | None, Parameter(name=["--channel", "-c"], help="The channel; by default the type's.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Send a value to a run. It need not listen yet: the message waits.

    RUN is the run's ID, the beginning of that, or its name; VALUE is - for what is read from standard input. For
    example:

        flowchan send gregarious-owl 3 --type int
    """
    terminal.prepare()
    text = sys.stdin.read() if value == "-" else value
    metadata = sync.send_input(_read(text, kind), run_called(run), key_prefix=channel)
    if as_json:
        print(
            told.line(
                {"key": metadata.key, "receiver": str(metadata.receiver), "sent_at": metadata.sent_at.isoformat()}
            )
        )
    else:
        print(metadata.key)


def _read(text: str, kind: str) -> Any:
    if kind == "str":
        return text
    if kind == "bytes":
        return text.encode(errors="surrogateescape")
    read: Callable[[str], Any] = json.loads if kind == "json" else TypeAdapter(_TYPES[kind]).validate_python
    try:
        return read(text.strip())
    except (ValidationError, ValueError) as error:
        reason = error.errors(include_url=False)[0]["msg"] if isinstance(error, ValidationError) else error
        raise FlowchanError(f"The value cannot be read as {kind}: {reason}.") from None
