"""The scripts that the server runs, as they are given to it."""

from __future__ import annotations

import functools
import hashlib
import re
from importlib import resources

_WITH = re.compile(r"-- With (\w+)\.lua before it\.\n")
"""One of the first lines of a script that uses a function of another."""


@functools.cache
def script(name: str) -> tuple[str, str]:
    """A script of ``scripts/``, with what it needs before it, and the digest by which the server knows it."""
    text = _with_what_it_needs(name)
    # What is for people need not be sent each time.
    lines = [line.strip() for line in text.splitlines()]
    text = "\n".join(line for line in lines if line and not line.startswith("--"))
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _with_what_it_needs(name: str) -> str:
    text, needed, at = _text(name), "", 0
    while (with_what := _WITH.match(text, at)) is not None:
        needed += _with_what_it_needs(with_what[1])
        at = with_what.end()
    return needed + text


def _text(name: str) -> str:
    return (resources.files("flowchan.broker") / "scripts" / f"{name}.lua").read_text()
