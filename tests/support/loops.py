"""The event loops that flowchan is for."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

BOTH: list[Any] = [pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio")]
if importlib.util.find_spec("uvloop"):  # an extra: what is tested without it is tested without it
    BOTH.append(pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"))
