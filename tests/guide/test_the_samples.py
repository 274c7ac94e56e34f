"""The folder, its table, and the tests know the same samples."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.guide.samples import GUIDE, SAMPLES, path_of

ROWS = re.findall(r"^\| \[(\w+)\.py\]\((\w+)\.py\) \|(.*)\|$", (GUIDE / "README.md").read_text(), re.MULTILINE)
TESTS = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))


def test_each_file_of_the_folder_is_a_sample() -> None:
    assert sorted(path.name for path in GUIDE.iterdir() if path.name != "__pycache__") == sorted(
        ["README.md", *(path_of(name).name for name in SAMPLES)]
    )


def test_each_sample_has_its_row_in_the_readme() -> None:
    assert [name for name, _, _ in ROWS] == [link for _, link, _ in ROWS] == list(SAMPLES)


@pytest.mark.parametrize("name, row", [(name, row) for name, _, row in ROWS])
def test_the_readme_says_what_a_sample_takes_as_given(name: str, row: str) -> None:
    in_front = [each for each in row.rsplit(" | ", maxsplit=1)[-1].strip().split("<br>") if each]
    sample = SAMPLES[name]
    before = [f"{sample.after}.py"] if sample.after else []
    assert in_front == [*(f"`{line}`" for line in sample.given.splitlines()), *before]


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_is_run_by_a_test(name: str) -> None:
    assert f'"{name}"' in TESTS


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_imports_nothing_of_prefect(name: str) -> None:
    assert not re.search(r"^\s*(?:from|import)\s+prefect\b", path_of(name).read_text(), re.MULTILINE)
