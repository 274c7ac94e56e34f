"""Every error that flowchan raises of its own accord.

.. code-block:: text

    FlowchanError
    ├── InvalidSettingError (ValueError)      a FLOWCHAN_* variable or an argument that cannot be used
    ├── InvalidKeyError (ValueError)          a run ID, a channel or a message key that cannot be one
    ├── MissingRunError (RuntimeError)        a run is needed, and there is none
    ├── RespondError (RuntimeError)           the input was not sent by a run
    ├── MessageError                          one message, not the channel
    │   ├── EncodeError (TypeError)           a value that cannot be sent
    │   ├── MessageTooLarge (ValueError)      a value that is larger than a message may be
    │   ├── DecodeError (ValueError)          an entry that cannot be read
    │   │   └── SignatureError                what is not signed as FLOWCHAN_SIGNING_KEYS want it
    │   └── MessagesLost                      some of a sender's messages are not in the stream, or no more
    ├── SendQueueFull                         more un-awaited sends than may wait
    ├── ObjectNotFound (LookupError)          there is no run, deployment or dead letter of that name
    ├── CodeError (RuntimeError)              a flow's code is where no other process finds it
    ├── IllegalTransition (RuntimeError)      a run's state cannot be followed by that one
    │   ├── NotPausedError                    the run that is to be resumed does not wait, or no more
    │   └── RunTakenOver                      somebody else executes the run by now
    ├── InvalidRunInput (ValueError)          what a run is to be resumed with does not fit what it asked for
    ├── FlowPauseTimeout (TimeoutError)       nobody resumed a run in time
    ├── ParameterBindError (TypeError)        a flow cannot be called with these parameters
    ├── ParameterTypeError (TypeError)        a flow's parameters are not of its types
    ├── RunFailed (RuntimeError)              the result of a run that has none was asked for: it failed …
    │   ├── RunCrashed                        … its process ended …
    │   └── RunCancelled                      … or it was cancelled
    └── BrokerError                           what the broker, or the way to it, answered
        ├── BrokerRefused                     it is there and says no (memory, permission, read-only, …)
        │   └── ChannelFull                   as many messages wait in the channel as may
        └── BrokerUnavailable (ConnectionError)   it cannot be reached
            ├── SendOutcomeUnknown            it went away before it said whether the message is stored
            └── ServerNotFound                there is no server binary to start, and no FLOWCHAN_URL

A wait that ends without a message raises Python's own :class:`TimeoutError`, and a message that does
not fit the type that was asked for raises :class:`pydantic.ValidationError`: both are what the callers
of a receive already know how to catch.
"""

from __future__ import annotations

from typing import Any


class FlowchanError(Exception):
    """The base of every error in this module."""

    def __reduce__(self) -> tuple[Any, ...]:
        # On its way back from another process: some are made of other arguments than Exception remembers.
        return _made_again, (type(self), self.args, self.__dict__)


class InvalidSettingError(FlowchanError, ValueError):
    """A ``FLOWCHAN_*`` variable, or an argument that stands for one, cannot be used."""


class InvalidKeyError(FlowchanError, ValueError):
    """A run ID, a channel or a message key is not one; nothing was sent or read."""


class MissingRunError(FlowchanError, RuntimeError):
    """A flow run is needed, none was named, and the caller is in none."""

    def __init__(self, message: str = "Must either provide a flow run ID or be within a flow run.") -> None:
        super().__init__(message)


class RespondError(FlowchanError, RuntimeError):
    """The input's sender is no flow run, so there is nowhere to respond to."""

    def __init__(self) -> None:
        super().__init__("Cannot respond to an input that was not sent by a flow run.")


class MessageError(FlowchanError):
    """One message is at fault; the channel and its other messages are not."""


class EncodeError(MessageError, TypeError):
    """A value cannot be sent; nothing was stored. Names the type and the path of what is at fault."""


class MessageTooLarge(MessageError, ValueError):  # noqa: N818 - the contract's name
    """A message is larger than ``FLOWCHAN_MAX_MESSAGE_BYTES``; nothing was stored.

    Attributes:
        size: what the message takes, in bytes.
        limit: what it may take, in bytes.
    """

    def __init__(self, size: int, limit: int, where: str = "") -> None:
        super().__init__(
            f"The message{where} takes {size:,} bytes; at most {limit:,} are allowed. Nothing was stored."
            " Send a reference to the data, or raise FLOWCHAN_MAX_MESSAGE_BYTES on both sides."
        )
        self.size = size
        self.limit = limit


class DecodeError(MessageError, ValueError):
    """An entry of a stream is not a message that this version can read.

    The receiver that raised it goes on with the next message; the entry stays in its stream.

    Attributes:
        key: the key of the message, where the entry is known, else ``None``.
    """

    def __init__(self, message: str, *, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key


class SignatureError(DecodeError):
    """A message, an answer, a request or a result is not signed with one of ``FLOWCHAN_SIGNING_KEYS``, or for another place.

    It was not delivered, and no part of its value was looked at. The receiver that raised it goes on with the next
    message, and has counted this one (``InputReceiver.refused``).
    """


class MessagesLost(MessageError):  # noqa: N818 - the contract's name
    """A sender's messages are missing: by their numbers they were sent, and they are not in the stream.

    They were trimmed, evicted or deleted, or their time to live was over, or the server lost them when it crashed or
    another took its place. Told once; the next call of the receiver that raised it goes on with the first message behind
    them. Of the receivers of a group one is told.

    It says at most what the sender knows too: where the broker refused a message and took the one behind it, which was
    under way already, the sender got the refusal as an error, or has sent the message again under a later number.

    Attributes:
        first: the number of the first one that is missing; a sender's messages to a channel bear 1, 2, 3, …
        last: the number of the last one.
        count: how many numbers that are. With ``exclude_keys``, some of them may be excluded messages.
        sender: who has sent them, by the sender's own word; None where it gave none.
    """

    def __init__(self, first: int, last: int, *, sender: str | None, where: str) -> None:
        self.first = first
        self.last = last
        self.count: int = last - first + 1
        self.sender = sender
        which = f"Message {first:,}" if first == last else f"Messages {first:,} to {last:,}"
        super().__init__(
            f"{which} of {sender or 'a sender without a name'} to {where} {'is' if first == last else 'are'} lost:"
            " trimmed, deleted, expired, or lost by the server. The next call goes on behind. If they matter, have them"
            " sent again, and see what the server keeps (maxmemory, appendonly, replicas)."
        )


class SendQueueFull(FlowchanError):  # noqa: N818 - the contract's name
    """``FLOWCHAN_MAX_PENDING`` sends wait for the broker already; this one was not accepted."""

    def __init__(self, waiting: int) -> None:
        super().__init__(f"{waiting:,} sends wait for the broker already (FLOWCHAN_MAX_PENDING). Await some of them.")


class ObjectNotFound(FlowchanError, LookupError):  # noqa: N818 - the contract's name
    """There is no run, deployment or dead letter with this ID, name or key: it never was, or it is kept no more."""


class CodeError(FlowchanError, RuntimeError):
    """A flow cannot be served: the processes that execute its runs could not import its code, or not find it there."""


class IllegalTransition(FlowchanError, RuntimeError):  # noqa: N818
    """A run's state cannot be followed by the one that was wanted; nothing was changed. Names both.

    Attributes:
        now: the state that the run has, a :class:`flowchan.states.State`; None where that is not known.
    """

    def __init__(self, message: str, *, now: Any = None) -> None:
        super().__init__(message)
        self.now = now


class NotPausedError(IllegalTransition):
    """The run that is to be resumed is not paused, or no more: somebody else was first, perhaps."""


class RunTakenOver(IllegalTransition):
    """The run is executed by somebody else by now, because its own process was not heard of for too long."""


class InvalidRunInput(FlowchanError, ValueError):  # noqa: N818 - the contract's name
    """What a run is to be resumed with does not fit the schema that it asked for; it stays paused.

    Attributes:
        field: the path of what is at fault, such as ``size`` or ``address.zip``; empty for the input as a whole.
        reason: what is wrong with it.
    """

    def __init__(self, message: str, *, field: str, reason: str) -> None:
        super().__init__(message)
        self.field = field
        self.reason = reason


class FlowPauseTimeout(FlowchanError, TimeoutError):  # noqa: N818 - the contract's name
    """A paused or suspended run was not resumed in time; it has failed."""


class ParameterBindError(FlowchanError, TypeError):
    """A flow cannot be called with these parameters: one is missing, or there is none of that name."""


class ParameterTypeError(FlowchanError, TypeError):
    """A flow's parameters cannot be made the types that it wants."""


class RunFailed(FlowchanError, RuntimeError):  # noqa: N818
    """The result was asked for of a run that failed elsewhere; the text is its state's message."""


class RunCrashed(RunFailed):
    """The result was asked for of a run whose process ended."""


class RunCancelled(RunFailed):
    """The result was asked for of a run that was cancelled."""


class BrokerError(FlowchanError):
    """What the broker, or the way to it, answered."""


class BrokerRefused(BrokerError):  # noqa: N818
    """The broker is there and refused a command.

    Attributes:
        code: the first word of its answer, such as ``OOM``, ``NOPERM`` or ``READONLY``.
    """

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class ChannelFull(BrokerRefused):
    """As many messages wait in the channel as may (``FLOWCHAN_MAX_CHANNEL_LENGTH``); this one was not stored.

    Attributes:
        limit: how many may wait.
    """

    def __init__(self, where: str, limit: int) -> None:
        super().__init__(
            f"The channel is full ({where}): {limit:,} messages wait in it (FLOWCHAN_MAX_CHANNEL_LENGTH). Nothing was"
            " stored. Send again when every group has acknowledged some; one for which nobody works any more is to be"
            " removed (XGROUP DESTROY). A channel that no group works on has no room before it is deleted or kept no"
            " more. Or raise the limit.",
            code="CHANNELFULL",
        )
        self.limit = limit


class BrokerUnavailable(BrokerError, ConnectionError):  # noqa: N818 - the contract's name
    """The broker cannot be reached. Names the server, never its password."""


class SendOutcomeUnknown(BrokerUnavailable):
    """The broker went away before it said whether a message is stored, and has not come back in time.

    To send it again is safe with ``idempotency_key=error.idempotency_key``, to the same run and channel, from any process:
    if the channel holds it, nothing more is stored, and the metadata are those of what was.

    Attributes:
        message_id: the message's ID, which the entry bears if it was stored.
        idempotency_key: the one that it was sent with, or else its ID.
    """

    def __init__(self, message: str, *, message_id: str, idempotency_key: str | None = None) -> None:
        super().__init__(message)
        self.message_id = message_id
        self.idempotency_key: str = idempotency_key or message_id


class ServerNotFound(BrokerUnavailable):
    """No ``FLOWCHAN_URL`` is set and no server binary was found; says what to install."""


def _made_again(kind: type[FlowchanError], args: tuple[Any, ...], state: dict[str, Any]) -> FlowchanError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error
