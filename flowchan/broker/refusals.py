"""What the server's refusals mean: the one place where they become errors for a person."""

from __future__ import annotations

from flowchan.broker.connection import ConnectionLost, Refusal
from flowchan.errors import BrokerRefused, BrokerUnavailable, ChannelFull, FlowchanError

PASSING = frozenset(
    {"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "ASK", "BUSY", "NOREPLICAS", "MISCONF"}
)
"""Refusals that end by themselves: a restart, a failover, a slot on its way, a full disk that was cleared."""

GONE = frozenset({"NOGROUP", "UNBLOCKED"})
"""Refusals that say that a stream or its group was deleted under a reader."""

_HINTS = {
    "OOM": "it is out of memory (maxmemory): nothing was stored",
    "READONLY": "it is a read-only replica: point FLOWCHAN_URL at the primary",
    "NOPERM": "its user may not do this: see the ACL lines in docs/security.md",
    "NOAUTH": "it wants a password: put one into FLOWCHAN_URL",
    "MISCONF": "it cannot write its data to disk, and so takes no writes",
    "NOREPLICAS": "it has too few replicas to take writes",
    "LOADING": "it is still loading its data",
    "CLUSTERDOWN": "its cluster is down",
    "WRONGTYPE": "something that is no stream is kept under this key",
    "BUSY": "a script keeps it busy",
    "MOVED": "it was one server when this process began, and is a Cluster now: start the process anew",
    "TRYAGAIN": "it is being moved to another node of its cluster",
    "ASK": "it is being moved to another node of its cluster",
}


def translated(reply: Exception, server: str, where: str) -> FlowchanError:
    """An error for the caller from what a connection answered.

    ``server`` starts the sentence; ``where`` names the run and channel, such as ``run x, channel y``.
    """
    if isinstance(reply, Refusal):
        if reply.code == "CHANNELFULL":  # our own: scripts/send_capped.lua
            return ChannelFull(where, int(str(reply).split()[1]))
        # Only the code: the rest of a reply can quote a key or an argument.
        hint = _HINTS.get(reply.code, "it answered with this code")
        return BrokerRefused(f"{server} refused ({where}): {reply.code}, {hint}.", code=reply.code)
    if isinstance(reply, ConnectionLost):
        return BrokerUnavailable(f"{server} went away ({where}): {reply}")
    if isinstance(reply, FlowchanError):
        return reply
    return BrokerUnavailable(f"{server} cannot be reached ({where}): {type(reply).__name__}.")
