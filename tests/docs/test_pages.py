"""What the README and the guide print runs as printed."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def blocks(page: str) -> list[str]:
    found = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert found
    return found


def test_the_readmes_programs_print_what_the_readme_says(tmp_path: Path) -> None:
    first, second = blocks("README.md")
    assert len(first.splitlines()) < 15
    for program, printed in ((first, "Hello, andrew!\n"), (second, "")):
        script = tmp_path / "program.py"
        script.write_text(program)
        command = [sys.executable, "-W", "error", script]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
        assert (ran.stdout, ran.stderr, ran.returncode) == (printed, "", 0)


def test_the_readme_prints_the_command_that_ci_runs() -> None:
    command = (ROOT / ".ci" / "run").read_text().rstrip().splitlines()[-1]
    assert f"\n{command}\n" in (ROOT / "README.md").read_text()


@pytest.mark.anyio
async def test_the_guides_samples_run_in_the_order_of_the_page() -> None:
    names: dict[str, object] = {"__name__": "guide"}
    for block in blocks("docs/guide.md"):
        code = compile(block, "docs/guide.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        ended = eval(code, names)
        if inspect.iscoroutine(ended):
            await ended
    assert names["first"] == "andrew"
    assert names["name"].value == "andrew"  # type: ignore[attr-defined]
