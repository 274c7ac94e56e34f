"""The options that many commands have."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

Json = Annotated[
    bool, Parameter(name="--json", negative="", show_default=False, help="Print JSON, one object a line, for programs.")
]
