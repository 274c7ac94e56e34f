"""The block that the documents use: a JSON value."""

from __future__ import annotations

import json
from collections.abc import Awaitable
from typing import Any, Self

import pydantic_core
from pydantic import BaseModel, ConfigDict

from flowchan.broker import documents
from flowchan.broker.broker import Broker
from flowchan.dual import asked
from flowchan.errors import DecodeError, EncodeError, MessageTooLarge
from flowchan.settings import current_settings
from flowchan.wire import keys


class JSON(BaseModel):
    """A value that is stored under a name: a run's bookmarks, somebody's settings.

    It is kept until it is deleted. A block is stored as a whole: of several who save the last one holds,
    and nobody ever loads half of it. Every verb is awaited in async code and blocks in sync code.

    What is loaded is plain JSON: a tuple that was saved is a list, a date a text, a model a dict.

    A name is of ``[A-Za-z0-9_.-]{1,128}``.
    """

    model_config = ConfigDict(extra="forbid")

    value: Any
    """What pydantic has a JSON form for. Change it as you like; :meth:`save` stores what it is by then."""

    @classmethod
    def load(cls, name: str) -> Awaitable[Self]:
        """The block of this name.

        Raises:
            ValueError: there is none.
            InvalidKeyError: no block can have this name.
            DecodeError: what is stored is no JSON; flowchan has not written it.
            BrokerRefused, BrokerUnavailable: it could not be read.
        """
        settings = current_settings()
        key = keys.json_block(settings.namespace, name)

        async def loaded(broker: Broker) -> Self:
            text = await documents.read(broker, key, _where(name))
            if text is None:
                raise ValueError(f"There is no block {name!r}.")
            return cls(value=_value_of(text, name))

        return asked(loaded, settings)

    def save(self, name: str, overwrite: bool = False) -> Awaitable[None]:
        """Store the value under a name; it is the value at the time of the call.

        Args:
            name: the block's name.
            overwrite: whether to replace a block of this name. Of several who save without, one wins.

        Raises:
            ValueError: there is one, and it is not to be replaced.
            InvalidKeyError: no block can have this name.
            EncodeError: the value has no JSON form.
            MessageTooLarge: it takes more than ``FLOWCHAN_MAX_MESSAGE_BYTES``.
            BrokerRefused, BrokerUnavailable: it is not known to be stored.
        """
        settings = current_settings()
        key = keys.json_block(settings.namespace, name)
        text = _text_of(self.value)
        if len(text) > settings.max_message_bytes:
            raise MessageTooLarge(len(text), settings.max_message_bytes, f" ({_where(name)})")

        async def saved(broker: Broker) -> None:
            if overwrite:
                await documents.write(broker, key, text, _where(name))
            elif not await documents.write_new(broker, key, text, _where(name)):
                raise ValueError(f"There is a block {name!r} already; save(…, overwrite=True) replaces it.")

        return asked(saved, settings)

    @classmethod
    def delete(cls, name: str) -> Awaitable[None]:
        """Delete the block of this name.

        Raises:
            ValueError: there is none.
            InvalidKeyError: no block can have this name.
            BrokerRefused, BrokerUnavailable: it is not known to be deleted.
        """
        settings = current_settings()
        key = keys.json_block(settings.namespace, name)

        async def deleted(broker: Broker) -> None:
            if not await documents.delete(broker, key, _where(name)):
                raise ValueError(f"There is no block {name!r}.")

        return asked(deleted, settings)


def _text_of(value: Any) -> bytes:
    try:
        plain = pydantic_core.to_jsonable_python(value)
        return json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except Exception as error:  # pydantic's, json's, or what a model's own serializer raises
        raise EncodeError(f"Cannot save a value of type {type(value).__name__!r}: it has no JSON form.") from error


def _value_of(text: bytes, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise DecodeError(f"What is stored as {_where(name)} is no JSON.") from None


def _where(name: str) -> str:
    return f"block {name}"


__all__ = ["JSON"]
