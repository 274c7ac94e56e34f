"""Three sentinels of the tests' own, and a primary with two replicas that they watch."""

from __future__ import annotations

import contextlib
from typing import Any

from tests.support.ports import free_ports
from tests.support.server import Server
from tests.support.together import Together
from tests.support.waiting import eventually

SERVICE = "spare"
QUORUM = 2


class Sentinels(Together):
    """They, and what they watch."""

    def __init__(self, *options: str, password: str | None = None, sentinel_password: str | None = None) -> None:
        ports = free_ports(6)
        first = str(ports[0])
        self.servers = [Server(*options, port=ports[0])]
        self.servers += [Server("--replicaof", "127.0.0.1", first, *options, port=port) for port in ports[1:3]]
        self.sentinels = [Server(port=port) for port in ports[3:]]
        self._password, self._sentinel_password = password, sentinel_password
        for sentinel in self.sentinels:
            secret = [f"requirepass {sentinel_password}", f"sentinel sentinel-pass {sentinel_password}"]
            lines = [
                f"port {sentinel.port}",
                "bind 127.0.0.1",
                f"unixsocket {sentinel.socket}",
                f"dir {sentinel.folder}",
                f"logfile {sentinel.folder}/log",
                f"sentinel monitor {SERVICE} 127.0.0.1 {first} {QUORUM}",
                f"sentinel down-after-milliseconds {SERVICE} 700",
                f"sentinel failover-timeout {SERVICE} 3000",
                *([f"sentinel auth-pass {SERVICE} {password}"] if password else ()),
                *(secret if sentinel_password else ()),
            ]
            (sentinel.folder / "sentinel.conf").write_text("\n".join(lines) + "\n")

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        query = f"?sentinel_password={self._sentinel_password}" if self._sentinel_password else ""
        user = f":{self._password}@" if self._password else ""
        return f"redis+sentinel://{user}{hosts}/{SERVICE}{query}"

    @property
    def primary(self) -> Server:
        """Who has the part, by its own word and by that of every sentinel."""

        def look() -> Server | None:
            named = {self._ask(each, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1] for each in self.sentinels}
            found = [each for each in self.servers if each.answers and str(each.port).encode() in named]
            return found[0] if len(named) == len(found) == 1 and self._role(found[0])[0] == b"master" else None

        return eventually(look, "one primary")

    def fail_over(self) -> None:
        """Have the sentinels choose another primary, though there is one."""
        former = self.primary
        eventually(self._ready, "replicas to choose from")

        def told() -> bool:
            with contextlib.suppress(Exception):
                return bool(self._ask(self.sentinels[0], "SENTINEL", "FAILOVER", SERVICE) == b"OK")
            return False

        eventually(told, "the failover's beginning")
        eventually(lambda: self.primary is not former, "another primary")

    def _begin(self) -> None:
        for server in self.servers:
            server.launch()
        for server in self.servers:
            server.wait()
        eventually(self._ready, "the replicas' beginning")
        for sentinel in self.sentinels:
            sentinel.launch_as(sentinel.folder / "sentinel.conf", "--sentinel")
        for sentinel in self.sentinels:
            sentinel.wait()
        eventually(lambda: all(map(self._knows_all, self.sentinels)), "the sentinels' meeting")

    def close(self) -> None:
        for each in [*self.sentinels, *self.servers]:
            each.close()

    def _ready(self) -> bool:
        """Whether each replica has what its primary has."""
        running = [each for each in self.servers if each.answers]
        roles = [self._role(each) for each in running]
        return all(role[0] == b"master" or role[3] == b"connected" for role in roles)

    def _role(self, server: Server) -> Any:
        return _ask(server, "ROLE", password=self._password)

    def _knows_all(self, sentinel: Server) -> bool:
        answer = self._ask(sentinel, "SENTINEL", "MASTER", SERVICE)
        about = dict(zip(answer[::2], answer[1::2], strict=True)) if isinstance(answer, list) else answer
        others = {_text(name): int(value) for name, value in about.items() if _text(name).startswith("num-")}
        return others == {"num-slaves": 2, "num-other-sentinels": 2}

    def _ask(self, sentinel: Server, *command: Any) -> Any:
        return _ask(sentinel, *command, password=self._sentinel_password)


def _ask(server: Server, *command: Any, password: str | None = None) -> Any:
    with server.client(password=password) as client:
        return client.execute_command(*command)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
