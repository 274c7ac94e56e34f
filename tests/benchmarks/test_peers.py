"""The case peers works without any of them: it says how to get them, and what it would install is pinned."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvloop", reason="the benchmarks need the group bench")

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["nats", "faststream", "docket", "taskiq", "dbos", "prefect"]

CASE = """
from benchmarks.__main__ import main
from benchmarks.peers import venvs

venvs.FOLDER = Path(sys.argv[1]) / "peers"
main("peers", quick=True, out=Path(sys.argv[1]) / "results.json")
"""

PLAN = """
from benchmarks.peers import venvs
from benchmarks.peers.catalogue import PEERS

print(json.dumps({peer.name: venvs.plan(peer.name) for peer in PEERS}))
"""

COMMAND = "from benchmarks.peers.__main__ import app; app()"

SIDE = """
from benchmarks import conversation, orders, peers

class Side:
    def open(self):
        print("said by the way")
        return "mine"

    async def ask(self):
        conversation.check(conversation.greeting(conversation.NAME))

orders.blocking(orders.obey(Side(), orders.at_once))
"""


def run(program: str, *arguments: str, options: tuple[str, ...] = (), orders: str = "") -> Any:
    """Run a program that can import the benchmarks."""
    header = f"import json, sys\nfrom pathlib import Path\nsys.path.append({str(ROOT)!r})\n"
    return subprocess.run(
        [sys.executable, *options, "-c", header + program, *arguments],
        input=orders,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_without_any_peer_the_case_says_how_to_get_each_and_does_not_fail(tmp_path: Path) -> None:
    ended = run(CASE, str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == [
        f"{name}: not installed: python -m benchmarks.peers install {name}" for name in NAMES
    ]
    assert json.loads((tmp_path / "results.json").read_text())["cases"] == []


def test_each_peer_gets_an_environment_of_this_interpreter_with_what_is_pinned() -> None:
    ended = run(PLAN)
    assert ended.returncode == 0, ended.stderr
    plans: dict[str, list[list[str]]] = json.loads(ended.stdout)
    assert list(plans) == NAMES
    for name, (make, fill) in plans.items():
        folder = ROOT / "benchmarks" / ".peers" / name
        assert make == [sys.executable, "-m", "venv", "--clear", str(folder)]
        assert fill[:5] == [str(folder / "bin" / "python"), "-I", "-m", "pip", "install"]
        lines = Path(fill[-1]).read_text().splitlines()
        pins = [line for line in lines if not line.startswith("#")]
        assert pins, name
        for pin in pins:
            assert re.fullmatch(r"[a-z-]+(\[[a-z]+\])?==\d[\d.]*", pin), pin


def test_an_unknown_peer_is_refused_with_the_names_of_those_that_there_are() -> None:
    ended = run(COMMAND, "install", "nothing")
    assert ended.returncode == 1
    assert "'nothing'" in ended.stderr
    assert ", ".join(NAMES) in ended.stderr


def test_a_side_needs_the_standard_library_alone_and_keeps_what_others_print_out_of_its_answers() -> None:
    orders = [{"do": "open", "times": None, "with": {}}, {"do": "ask", "times": 3, "with": {}}]
    ended = run(SIDE, options=("-I", "-S"), orders="".join(f"{json.dumps(order)}\n" for order in orders))
    assert ended.returncode == 0, ended.stderr
    opened, asked = (json.loads(line) for line in ended.stdout.splitlines())
    assert opened["result"] == "mine"
    assert len(asked["nanoseconds"]) == 3
    assert "said by the way" in ended.stderr
