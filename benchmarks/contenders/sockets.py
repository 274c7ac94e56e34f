"""Blocking sockets and hiredis: the least that Python can spend."""

from __future__ import annotations

import socket
from typing import Any

import hiredis

from benchmarks.contenders import commands
from benchmarks.contenders.by_hand import ByHand

_READ_BYTES = 64 * 1024


class Sockets(ByHand):
    async def open(self) -> None:
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.connect(self.place.socket)
        self._reader = hiredis.Reader()
        self._call(commands.create_group(self.place.mine))

    async def close(self) -> None:
        self._sock.close()

    async def add(self, body: bytes) -> None:
        self._call(commands.add(self.place.theirs, body))

    async def get(self) -> bytes:
        return commands.body_of(self._call(commands.get(self.place.mine)))

    def _call(self, packed: bytes) -> Any:
        self._sock.sendall(packed)
        while (reply := self._reader.gets()) is False:
            self._reader.feed(self._sock.recv(_READ_BYTES))
        return reply
