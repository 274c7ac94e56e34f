"""Here both event loops matter."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import loops


@pytest.fixture(params=loops.BOTH)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    backend: tuple[str, dict[str, Any]] = request.param
    return backend
