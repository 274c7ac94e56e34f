"""From records to runs and back: the one place that knows what a run's record says."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self
from uuid import UUID

from flowchan.broker.broker import Broker
from flowchan.broker.records import Outcome
from flowchan.errors import (
    DecodeError,
    FlowPauseTimeout,
    IllegalTransition,
    NotPausedError,
    ObjectNotFound,
    RunTakenOver,
    SignatureError,
)
from flowchan.run import FlowRun, run_of_key
from flowchan.settings import Settings
from flowchan.states import FOLLOWS, State, StateType, Withheld
from flowchan.wire import codec, keys
from flowchan.wire.excluded import Excluded
from flowchan.wire.keys import EntryId
from flowchan.wire.signing import Keyring

YEAR = 365 * 24 * 3600.0
"""Seconds that a run is kept which waits without a limit, to be resumed."""

_POLL = 10.0
_LINGER = 3600.0
"""Seconds that the stream of a run's states outlives the run."""


class Change(NamedTuple):
    """A run's next state, and what goes with it. Times are in seconds."""

    state: State
    holder: str | None = None
    """Who executes the run, and alone may make this change."""
    expected: State | None = None
    """The state that it must have, this very one."""
    lease: float | None = None
    """After which time without a word of its holder it counts as crashed; None: it is not executed."""
    expires: float | None = None
    """After which time nobody can resume it."""
    inputs: Mapping[str, bytes] = {}
    """What is stored with the run's inputs, such as the response to what it asked for."""
    deployment: UUID | None = None
    """Whose servers are asked to execute it."""
    fields: Mapping[str, bytes] = {}
    """What else is to be known of the run."""
    clear: Sequence[str] = ()
    """What is to be known no more."""
    counts: Sequence[str] = ()
    """What is counted with it: ``run_count`` where an execution begins, ``failures`` where one is to be tried again."""
    forget: Sequence[str] = ()
    """What is stored with the run's inputs no more."""
    in_time: bool = False
    """Whether it must not be made when the run's pause has expired."""
    overdue: bool = False
    """Whether it must not be made before the run is overdue, nor while that may be the broker's doing."""
    witnessed: int | None = None
    """Until when the broker is known to have been there (its milliseconds): a lease that was over by then was not
    renewed. One of which that is not known is doubted at first, and over when it was not renewed for another lease."""


async def begin(broker: Broker, run: FlowRun, change: Change, parameters: bytes | None) -> EntryId:
    """Make a run's record, with its first state; the state's entry.

    Raises:
        IllegalTransition: there is a run with this ID already.
    """
    fields: dict[str, Any] = {"name": run.name, **change.fields}
    if run.flow_name is not None:
        fields["flow"] = run.flow_name
    if run.tags:
        fields["tags"] = json.dumps(run.tags)
    if run.parent_id is not None:
        fields["parent"] = str(run.parent_id)
    if run.deployment_id is not None:
        fields |= {"deployment": str(run.deployment_id), "deployment_name": run.deployment_name or ""}
    if parameters is not None:
        fields["parameters"] = parameters
    keyring = Keyring.of(broker.settings.signing_pairs)
    if keyring is not None and run.deployment_id is not None:
        record = keys.record(broker.settings.namespace, keys.run_id(run.id))
        fields["signature"] = keyring.sign_request(record, str(run.deployment_id), parameters or b"")
    outcome = await _change(broker, run.id, change._replace(fields=fields), {"new": True})
    if outcome.what != "done":
        raise IllegalTransition(f"Run {run.id} was not made: there is one with this ID, {_now(outcome)}.")
    return outcome.entry


async def change(broker: Broker, run: UUID | str, change: Change) -> EntryId | None:
    """Give a run its next state; the state's entry. None where it was to be overdue and is not.

    Raises:
        ObjectNotFound: there is no such run.
        NotPausedError: it was to be resumed, and is not paused.
        IllegalTransition: that state cannot follow the one that it has; names both.
        RunTakenOver: it is no more the holder's.
        FlowPauseTimeout: it was to be resumed in time, and it is too late.
    """
    outcome = await _change(broker, run, change, {})
    match outcome.what:
        case "done":
            return outcome.entry
        case "early":
            return None
        case "unknown":
            raise no_such_run(run)
        case "lost":
            now = _now(outcome)
            text = f"Run {run} is executed here no more: it is {now.name!r}, and cannot become {change.state.name!r}."
            raise RunTakenOver(text, now=now)
        case "expired":
            raise FlowPauseTimeout(f"Run {run} was not resumed in time.")
        case _:
            pass
    now = _now(outcome)
    kind: type[IllegalTransition] = IllegalTransition
    if change.expected is not None and change.expected.is_paused():
        kind = NotPausedError
    raise kind(f"Run {run} cannot become {change.state.name!r}: it is {now.name!r}.", now=now)


async def read(broker: Broker, run: UUID | str) -> FlowRun:
    """What is known of a run.

    Raises:
        ObjectNotFound: nothing is.
    """
    fields = await broker.records.fetch(keys.run_id(run))
    if "type" not in fields:
        raise no_such_run(run)
    return _run(broker, keys.run_id(run), fields)


async def read_request(broker: Broker, run: str, deployment: str) -> FlowRun:
    """What is known of a run that a deployment is to execute.

    Raises:
        ObjectNotFound: nothing is.
        SignatureError: there are signing keys, and nobody who has one asked for it, of this deployment and so.
    """
    fields = await broker.records.fetch(run)
    if "type" not in fields:
        raise no_such_run(run)
    keyring = Keyring.of(broker.settings.signing_pairs)
    if keyring is not None:
        record, parameters = keys.record(broker.settings.namespace, run), fields.get("parameters", b"")
        try:
            keyring.verify_request(fields.get("signature"), record, deployment, parameters)
        except SignatureError as error:
            raise SignatureError(f"The request for run {run} is refused: {error}") from None
    return _run(broker, run, fields)


async def read_with_clock(broker: Broker, run: UUID | str) -> tuple[FlowRun, bool]:
    """What is known of a run, and whether it is overdue by the broker's clock.

    Raises:
        ObjectNotFound: nothing is.
    """
    key = keys.run_id(run)
    fields, is_overdue = await broker.records.fetch_with_clock(key)
    if "type" not in fields:
        raise no_such_run(run)
    return _run(broker, key, fields), is_overdue


async def newest(
    broker: Broker, limit: int, state: frozenset[StateType] | None = None, flow: str | None = None
) -> list[FlowRun]:
    """The newest runs, at most ``limit``, newest first: those of some types of state, and of a flow, if these are given."""
    found: list[FlowRun] = []
    before: tuple[int, str] | None = None
    while True:
        page = await broker.records.newest(max(limit, 64), before)
        records = await broker.records.fetch_all([run for _, run in page])
        for (_, run), fields in zip(page, records, strict=True):
            if "type" not in fields:
                continue
            made = _run(broker, run, fields)
            assert made.state is not None  # noqa: S101 - it is among the fields
            if (state is None or made.state.type in state) and flow in (None, made.flow_name):
                found.append(made)
        if len(found) >= limit or len(page) < max(limit, 64):
            return found[:limit]
        before = page[-1]


class Following:
    """The states of a run behind one of them, pushed as they come."""

    def __init__(self, broker: Broker, run: UUID | str, after: EntryId, poll_interval: float = _POLL) -> None:
        stream = keys.states(broker.settings.namespace, keys.run_id(run))
        self._subscription = broker.hub.subscribe(
            {stream: after}, excluded={stream: Excluded(stream)}, poll_interval=poll_interval
        )

    async def next(self, timeout: float | None) -> tuple[State, EntryId]:  # noqa: ASYNC109 - as Subscription.get
        """The next state.

        Raises:
            TimeoutError: none came in time.
            BrokerUnavailable: likewise, and the broker cannot be reached.
        """
        entry = await self._subscription.get(timeout)
        return _state(entry.fields), entry.id

    def close(self) -> None:
        """Free what the broker holds for it."""
        self._subscription.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


async def history(broker: Broker, run: UUID | str) -> list[State]:
    """All states of a run, oldest first; as many as are kept. An hour after its end the messages of all but the last are gone."""
    key = keys.run_id(run)
    stream = keys.states(broker.settings.namespace, key)
    entries = await broker.persistent.call(f"run {run}", "XRANGE", stream, "-", "+")
    if entries:
        return [_state(fields) for _, fields in entries]
    fields = await broker.records.fetch(key)
    known: list[State] = []
    for number in itertools.count(2):  # 1 is the last, which is known in full
        if f"was-{number}" not in fields:
            break
        kind, timestamp, name = fields[f"was-{number}"].decode().split(" ", 2)
        known.append(State.model_validate({"type": kind, "timestamp": timestamp, "name": name}))
    last = [state_of(fields["type"], fields["state_id"], fields["state"])] if "type" in fields else []
    return [*reversed(known), *last]


def no_such_run(run: UUID | str) -> ObjectNotFound:
    """The error that says so."""
    return ObjectNotFound(f"There is no flow run {run}: it never was, or it is kept no more.")


async def _change(broker: Broker, run: UUID | str, change: Change, more: Mapping[str, Any]) -> Outcome:
    state = change.state
    fields = dict(change.fields)
    clear = list(change.clear)
    if change.holder is not None and "new" in more:
        fields["holder"] = change.holder.encode()
    if change.lease is None:
        clear.append("holder")
    told: dict[str, Any] = {
        **more,
        "type": state.type.value,
        "follows": {kind.value: True for kind in FOLLOWS[state.type]},
        "set": {name: value for name, value in fields.items() if name not in clear},
        "inputs": dict(change.inputs),
        "clear": clear,
        "counts": list(change.counts),
        "forget": list(change.forget),
        "in_time": change.in_time,
        "overdue": change.overdue,
        "grace": int(broker.settings.lease * 1000),
    }
    if change.holder is not None and "new" not in more:
        told["holder"] = change.holder
    if change.witnessed is not None:
        told["witnessed"] = change.witnessed
    if change.expected is not None:
        told["expected"] = str(change.expected.id)
    due = change.lease if change.lease is not None else change.expires
    if due is not None:
        told["due"] = int(due * 1000)
    if change.expires is not None:
        told["expires"] = int(change.expires * 1000)
    keep = None
    if state.is_paused():
        keep = YEAR if change.expires is None else change.expires + broker.settings.retention
        told["waits"] = True
    if state.is_final():
        told |= {"linger": int(_LINGER * 1000), "ended": broker.settings.retention_after_end_ms}
    return await broker.records.change(
        keys.run_id(run),
        *stored(state),
        told,
        deployment=str(change.deployment) if change.deployment is not None else None,
        keep=keep,
    )


def result_fields(settings: Settings, run: str, body: bytes) -> dict[str, bytes]:
    """What is known of what a run returned, nothing where that cannot be kept; signed where there are signing keys."""
    fields = {"result": body} if body else {}
    keyring = Keyring.of(settings.signing_pairs)
    if keyring is not None:
        fields["result_signature"] = keyring.sign_result(keys.record(settings.namespace, run), body)
    return fields


def _result(settings: Settings, run: str, fields: Mapping[str, bytes]) -> Any:
    body = fields.get("result", b"")
    try:
        keyring = Keyring.of(settings.signing_pairs)
        if keyring is not None:
            keyring.verify_result(fields.get("result_signature"), keys.record(settings.namespace, run), body)
        kept: Any = codec.decode(body, max_bytes=len(body)) if body else {"value": [None]}
        return kept["value"][0]
    except SignatureError as error:
        return Withheld(SignatureError(f"The result of run {run} is refused: {error}"))
    except (DecodeError, TypeError, LookupError) as error:
        why = str(error) if isinstance(error, DecodeError) else "It is none."
        return Withheld(DecodeError(f"The result of run {run} cannot be read: {why}"))


def _run(broker: Broker, run: str, fields: Mapping[str, bytes]) -> FlowRun:
    def text(name: str) -> str | None:
        value = fields.get(name)
        return value.decode() if value else None

    made = FlowRun(run_of_key(run), text("name"), text("flow"))
    made.state = state_of(fields["type"], fields["state_id"], fields["state"])
    if made.state.is_completed():
        # One that may not be had is not to keep anybody from the other runs of a list.
        made.state = made.state.model_copy(update={"data": _result(broker.settings, run, fields)})
    if fields.get("parameters"):
        parameters: Any = codec.decode(fields["parameters"], max_bytes=len(fields["parameters"]))
        made.parameters = parameters["value"]
    made.tags = tuple(json.loads(fields.get("tags", b"[]")))
    deployment, parent, created = text("deployment"), text("parent"), text("created")
    made.deployment_id = UUID(deployment) if deployment else None
    made.deployment_name = text("deployment_name")
    made.parent_id = run_of_key(parent) if parent else None
    made.created = datetime.fromtimestamp(int(created) / 1000, UTC) if created else None
    made.run_count = int(fields.get("run_count", b"0"))
    made.retries = int(fields.get("retries", b"0"))
    made.failures = int(fields.get("failures", b"0"))
    made.holder = text("holder")
    return made


def stored(state: State) -> tuple[str, bytes, bytes]:
    """A state as it is stored: its ID; its JSON, for the stream; and what of that is neither ID nor type.

    The last is short for most states, and a hash of short values takes half the memory.
    """
    rest = state.model_dump(mode="json", exclude_none=True, exclude={"id", "type"})
    if rest["name"] == state.type.value.title():
        del rest["name"]
    whole = state.model_dump_json(exclude_none=True).encode()
    return str(state.id), whole, json.dumps(rest, separators=(",", ":")).encode()


def state_of(kind: bytes, state_id: bytes, rest: bytes) -> State:
    """The state that was stored so."""
    return State.model_validate({**json.loads(rest), "id": state_id.decode(), "type": kind.decode()})


def _now(outcome: Outcome) -> State:
    return state_of(outcome.type, outcome.state_id, outcome.rest)


def _state(fields: Sequence[bytes]) -> State:
    """The state that an entry of the stream of states holds."""
    return State.model_validate_json(dict(zip(fields[::2], fields[1::2], strict=True))[b"state"])
