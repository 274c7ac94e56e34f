"""A receiver: an iterator over what a run is sent, typed, in order, each message once."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import time
from collections.abc import Awaitable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

import anyio
from pydantic import BaseModel, ValidationError

from flowchan import bridge
from flowchan.broker.broker import Broker, broker_of_this_loop
from flowchan.broker.source import Entry
from flowchan.broker.subscription import Subscription
from flowchan.broker.work import Work
from flowchan.context import calls_are_async
from flowchan.errors import BrokerUnavailable, DecodeError, MessagesLost
from flowchan.input import position
from flowchan.input.body import instance_of, is_made_for_a_type
from flowchan.input.handling import Worker
from flowchan.input.sequences import Sequences
from flowchan.input.sharing import NOTHING, Burial, Sharing
from flowchan.input.terms import Terms
from flowchan.input.types import Body
from flowchan.input.vetting import Vetting
from flowchan.settings import Settings
from flowchan.wire import codec, keys
from flowchan.wire.envelope import FOR_GROUP, Envelope, from_fields
from flowchan.wire.signing import Keyring

if TYPE_CHECKING:
    from types import TracebackType

T_co = TypeVar("T_co", covariant=True)

_in_order = threading.Lock()
_AHEAD = 64


class _ClosedError(RuntimeError):
    """A receiver was closed by whom it belongs to; one that waits in a loop leaves the loop."""

    def __init__(self) -> None:
        super().__init__("The receiver was closed.")


class InputReceiver(Generic[T_co]):
    """Yields the messages of one run that fit one type, from the first on, then as they come.

    Guarantees: oldest first; each message once; nothing is consumed, so another receiver gets the same. With a
    ``group`` the receivers of that name share the messages: each is handed to one of them, and again to another if it
    was not acknowledged (:meth:`ack`, or the call for the next) before the task, thread or process that asked for it was
    gone for ``FLOWCHAN_LEASE``.
    Cancelling a wait loses and repeats nothing. A message that does not fit raises
    ``pydantic.ValidationError``, one that cannot be read ``DecodeError``, and what a sender has sent and the stream does
    not hold ``MessagesLost``: once (to one of a ``group``), and the next call goes on behind it. It can be used from async
    and from sync code, from several tasks and threads: each message goes to one of them. It may move from one event loop to another (all synchronous code shares one), but is
    waited for on one at a time.
    """

    def __init__(
        self,
        model: type[BaseModel],
        channels: Mapping[str, Body | None],
        run: str,
        settings: Settings,
        *,
        unwrap: bool,
        timeout: float | None,
        poll_interval: float,
        raise_timeout_error: bool,
        exclude_keys: Iterable[str] | None,
        after: str | None,
        terms: Terms | None = None,
    ) -> None:
        self._model = model
        self._is_carrier = is_made_for_a_type(model)
        self._settings = settings
        self._max_bytes = settings.max_message_bytes
        self._unwrap = unwrap
        self._timeout = position.seconds(timeout, "timeout")
        self._poll_interval = position.seconds(poll_interval, "poll_interval") or 0.0
        self._raise_timeout_error = raise_timeout_error
        self._bodies = {keys.stream(settings.namespace, run, channel): body for channel, body in channels.items()}
        self._excluded = position.exclusions(self._bodies, exclude_keys)
        self._last = position.cursors(self._bodies, after)
        self._sharing = Sharing(terms, settings, model) if terms is not None else None
        keyring = Keyring.of(settings.signing_pairs)
        self._vetting = Vetting(keyring, shares=terms is not None) if keyring is not None else None
        self._ready: list[Entry] = []
        self._bound: tuple[Broker, Subscription | Work] | None = None
        self._sequences = Sequences(self._excluded, from_the_first=after is None)
        self._is_closed = False

    # --- what users call -------------------------------------------------------------------------

    def next(self) -> Awaitable[T_co]:
        """Wait for the next message. In sync code it blocks and returns the message itself.

        Raises:
            TimeoutError: none came within ``timeout`` seconds. The receiver can go on.
            ValidationError: one came and does not fit the type.
            DecodeError: one came and cannot be read.
            SignatureError: likewise, because it is not signed as ``FLOWCHAN_SIGNING_KEYS`` want it.
            MessagesLost: some that were sent are missing in front of the next one. The next call has that one.
            BrokerUnavailable: the time is up, and the broker cannot be reached.
            RuntimeError: the receiver was closed, or is waited for on another event loop.
        """
        if calls_are_async():
            return self._next() if self._sharing is None else self._next_shared(self._sharing, self._sharing.asks())
        return cast("Awaitable[T_co]", self._next_here())

    @property
    def refused(self) -> int:
        """How many messages were not delivered because of their signatures; 0 without ``FLOWCHAN_SIGNING_KEYS``."""
        return self._vetting.refused if self._vetting is not None else 0

    def ack(self) -> Awaitable[None]:
        """Under ``group``: what the calling task, or thread, asked for last is done with, and comes to nobody again.

        Asking for the next message says the same. In async code it is on its way when the call returns, and ``await``
        waits until the broker knows.

        Raises:
            RuntimeError: the receiver is of no group.
        """
        if self._sharing is None:
            raise RuntimeError("Only a receiver with a group acknowledges what it was handed.")
        return self._sharing.ack()

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Awaitable[T_co]:
        if self._sharing is None:
            return self._next(in_loop=True)
        # Here, not in there: who asks may be another task than the one that waits.
        return self._step(self._sharing, self._sharing.asks())

    async def _step(self, sharing: Sharing, asker: Worker) -> T_co:
        try:
            return await self._next_shared(sharing, asker)
        except (TimeoutError, _ClosedError) as end:
            if self._ends_loop(end):
                raise StopAsyncIteration from None
            raise

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T_co:
        try:
            return self._next_here()
        except (TimeoutError, _ClosedError) as end:
            if self._ends_loop(end):
                raise StopIteration from None
            raise

    def close(self) -> None:
        """Free what the broker and this process hold for the receiver. It yields nothing more."""
        self._is_closed = True
        self._ready.clear()
        if self._sharing is not None:
            self._sharing.forget()
        self._unbind()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        bound = self._bound
        self.close()
        if bound is not None and not calls_are_async():
            with contextlib.suppress(Exception):  # the groups fall to their time to live
                bridge.call(functools.partial(_freed, subscription=bound[1]), self._settings)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        bound = self._bound
        self.close()
        if bound is not None and bound[0].loop is asyncio.get_running_loop():
            with contextlib.suppress(Exception):  # likewise
                await _freed(*bound)

    # --- waiting ---------------------------------------------------------------------------------

    async def _next(self, *, in_loop: bool = False) -> T_co:
        broker = broker_of_this_loop(self._settings)
        timeout, deadline = self._timeout, 0.0
        while True:
            try:
                entry = self._buffered() if self._ready else self._subscription(broker).take()
                if entry is None:
                    if timeout is not None:
                        # Of one call, however many messages it passes over.
                        deadline = deadline or broker.loop.time() + timeout
                        timeout = max(0.0, deadline - broker.loop.time())
                    entry = await self._subscription(broker).get(timeout)
            except (TimeoutError, BrokerUnavailable, _ClosedError) as error:
                end = self._end_of_wait(error)
                if in_loop and self._ends_loop(end):
                    raise StopAsyncIteration from None
                raise end from None
            try:
                envelope = self._envelope(entry)
            except MessagesLost:
                self._share_ready()
                raise
            if envelope is not None:
                return self._value(entry, envelope)

    def _next_blocking(self) -> T_co:
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        while True:
            # Together: what one thread takes first must not count as a copy because another was quicker with the next.
            try:
                with _in_order:
                    entry = self._buffered()
                    envelope = None if entry is None else self._envelope(entry)
            except MessagesLost:
                self._share_ready()
                raise
            if entry is None:
                timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
                bridge.call(functools.partial(self._fill, timeout=timeout), self._settings)
                continue
            if envelope is not None:
                return self._value(entry, envelope)

    def _share_ready(self) -> None:
        """Let who waits already have what was left for the next call: it may be that nobody calls."""
        bound = self._bound
        if bound is None:
            return
        broker, subscription = bound

        def share() -> None:
            with _in_order:
                while self._ready and isinstance(subscription, Subscription) and subscription.is_waited_for:
                    subscription.put_back(self._ready.pop())

        if broker.loop is bridge.loop_of_this_thread():
            share()
        else:
            with contextlib.suppress(RuntimeError):  # the loop ended, and who waited there with it
                broker.loop.call_soon_threadsafe(share)

    def _next_here(self) -> T_co:
        """The next message, in sync code."""
        if self._sharing is None:
            return self._next_blocking()
        return self._next_shared_here(self._sharing, self._sharing.asks())

    # --- under a group ---------------------------------------------------------------------------

    async def _next_shared(self, sharing: Sharing, asker: Worker) -> T_co:
        broker = broker_of_this_loop(self._settings)
        deadline = None if self._timeout is None else broker.loop.time() + self._timeout
        timeout = self._timeout
        while True:
            entry = self._buffered() or await self._wait(broker, timeout)
            found, burial = self._take(sharing, asker, self._work(broker), entry)
            if found is not NOTHING:
                return cast("T_co", found)
            if deadline is not None:
                timeout = max(0.0, deadline - broker.loop.time())
            if burial is not None:
                await burial(timeout)

    def _next_shared_here(self, sharing: Sharing, asker: Worker) -> T_co:
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        while True:
            entry = self._buffered()
            timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
            if entry is None or self._bound is None:
                bridge.call(functools.partial(self._fill, timeout=timeout), self._settings)
                continue
            found, burial = self._take(sharing, asker, self._work(self._bound[0]), entry)
            if found is not NOTHING:
                return cast("T_co", found)
            if burial is not None:
                bury = burial
                bridge.call(lambda _: bury(timeout), self._settings)  # noqa: B023 - it has ended when this returns

    def _take(self, sharing: Sharing, asker: Worker, work: Work, entry: Entry) -> tuple[Any, Burial | None]:
        missing = work.missing_before(entry)
        if missing is not None:
            sharing.tell(work, entry, missing, self._vetting)
        return sharing.take(asker, work, entry, self._read)

    def _read(self, entry: Entry) -> Any:
        envelope = self._envelope(entry)
        return NOTHING if envelope is None else self._value(entry, envelope)

    def _work(self, broker: Broker) -> Work:
        work = self._subscription(broker)
        assert isinstance(work, Work)  # noqa: S101 - the receiver has a group
        return work

    async def _fill(self, broker: Broker, timeout: float | None) -> None:  # noqa: ASYNC109 - passed on
        # Into the buffer rather than back to the caller: if the caller is interrupted, nothing is lost.
        if self._ready:
            return  # another thread has filled it on the way here
        subscription = self._subscription(broker)
        self._ready.append(await self._wait(broker, timeout))
        if not subscription.is_waited_for:  # else the rest is for those who wait
            self._ready.extend(subscription.take_ready(_AHEAD))

    def _buffered(self) -> Entry | None:
        if self._ready:
            with contextlib.suppress(IndexError):  # another thread was quicker
                return self._ready.pop(0)
        return None

    async def _wait(self, broker: Broker, timeout: float | None) -> Entry:  # noqa: ASYNC109 - likewise
        try:
            return await self._subscription(broker).get(timeout)
        except BrokerUnavailable as error:
            raise self._end_of_wait(error) from None

    def _end_of_wait(self, error: Exception) -> Exception:
        return _ClosedError() if self._is_closed and isinstance(error, BrokerUnavailable) else error

    def _ends_loop(self, end: Exception) -> bool:
        """Whether a loop just ends; else it raises."""
        return isinstance(end, _ClosedError) or (isinstance(end, TimeoutError) and not self._raise_timeout_error)

    def _subscription(self, broker: Broker) -> Subscription | Work:
        bound = self._bound
        if bound is not None and bound[0] is broker:
            return bound[1]
        if self._is_closed:
            raise _ClosedError
        if bound is not None and bound[1].is_waited_for:
            raise RuntimeError("The receiver is waited for on another event loop. Make one for each loop.")
        self._unbind()
        last = dict(self._last)
        for entry in self._ready:
            last[entry.stream] = entry.id
        subscription: Subscription | Work
        if self._sharing is None:
            subscription = broker.hub.subscribe(last, excluded=self._excluded, poll_interval=self._poll_interval)
        else:
            subscription = self._sharing.work(broker, last, self._poll_interval)
        self._bound = broker, subscription
        return subscription

    def _unbind(self) -> None:
        bound, self._bound = self._bound, None
        if bound is not None:
            _free(*bound)

    def __del__(self) -> None:
        bound = getattr(self, "_bound", None)  # not there if an argument was wrong
        if bound is not None:
            # Later, on its loop: the collector may come in the middle of what closing would do.
            with contextlib.suppress(RuntimeError):  # the loop ended, and what it held with it
                bound[0].loop.call_soon_threadsafe(bound[1].close)

    # --- from entry to value ---------------------------------------------------------------------

    def _envelope(self, entry: Entry) -> Envelope | None:
        """What the entry holds; None if it is a message that was yielded before."""
        self._last[entry.stream] = entry.id
        try:
            envelope = from_fields(entry.fields)
            if self._vetting is not None and not self._vetting.passes(entry, envelope):
                return None
        except DecodeError as error:
            self._sequences.could_not_read(entry)
            raise _keyed(error, entry) from None
        if self._sharing is not None:
            # What comes again comes so because nobody has acknowledged it.
            return (
                envelope if self._sharing.is_for_it(envelope) and entry.id not in self._excluded[entry.stream] else None
            )
        if FOR_GROUP in envelope.headers:
            return None
        try:
            if self._sequences.takes(entry, envelope):
                return envelope
        except MessagesLost:
            # This one is still to be had, by the next call.
            self._last[entry.stream] = entry.id.before()
            self._ready.insert(0, entry)
            raise
        if self._vetting is not None:
            self._vetting.pass_over(entry)
        return None

    def _value(self, entry: Entry, envelope: Envelope) -> T_co:
        try:
            body = codec.decode(envelope.body, max_bytes=self._max_bytes)
        except DecodeError as error:
            raise _keyed(error, entry) from None
        instance = self._instance(entry.stream, body)
        object.__setattr__(
            instance, "_received", (entry.stream, entry.id, envelope.sender, self._settings, entry.deliveries)
        )
        return cast("T_co", instance.value if self._unwrap else instance)  # type: ignore[attr-defined]

    def _instance(self, stream: str, body: Any) -> BaseModel:
        form = self._bodies[stream]
        if self._is_carrier and form is not Body.VALUE:
            if form is Body.FIELDS or (isinstance(body, dict) and set(body) != {"value"}):
                body = {"value": body}
            else:
                # A channel with a name of the user's own: a plain value, or a model of one field `value`.
                try:
                    return instance_of(self._model, body)
                except ValidationError:
                    with contextlib.suppress(ValidationError):
                        return instance_of(self._model, {"value": body})
                    raise
        return instance_of(self._model, body)


async def _freed(broker: Broker, subscription: Subscription | Work) -> None:
    """Wait until the broker has done what it was asked to free."""
    with anyio.move_on_after(1.0):
        await broker.commands.call("PING")
        if isinstance(subscription, Work):
            await subscription.freed()


def _free(broker: Broker, subscription: Subscription | Work) -> None:
    """Close a subscription on its own loop, from wherever the receiver ended."""
    with contextlib.suppress(RuntimeError):
        if asyncio.get_running_loop() is broker.loop:
            subscription.close()
            return
    with contextlib.suppress(RuntimeError):  # the loop ended, and what it held with it
        broker.loop.call_soon_threadsafe(subscription.close)


def _keyed(error: DecodeError, entry: Entry) -> DecodeError:
    _, run, channel = keys.address(entry.stream)
    key = keys.message_key(entry.stream, entry.id)
    return type(error)(f"Message {key} cannot be read (run {run}, channel {channel}): {error}", key=key)
