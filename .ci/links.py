"""Every link in the Markdown files leads somewhere, and the README shows the command that CI runs."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\[[^\]]*\]\(<?([^)\s>]+)>?[^)]*\)")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+\s+(.+?)\s*#*$", re.MULTILINE)


def prose(page: Path) -> str:
    """The text without its code blocks: what looks like a link or a heading there is none."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub derives them."""
    found: set[str] = set()
    for heading in HEADING.findall(prose(page)):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        base = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        number, anchor = 0, base
        while anchor in found:
            number += 1
            anchor = f"{base}-{number}"
        found.add(anchor)
    return found


def problem(page: Path, link: str) -> str | None:
    """What is wrong with a link, or None; those that leave the repository are not followed."""
    if re.match(r"[a-z][a-z+.-]*:", link):
        return None
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists():
        return "no such file"
    if anchor and target.suffix == ".md" and anchor not in anchors(target):
        return "no such heading"
    return None


def problems() -> Iterator[str]:
    """What is wrong, a line each."""
    for page in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]):
        for link in LINK.findall(prose(page)):
            if why := problem(page, link):
                yield f"{page.relative_to(ROOT)}: {link}: {why}"
    command = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1]
    if command not in (ROOT / "README.md").read_text(encoding="utf-8").splitlines():
        yield f"README.md: does not show what .ci/run runs: {command}"


def main() -> int:
    """Print what is wrong; the exit code says whether anything is."""
    wrong = list(problems())
    print("\n".join(wrong) or "All links lead somewhere.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
