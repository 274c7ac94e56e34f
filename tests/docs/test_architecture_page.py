"""The page on the architecture names every room."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import flowchan

ROOT = Path(flowchan.__file__).parent
PAGE = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text()
FOLDERS = ["blocks", "broker/cluster", "broker/embedded", "cli"]
"""Which the page names as a whole."""


def rooms() -> list[str]:
    paths = [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py") if path.name != "__init__.py"]
    return sorted(path for path in paths if not path.startswith(tuple(f"{folder}/" for folder in FOLDERS)))


@pytest.mark.parametrize("room", [*rooms(), *(f"{folder}/" for folder in FOLDERS)])
def test_the_page_names_it(room: str) -> None:
    assert re.search(rf"(?<![\w/]){re.escape(room)}", PAGE)
