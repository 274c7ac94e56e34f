"""What flowchan exports has types that every checker understands alike.

That is pyright's --verifytypes, without the rooms that no user imports from, and without the echo: one attribute
without a type makes every function that takes or returns its class "partially unknown".
"""

from __future__ import annotations

import json
import subprocess
import sys

INSIDE = tuple(
    f"flowchan.{room}." for room in ("bridge", "broker", "cli", "dual", "input.handling", "runner", "runs", "wire")
)
IDIOM = ".model_config"  # pydantic's own documents leave its type out


def is_cause(message: str) -> bool:
    """Whether a message says what is wrong, rather than that something it refers to is."""
    return "partially unknown" not in message or "Unknown" in message


def main() -> int:
    """Print what is wrong; the exit code says whether anything is."""
    checker = ["basedpyright", "--pythonpath", sys.executable, "--verifytypes", "flowchan", "--ignoreexternal"]
    answer = subprocess.run([*checker, "--outputjson"], stdout=subprocess.PIPE, text=True, check=False).stdout
    symbols = [
        symbol
        for symbol in json.loads(answer)["typeCompleteness"]["symbols"]
        if symbol["isExported"] and not symbol["name"].startswith(INSIDE) and not symbol["name"].endswith(IDIOM)
    ]
    wrong = 0
    for symbol in symbols:
        unclear = not symbol["isTypeKnown"] or symbol["isTypeAmbiguous"]
        causes = [diagnostic["message"] for diagnostic in symbol["diagnostics"] if is_cause(diagnostic["message"])]
        if unclear and causes:
            wrong += 1
            print(symbol["name"], *causes, sep="\n    ")
    print(f"{len(symbols)} public symbols, {wrong} of them without a clear type.")
    return 1 if wrong or not symbols else 0


if __name__ == "__main__":
    sys.exit(main())
