"""The command: ``python -m benchmarks.peers install [peer …]``; without a peer, all of them."""

from __future__ import annotations

import cyclopts

from benchmarks.peers import venvs
from benchmarks.peers.catalogue import PEERS

app = cyclopts.App(
    name="python -m benchmarks.peers",
    help="The environments of those that the case peers compares.",
    version_flags=[],
)


@app.command
def install(*peers: str) -> None:
    """Install peers: nats, faststream, docket, taskiq, dbos, prefect; without any, all.

    Each into an environment of its own, of this Python, in place of one that there is.

    Parameters
    ----------
    peers
        Which ones.
    """
    known = [peer.name for peer in PEERS]
    unknown = [peer for peer in peers if peer not in known]
    if unknown:
        raise SystemExit(f"There is no peer {unknown[0]!r}. There are: {', '.join(known)}.")
    for peer in peers or known:
        venvs.install(peer)


if __name__ == "__main__":
    app()
