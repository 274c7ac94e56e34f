"""Who is compared: each holds the same conversation in its own way."""

from __future__ import annotations

from typing import NamedTuple

from benchmarks.loops import Loop


class Contender(NamedTuple):
    """A way to hold the conversation."""

    name: str
    entry: str
    """Its :class:`benchmarks.conversation.Side`, as ``module:class`` in this package."""
    loop: Loop


SOCKETS = Contender("blocking sockets", "sockets:Sockets", Loop.NONE)
HIREDIS = Contender("hiredis, bare protocol", "bare_protocol:BareProtocol", Loop.UVLOOP)
REDIS_PY = Contender("redis-py asyncio", "redis_py:Asyncio", Loop.UVLOOP)
REDIS_PY_AS_IT_COMES = Contender("redis-py asyncio, defaults", "redis_py:AsyncioAsItComes", Loop.UVLOOP)
REDIS_PY_ON_ASYNCIO = Contender("redis-py asyncio", "redis_py:Asyncio", Loop.ASYNCIO)
REDIS_PY_SYNC = Contender("redis-py sync", "redis_py:Sync", Loop.NONE)
FLOWCHAN = Contender("flowchan, str", "typed:Text", Loop.UVLOOP)
FLOWCHAN_MODEL = Contender("flowchan, RunInput", "typed:Model", Loop.UVLOOP)
FLOWCHAN_UNAWAITED = Contender("flowchan, sends not awaited", "typed:Unawaited", Loop.UVLOOP)
FLOWCHAN_ON_ASYNCIO = Contender("flowchan, str", "typed:Text", Loop.ASYNCIO)
FLOWCHAN_SYNC = Contender("flowchan.sync, str", "typed_sync:Text", Loop.NONE)

CONTENDERS = (
    SOCKETS,
    HIREDIS,
    REDIS_PY,
    REDIS_PY_AS_IT_COMES,
    FLOWCHAN,
    FLOWCHAN_MODEL,
    FLOWCHAN_UNAWAITED,
    REDIS_PY_ON_ASYNCIO,
    FLOWCHAN_ON_ASYNCIO,
    REDIS_PY_SYNC,
    FLOWCHAN_SYNC,
)
