"""What can be set: one model, read from ``FLOWCHAN_*`` variables on first use, never at import."""

from __future__ import annotations

import base64
import contextlib
import functools
import os
import re
from collections.abc import Generator
from contextvars import ContextVar, Token
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_core import PydanticCustomError

from flowchan.errors import InvalidSettingError

_PREFIX = "FLOWCHAN_"
_SECRET = {"url", "signing_keys"}
_KEY_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_SHORTEST_SECRET = 16

Seconds = Annotated[float, Field(gt=0)]


def _absolute(path: Path) -> Path:
    # Once: a program that changes its folder later keeps its server.
    return path.expanduser().absolute()


def _pairs(keys: SecretStr) -> tuple[tuple[str, bytes], ...]:
    """The signing keys that a text holds: the ID and the secret of each."""
    found: dict[str, bytes] = {}
    for number, part in enumerate(keys.get_secret_value().split(","), 1):
        name, colon, text = part.strip().partition(":")
        problem = ""
        if not colon or not _KEY_ID.fullmatch(name):
            problem = "is not of the form id:secret, with an id of A-Z, a-z, 0-9, '_', '.' and '-'"
        elif name in found:
            problem = "has the id of an earlier one"
        else:
            with contextlib.suppress(ValueError):
                text = text.rstrip("=").replace("-", "+").replace("_", "/")
                found[name] = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
            if len(found.get(name, b"")) < _SHORTEST_SECRET:
                problem = f"has a secret that is not base64 of {_SHORTEST_SECRET} bytes or more"
        if problem:
            raise PydanticCustomError("signing_keys", f"Key no. {number} {problem}")  # pyright: ignore[reportArgumentType]
    return tuple(found.items())


def _checked(keys: SecretStr) -> SecretStr:
    _pairs(keys)
    return keys


def _default_home() -> Path:
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "flowchan"


class Settings(BaseModel):
    """The settings of one broker's clients; each field is the variable ``FLOWCHAN_<FIELD>``."""

    # Built on first use: it would be a twentieth of the package's time to import.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)

    url: str | None = Field(default=None, repr=False)
    """Where the broker is: ``redis://``, ``rediss://``, ``unix://`` or ``valkey://``. None: embedded.

    Any node of a Cluster will do, or several: ``redis://a:7000,b:7000``. With Sentinel, it names the sentinels and
    what they watch: ``redis+sentinel://[user:password@]a:26379,b:26379/service[/database]``, where
    ``?sentinel_password=…`` is theirs. Both also as ``rediss``, ``valkey`` and ``valkeys``.
    """

    namespace: str = Field(default="flowchan", pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    """The first part of every key. Two namespaces never see each other's messages."""

    allow_plaintext: bool = False
    """Whether the URL may lead over a network without TLS."""

    signing_keys: Annotated[SecretStr, AfterValidator(_checked)] | None = Field(default=None, repr=False)
    """``id:secret,id2:secret2,…``, the secrets in base64: the first signs what is sent, all are good for what is
    received, and what none of them has signed is refused. None: nothing is signed, and no signature is looked at."""

    connect_timeout: Seconds = 5.0
    """Seconds to reach the broker before ``BrokerUnavailable``."""

    send_timeout: Seconds = 30.0
    """Seconds that a send outlives a broker that went away before it answered."""

    max_pending: int = Field(default=10_000, ge=1)
    """Sends that may wait for the broker's answer at once, per event loop."""

    max_message_bytes: int = Field(default=1024 * 1024, ge=1)
    """Bytes that one message may take, encoded."""

    retention: Seconds = 7 * 24 * 3600.0
    """Seconds that a channel is kept after its last message, and a run after its last change. While the run waits to be
    resumed both are kept until it can be resumed no more, and for so long."""

    retention_after_end: Seconds = 24 * 3600.0
    """Seconds that a run's channels are kept after its end, or their last message after that; at most ``retention``.
    The run itself, with its result, is kept for ``retention``."""

    max_channel_length: int | None = Field(default=None, ge=1)
    """Messages that may wait in one channel; one more is refused (``ChannelFull``). None: no limit.

    Where groups work on a channel, what the last of them has not acknowledged waits, and what all have done with is
    removed when there is no room. Elsewhere all messages wait, until their channel is kept no more.
    """

    lease: Seconds = 15.0
    """Seconds that a run's execution outlives the last word of the process that executes it."""

    home: Annotated[Path, AfterValidator(_absolute)] = Field(default_factory=_default_home, validate_default=True)
    """The folder of the embedded server's data."""

    server_bin: Path | None = None
    """The server binary to embed, before any other that is found."""

    server_idle: Seconds = 60.0
    """Seconds without a client after which the embedded server stops."""

    server_fsync: str = Field(default="everysec", pattern="^(always|everysec|no)$")
    """When the embedded server's file reaches the disk: before each answer, every second, or as the system likes."""

    def __hash__(self) -> int:
        # Every call looks its broker up by these.
        return hash((self.url, self.namespace, self.home))

    @property
    def signing_pairs(self) -> tuple[tuple[str, bytes], ...]:
        """The signing keys, each with its ID; for :mod:`flowchan.wire.signing`, and for nobody to print."""
        return _pairs(self.signing_keys) if self.signing_keys is not None else ()

    @property
    def retention_after_end_ms(self) -> int:
        """Milliseconds that a run's channels are kept after its end."""
        return int(min(self.retention_after_end, self.retention) * 1000)

    def in_the_clear(self) -> dict[str, Any]:
        """All settings in JSON, secrets too: for a process of our own, over a line that nobody else reads."""
        keys = self.signing_keys.get_secret_value() if self.signing_keys is not None else None
        return {**self.model_dump(mode="json"), "signing_keys": keys}

    @classmethod
    def from_environment(cls) -> Settings:
        """Read the variables as they are now.

        Raises:
            InvalidSettingError: one cannot be used; names it, and its value unless that may be secret.
        """
        # Every call outside a run comes here, and os.environ takes a microsecond for each variable that is not set.
        inside: Any = getattr(os.environ, "_data", None)
        if inside is None:
            return _read(tuple(map(os.environ.get, _VARIABLES)))
        return _read(tuple(map(inside.get, _VARIABLES_INSIDE)))


# With what the default of `home` is made of, for a setting is read again when its variable has changed.
_VARIABLES = (*(_PREFIX + field.upper() for field in Settings.model_fields), "XDG_DATA_HOME", "HOME")
_VARIABLES_INSIDE = tuple(map(os.fsencode, _VARIABLES))

_chosen: ContextVar[Settings | None] = ContextVar("flowchan_settings", default=None)


def current_settings() -> Settings:
    """The settings that hold here: those chosen by a run or an explicit client, else the environment's.

    Raises:
        InvalidSettingError: a variable cannot be used.
    """
    return _chosen.get() or Settings.from_environment()


def choose(settings: Settings) -> Token[Settings | None]:
    """Have these settings hold from here on, until the choice is taken back."""
    return _chosen.set(settings)


def take_back(choice: Token[Settings | None]) -> None:
    """Have the settings hold again that held before a choice."""
    with contextlib.suppress(ValueError):  # left in another context, as a generator that its loop closes is
        _chosen.reset(choice)


@contextlib.contextmanager
def chosen(settings: Settings) -> Generator[None]:
    """Have these settings hold within the block."""
    choice = choose(settings)
    try:
        yield
    finally:
        take_back(choice)


@functools.lru_cache(maxsize=64)
def _read(surroundings: tuple[str | bytes | None, ...]) -> Settings:
    given = zip(Settings.model_fields, surroundings, strict=False)
    values = {field: os.fsdecode(value) for field, value in given if value}
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        field = str(problem["loc"][0])
        value = "" if field in _SECRET else f" ({values.get(field)!r})"
        raise InvalidSettingError(f"{_PREFIX}{field.upper()}{value} cannot be used: {problem['msg']}.") from None
