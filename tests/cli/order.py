"""What the tests of forms ask for, and programs that ask for it."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import uuid
from typing import Any, Literal

from pydantic import BaseModel, Field, SecretStr, create_model


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


class Address(BaseModel):
    street: str
    number: int = Field(1, ge=1, le=999)


class Line(BaseModel):
    article: str
    price: float


class Node(BaseModel):
    name: str
    children: list[Node] = []


class Order(BaseModel):
    name: str = Field("Marvin", description="Who it is for.")
    size: Size = Size.SMALL
    colour: Literal["red", "black"] | None = None
    amount: int = Field(ge=1, le=10)
    express: bool = False
    day: dt.date
    tags: list[str] = []
    ship_to: Address
    bill_to: Address | None = None
    lines: list[Line] = []
    extra: dict[str, int] = {}


class Everything(BaseModel):
    kind: Literal["everything"] = "everything"
    when: dt.datetime
    at: dt.time
    takes: dt.timedelta
    id: uuid.UUID
    word: SecretStr
    price: decimal.Decimal
    either: int | str
    sizes: set[Size]
    numbers: list[int]
    pair: tuple[int, str]
    lists: list[list[int]]
    maybe: bool | None
    anything: Any


def asking(schema: dict[str, Any], *arguments: str) -> tuple[str, str]:
    """The arguments of a Python that fills in a form and prints the values as JSON."""
    program = f"""
import json, sys
from flowchan.cli import form
from flowchan.errors import FlowchanError
try:
    print(json.dumps(form.fill(json.loads({json.dumps(json.dumps(schema))}), {", ".join(arguments) or "None"})))
except FlowchanError as error:
    sys.exit(str(error))
except KeyboardInterrupt:
    sys.exit(130)
"""
    return "-c", program


def schema_of(**fields: Any) -> dict[str, Any]:
    """The schema of a model with these fields."""
    return create_model("Asked", **fields).model_json_schema()
