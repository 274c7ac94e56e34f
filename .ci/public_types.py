"""What flowchan exports has types that every checker understands alike.

That is pyright's --verifytypes, without the rooms that no user imports from.
"""

from __future__ import annotations

import json
import subprocess
import sys

INSIDE = ("flowchan.bridge", "flowchan.broker", "flowchan.cli", "flowchan.settings", "flowchan.wire")


def main() -> int:
    """Print what is wrong; the exit code says whether anything is."""
    checker = ["basedpyright", "--pythonpath", sys.executable, "--verifytypes", "flowchan", "--ignoreexternal"]
    answer = subprocess.run([*checker, "--outputjson"], stdout=subprocess.PIPE, text=True, check=False).stdout
    symbols = [
        symbol
        for symbol in json.loads(answer)["typeCompleteness"]["symbols"]
        if symbol["isExported"] and not symbol["name"].startswith(INSIDE)
    ]
    for symbol in symbols:
        if not symbol["isTypeKnown"] or symbol["isTypeAmbiguous"]:
            print(symbol["name"])
            for diagnostic in symbol["diagnostics"]:
                print("   ", diagnostic["message"].replace("\n", "\n    "))
    wrong = sum(not symbol["isTypeKnown"] or symbol["isTypeAmbiguous"] for symbol in symbols)
    print(f"{len(symbols)} public symbols, {wrong} of them without a clear type.")
    return 1 if wrong or not symbols else 0


if __name__ == "__main__":
    sys.exit(main())
