"""The user of docs/security.md: a tenant, with the very words that the page has for it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
PASSWORD = "sesame"


def acl_line(namespace: str) -> list[str]:
    """The page's line, for a namespace."""
    found = re.search(r"^```sh acl\nredis-cli (.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found
    words = shlex.split(found[1].replace("\\\n", " "))
    return [word.replace("team-a", namespace).replace("PASSWORD", PASSWORD) for word in words]


def allowed() -> set[str]:
    """The commands of the page."""
    return {word[1:] for word in acl_line("team-a") if word.startswith("+")}


def denied(log: list[object]) -> set[str]:
    """What users were refused, by what ``ACL LOG`` says."""
    entries = [entry if isinstance(entry, dict) else _as_dict(entry) for entry in log]
    return {entry[b"object"].decode() for entry in entries}


def _as_dict(flat: object) -> dict[bytes, bytes]:
    assert isinstance(flat, list)
    return dict(zip(flat[::2], flat[1::2], strict=True))
