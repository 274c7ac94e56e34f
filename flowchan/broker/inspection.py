"""What a broker says of itself: for a person who wants to know whether it is fit for its work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from flowchan.broker.broker import Broker
from flowchan.broker.connection import ConnectionLost, Refusal
from flowchan.broker.url import place_of
from flowchan.errors import BrokerUnavailable
from flowchan.settings import Settings
from flowchan.wire import keys

CAPABILITIES = {"XADD IDMP": ("xadd", "IDMP"), "XREADGROUP CLAIM": ("xreadgroup", "CLAIM"), "XACKDEL": ("xackdel", "")}
"""What newer servers can do: for each, a command and the word that it must know, or none."""


@dataclass(frozen=True)
class Inspection:
    """What a broker says of itself; None and an empty text stand for what it does not tell this user."""

    server: str
    """Which one it is, as a person may read it: never with a user or a password."""
    engine: str
    """``valkey`` or ``redis``."""
    version: str
    mode: str
    """``standalone``, ``cluster`` or ``sentinel``."""
    role: str
    """``master`` or ``slave``."""
    pid: int | None
    clients: int | None
    appendonly: bool | None
    appendfsync: str
    aof_write: str
    """How the last write to the append-only file went: ``ok`` or ``err``."""
    snapshots: bool | None
    """Whether it writes snapshots by itself."""
    snapshot_write: str
    """As ``aof_write``, of the last snapshot."""
    maxmemory: int | None
    """In bytes; 0 is no limit."""
    eviction: str
    """What it does at that limit."""
    partitions: int | None
    """With how many the namespace was laid out."""
    primaries: int | None = None
    """Of a Cluster: how many nodes have slots."""
    cluster_state: str = ""
    """Of a Cluster: ``ok`` or ``fail``."""
    capabilities: dict[str, bool | None] = field(default_factory=dict)


def server_name(settings: Settings) -> str:
    """Which server these settings lead to, as a person may read it: never with a user or a password.

    Raises:
        InvalidSettingError: ``FLOWCHAN_URL`` cannot be used.
    """
    return "The embedded server" if settings.url is None else place_of(settings.url).name


async def inspect(broker: Broker) -> Inspection:
    """Ask the broker of itself, which of a Cluster is any node; nothing is changed.

    Raises:
        BrokerError: it cannot be reached, or does not want this client.
        InvalidSettingError: ``FLOWCHAN_URL`` cannot be used.
    """
    fields = _fields(await _asked(broker, "INFO"))
    fsync, save = [_setting(await _asked(broker, "CONFIG", "GET", name)) for name in ("appendfsync", "save")]
    partitions = _text(await _asked(broker, "HGET", keys.about(broker.settings.namespace), "partitions"))
    mode = fields.get("server_mode") or fields.get("redis_mode", "")
    cluster = _fields(await _asked(broker, "CLUSTER", "INFO")) if mode == "cluster" else {}
    engine = "valkey" if "valkey_version" in fields else "redis"
    return Inspection(
        server=server_name(broker.settings),
        engine=engine,
        version=fields.get(f"{engine}_version", ""),
        mode=mode,
        role=fields.get("role", ""),
        pid=_number(fields.get("process_id")),
        clients=_number(fields.get("connected_clients")),
        appendonly=_flag(fields.get("aof_enabled")),
        appendfsync=fsync or "",
        aof_write=fields.get("aof_last_write_status", ""),
        snapshots=None if save is None else bool(save),
        snapshot_write=fields.get("rdb_last_bgsave_status", ""),
        maxmemory=_number(fields.get("maxmemory")),
        eviction=fields.get("maxmemory_policy", ""),
        partitions=_number(partitions),
        primaries=_number(cluster.get("cluster_size")),
        cluster_state=cluster.get("cluster_state", ""),
        capabilities={name: await _knows(broker, *what) for name, what in CAPABILITIES.items()},
    )


async def _asked(broker: Broker, *command: str) -> Any:
    """The reply to a command that changes nothing; None if it is refused."""
    for _ in range(2):
        try:
            return await broker.commands.call(*command)
        except Refusal:
            return None
        except ConnectionLost:
            continue  # an old connection whose server was started again meanwhile
    raise BrokerUnavailable(f"{server_name(broker.settings)} ends every connection that it takes.")


async def _knows(broker: Broker, command: str, word: str) -> bool | None:
    """Whether the server knows a command, and a word among its arguments; None if it does not tell."""
    about = await _asked(broker, "COMMAND", "INFO", command)
    if not isinstance(about, list) or not about:
        return None
    if about[0] is None or not word:
        return about[0] is not None
    documented = await _asked(broker, "COMMAND", "DOCS", command)
    return word.encode() in set(_words(documented)) if documented else None


def _words(reply: Any) -> Iterator[bytes]:
    if isinstance(reply, list):
        for each in reply:
            yield from _words(each)
    elif isinstance(reply, bytes):
        yield reply.upper()


def _fields(reply: Any) -> dict[str, str]:
    lines = (_text(reply) or "").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _setting(reply: Any) -> str | None:
    return _text(reply[1]) if isinstance(reply, list) and len(reply) == 2 else None


def _text(reply: Any) -> str | None:
    return reply.decode(errors="replace") if isinstance(reply, bytes) else None


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


def _flag(text: str | None) -> bool | None:
    return None if text is None else text == "1"
