"""The benchmark tool works, and what it writes has the shape that others read. How fast anything is, is no test's matter."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvloop", reason="the benchmarks need the group bench")

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import sys
from pathlib import Path

sys.path.append(sys.argv[2])  # behind the flowchan that is installed

from benchmarks.cases import chat
from benchmarks.__main__ import main

chat.QUICK = chat.FLOWCHAN, chat.REDIS_PY, chat.FLOWCHAN_ON_ASYNCIO, chat.REDIS_PY_ON_ASYNCIO
chat.QUICK_ROUNDS, chat.QUICK_TRIPS = 2, 20
main("chat", quick=True, out=Path(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("benchmarks") / "results.json"
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(out), str(ROOT)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        cwd=ROOT,
    )
    assert ended.returncode == 0, ended.stderr
    assert "p50: flowchan / redis-py asyncio, uvloop" in ended.stdout, "the targets stand beside what was reached"
    assert "chat" not in ended.stderr, "a bar is for terminals"
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def test_results_say_what_they_were_taken_on(results: dict[str, Any]) -> None:
    assert (results["format"], results["quick"]) == (1, True)
    (case,) = results["cases"]
    wanted = {"flowchan", "python", "redis", "hiredis", "server", "processor", "kernel", "load before"}
    assert wanted <= set(case["environment"])
    assert case["parameters"] == {"rounds": 2, "trips": 20}


def test_each_contender_has_a_row_with_its_figures(results: dict[str, Any]) -> None:
    rows = results["cases"][0]["rows"]
    assert [(row["contender"], row["loop"]) for row in rows] == [
        ("flowchan, str", "uvloop"),
        ("redis-py asyncio", "uvloop"),
        ("flowchan, str", "asyncio"),
        ("redis-py asyncio", "asyncio"),
    ]
    for row in rows:
        assert 0 < row["p50_us"] <= row["p99_us"]
        assert row["distribution_us"] == sorted(row["distribution_us"])
    assert rows[1]["p50_ratio"] == 1.0


def test_targets_are_told_with_their_spread_and_whether_they_were_met(results: dict[str, Any]) -> None:
    targets = results["cases"][0]["targets"]
    assert [target["at_most"] for target in targets[:2]] == [1.0, 1.0]
    for target in targets:
        low, high = target["between"]
        assert low <= target["reached"] <= high
        assert target["met"] is (None if target["at_most"] is None else target["reached"] <= target["at_most"])


def test_an_unknown_case_is_refused_with_the_names_of_those_that_there_are() -> None:
    program = "import sys; sys.path.append(sys.argv.pop(1)); from benchmarks.__main__ import app; app()"
    ended = subprocess.run(
        [sys.executable, "-c", program, str(ROOT), "nothing"],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        cwd=ROOT,
    )
    assert ended.returncode == 1
    assert "'nothing'" in ended.stderr
    assert "chat, many, idle" in ended.stderr
