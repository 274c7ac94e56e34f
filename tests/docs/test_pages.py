"""What the pages print runs as printed."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from flowchan import resume_flow_run
from flowchan.input import read_dead_letters
from tests.support.runs import seen_sync

ROOT = Path(__file__).parents[2]


def blocks(page: str) -> list[str]:
    found = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert found
    return found


def test_the_readmes_programs_print_what_the_readme_says(tmp_path: Path) -> None:
    first, second, _ = blocks("README.md")
    assert len(first.splitlines()) < 15
    for program, printed in ((first, "Hello, andrew!\n"), (second, "")):
        script = tmp_path / "program.py"
        script.write_text(program)
        command = [sys.executable, "-W", "error", script]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
        assert (ran.stdout, ran.stderr, ran.returncode) == (printed, "", 0)


def test_the_readmes_flow_asks_as_the_readme_says() -> None:
    names: dict[str, Any] = {"__name__": "order"}
    exec(compile(blocks("README.md")[2], "README.md", "exec", dont_inherit=True), names)
    with ThreadPoolExecutor() as pool:
        ended = pool.submit(names["order"], return_state=True)
        resume_flow_run(seen_sync("order", "PAUSED").id, {"size": "large"})
        assert ended.result().is_completed()


def test_the_readme_prints_the_command_that_ci_runs() -> None:
    command = (ROOT / ".ci" / "run").read_text().rstrip().splitlines()[-1]
    assert f"\n{command}\n" in (ROOT / "README.md").read_text()


async def run_in_order(page: str) -> dict[str, object]:
    """Run a page's samples as one program; the names that they define."""
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks(page):
        code = compile(block, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        ended = eval(code, names)
        if inspect.iscoroutine(ended):
            await ended
    return names


@pytest.mark.anyio
async def test_the_guides_samples_run_in_the_order_of_the_page() -> None:
    names = await run_in_order("docs/guide.md")
    assert names["first"] == "andrew"
    assert names["name"].value == "andrew"  # type: ignore[attr-defined]
    assert names["shirt"] == "large red"


@pytest.mark.anyio
async def test_the_samples_on_groups_do_what_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    names = await run_in_order("docs/groups.md")
    assert [names["first"], names["second"], names["third"], names["got"]] == [0, 1, 2, []]
    assert capsys.readouterr().out.startswith("invalid 1 value: Input should be a valid integer")
    assert await read_dead_letters("orders") == []


@pytest.mark.anyio
async def test_the_sample_on_states_prints_what_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    await run_in_order("docs/states.md")
    printed = capsys.readouterr().out.strip()
    assert f"It prints `{printed}`" in (ROOT / "docs" / "states.md").read_text()
