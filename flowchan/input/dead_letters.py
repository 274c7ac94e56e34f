"""Messages that a group is not handed any more, to be looked at, sent again or thrown away."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

from flowchan.broker.broker import Broker
from flowchan.broker.dead_letters import Letter
from flowchan.context import run_or_current
from flowchan.dual import asked
from flowchan.errors import DecodeError, ObjectNotFound
from flowchan.input.metadata import RunInputMetadata, metadata_of
from flowchan.run import run_of_key
from flowchan.settings import Settings, current_settings
from flowchan.wire import codec, keys
from flowchan.wire.envelope import from_fields

D = TypeVar("D", bound="DeadLetter")


class DeadLetter:
    """A message that a group is not handed any more, as it was when it was read.

    The message itself stays in its channel, where receivers without a group see it as ever.

    Attributes:
        key: the dead letter's own key.
        message_key: that of the message.
        flow_run_id: the run that the message was sent to.
        channel: the channel that it was sent on.
        group: the group.
        reason: ``"invalid"``: it did not fit the type that was asked for. ``"unreadable"``: it could not be decoded.
            ``"max-deliveries"``: it was handed out as often as it may be, and never acknowledged.
        error: what was wrong with it, without a word of what it holds; empty for ``"max-deliveries"``.
        deliveries: how often it was handed out.
        died_at: when it became one, by the broker's clock, in UTC.
    """

    __slots__ = (
        "_letter", "_settings", "channel", "deliveries", "died_at", "error", "flow_run_id", "group", "key",
        "message_key", "reason",
    )  # fmt: skip

    def __init__(self, letter: Letter, settings: Settings) -> None:
        self._letter = letter
        self._settings = settings
        dead = keys.dead_letters(settings.namespace, letter.run, letter.channel, letter.group)
        self.key: str = keys.dead_letter_key(dead, letter.entry)
        self.message_key: str = letter.key
        self.flow_run_id: UUID | str = run_of_key(letter.run)
        self.channel: str = letter.channel
        self.group: str = letter.group
        self.reason: str = letter.reason
        self.error: str = letter.error
        self.deliveries: int = letter.deliveries
        self.died_at: datetime = datetime.fromtimestamp(letter.entry.ms / 1000, UTC)

    def __repr__(self) -> str:
        # Without the value: that is the user's.
        return f"DeadLetter(key={self.key!r}, group={self.group!r}, reason={self.reason!r})"

    @property
    def sender(self) -> str | None:
        """Who sent it, by the sender's own word; None where nobody says so, or it cannot be read."""
        try:
            return from_fields(self._letter.fields).sender
        except DecodeError:
            return None

    @property
    def value(self) -> Any:
        """What was sent: the bare value, or a model's fields by their names.

        Raises:
            DecodeError: it cannot be read.
        """
        try:
            body = codec.decode(from_fields(self._letter.fields).body, max_bytes=self._settings.max_message_bytes)
        except DecodeError as error:
            raise DecodeError(f"Dead letter {self.key} cannot be read: {error}", key=self.message_key) from None
        return body["value"] if isinstance(body, dict) and body.keys() == {"value"} else body

    def resend(self) -> Awaitable[RunInputMetadata]:
        """Send the message to its channel again, for its group alone, and remove the dead letter: both or neither.

        Nobody but the group sees it a second time, and the group counts its deliveries anew. However often this is
        called, from whatever process, it is sent once, and each call returns that message's metadata.

        Raises:
            ObjectNotFound: it is there no more: it was discarded, or kept for ``FLOWCHAN_RETENTION``.
        """
        letter, settings, sender = self._letter, self._settings, self.sender

        async def resend(broker: Broker) -> RunInputMetadata:
            entry = await broker.dead_letters.resend(letter)
            if entry is None:
                raise self._gone()
            return metadata_of(keys.stream(settings.namespace, letter.run, letter.channel), entry, sender)

        return asked(resend, settings)

    def discard(self) -> Awaitable[None]:
        """Throw the dead letter away. The message stays in its channel.

        Raises:
            ObjectNotFound: it is there no more.
        """
        letter = self._letter

        async def discard(broker: Broker) -> None:
            if not await broker.dead_letters.discard(letter):
                raise self._gone()

        return asked(discard, self._settings)

    def _gone(self) -> ObjectNotFound:
        return ObjectNotFound(f"There is no dead letter {self.key} any more.")


def read_dead_letters(
    flow_run_id: UUID | str | None = None, key_prefix: str | None = None, group: str | None = None
) -> Awaitable[list[DeadLetter]]:
    """The messages of a run that its groups are not handed any more, oldest first.

    Args:
        flow_run_id: the run; by default the current one.
        key_prefix: only those of this channel.
        group: only those of this group.

    Raises:
        MissingRunError: no run was named, and the caller is in none.
        InvalidKeyError: a name can be none.
        BrokerRefused, BrokerUnavailable: they could not be read.
    """
    return letters_of(DeadLetter, flow_run_id, key_prefix, group)


def letters_of(
    kind: type[D], flow_run_id: UUID | str | None, key_prefix: str | None, group: str | None
) -> Awaitable[list[D]]:
    """As :func:`read_dead_letters`, of a kind."""
    run = run_or_current(flow_run_id)
    channel = None if key_prefix is None else keys.channel_name(key_prefix)
    name = None if group is None else keys.group_name(group)
    settings = current_settings()

    async def read(broker: Broker) -> list[D]:
        return [kind(letter, settings) for letter in await broker.dead_letters.read(run, channel, name)]

    return asked(read, settings)
