"""The stamp on the data: which engine, of which version, wrote it last."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from flowchan.broker.embedded.engine import Engine

if TYPE_CHECKING:
    from pathlib import Path

_NAME = "engine.json"


def read(data: Path) -> Engine | None:
    """Who wrote the data in a folder, as far as its stamp tells."""
    try:
        stamp = json.loads((data / _NAME).read_text())
        engine = Engine(str(stamp["engine"]), str(stamp["version"]))
        _ = engine.release
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None  # the server itself refuses what it cannot read
    return engine


def write(data: Path, engine: Engine | None) -> None:
    """Stamp the data in a folder, all at once; None takes the stamp away."""
    stamp = data / _NAME
    if engine is None:
        stamp.unlink(missing_ok=True)
        return
    new = stamp.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text(json.dumps({"engine": engine.name, "version": engine.version}) + "\n")
    new.replace(stamp)
