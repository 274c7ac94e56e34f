"""Each fault, so often that it takes seconds; ``python -m tests.faults`` does it as often as the page says."""

from __future__ import annotations

import pytest

from tests.faults.catalogue import FAULTS
from tests.faults.fault import Fault


@pytest.mark.timeout(180)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_what_must_hold_does(fault: Fault) -> None:
    done: list[int] = []
    seen = fault.run(fault.quick, done.append)
    assert seen.counted
    assert seen.result
    assert done, "the long form could show no progress"


def test_each_has_a_name_of_its_own() -> None:
    names = [fault.name for fault in FAULTS]
    assert len(set(names)) == len(names)
