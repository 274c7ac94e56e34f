"""The page on servers has those of the conformance suite, URLs that can be used, and the versions of tox's oldest."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flowchan.broker.url import place_of
from tests.support.places import KINDS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "servers.md").read_text()
ROWS = re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \|$", PAGE, re.MULTILINE)


def test_each_server_of_the_suite_has_a_row() -> None:
    assert [kind for kind, _, _ in ROWS] == list(KINDS)


@pytest.mark.parametrize("url", [url for _, urls, _ in ROWS for url in re.findall(r"`([a-z+]+://[^`]*)`", urls)])
def test_a_sample_can_be_used(url: str) -> None:
    assert place_of(url).name


@pytest.mark.parametrize("package, name", [("redis", "redis-py"), ("hiredis", "hiredis")])
def test_the_oldest_versions_are_those_that_are_tested(package: str, name: str) -> None:
    (tested,) = re.findall(rf"^    {package}==(\d+\.\d+)\.\d+$", (ROOT / "tox.ini").read_text(), re.MULTILINE)
    (told,) = re.findall(rf"^\| {name} \| (\S+) \|", PAGE, re.MULTILINE)
    assert told == tested


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`(tests/[^`]*)`", PAGE))))
def test_what_shows_it_is_there(path: str) -> None:
    assert (ROOT / path).exists()
