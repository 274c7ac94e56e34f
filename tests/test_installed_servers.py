"""Which servers there are to be tested: one that is missing is told, once."""

from __future__ import annotations

import pytest

from tests.support.places import KINDS, missing


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_there(kind: str) -> None:
    if why := missing(kind):
        pytest.skip(f"Nothing was tested at {kind}: {why}.")
