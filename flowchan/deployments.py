"""Deployments: flows that servers execute, on whatever machine, when somebody asks for it."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from flowchan.broker.broker import Broker
from flowchan.context import current_run, current_tags, new_run_id
from flowchan.dual import asked
from flowchan.errors import IllegalTransition, MessageTooLarge, ParameterBindError
from flowchan.input.body import body_of_value
from flowchan.input.position import seconds
from flowchan.run import FlowRun
from flowchan.runner import serving
from flowchan.runner.entry import Entry, entry_of
from flowchan.runs import catalogue, store
from flowchan.runs.catalogue import Deployment
from flowchan.runs.control import wait_for_end
from flowchan.runs.parameters import schema_of
from flowchan.runs.store import Change
from flowchan.settings import current_settings
from flowchan.states import Scheduled

if TYPE_CHECKING:
    from flowchan.flows import Flow

_LATER = frozenset(
    {"interval", "cron", "rrule", "schedule", "schedules", "paused", "triggers", "work_pool_name", "work_queue_name"}
    | {"job_variables", "concurrency_limit", "global_limit", "webserver", "enforce_parameter_schema", "entrypoint_type"}
)


class RunnerDeployment:
    """A flow under a name, ready to be served; made by ``flow.to_deployment``.

    Attributes:
        deployment: what the broker will know of it.
        entry: where its code is.
    """

    __slots__ = ("deployment", "entry")

    def __init__(self, deployment: Deployment, entry: Entry) -> None:
        self.deployment: Deployment = deployment
        self.entry: Entry = entry

    @property
    def name(self) -> str:
        """By which it is asked for: ``flow/name``."""
        return self.deployment.full_name

    def __repr__(self) -> str:
        return f"<deployment {self.name!r}>"


def deployment_of(
    flow: Flow[..., Any],
    name: str | None,
    parameters: Mapping[str, Any] | None,
    description: str | None,
    tags: Iterable[str] | None,
    version: str | None,
    options: Mapping[str, Any],
) -> RunnerDeployment:
    """As ``flow.to_deployment``."""
    for option, value in options.items():
        if option not in _LATER:
            raise TypeError(f"A deployment has no option {option!r}.")
        if value is not None:
            raise NotImplementedError(
                f"{option}: flowchan runs what it is asked to run, and keeps no schedules, triggers or work pools. Have"
                " your scheduler call run_deployment."
            )
    own = name if name is not None else flow.name
    if not isinstance(own, str) or not own or "/" in own or not own.isprintable():
        raise ValueError(f"{own!r} is no deployment's name: it is a text without slashes, in one line.")
    if isinstance(tags, str):
        raise TypeError("tags is a list of strings, not one.")
    given = dict(parameters or {})
    schema = schema_of(flow.fn)
    _check_names(flow.name, given, schema)
    made = Deployment(
        flow=flow.name,
        name=own,
        parameters=_body(given) if given else None,
        schema=schema,
        description=description if description is not None else flow.description,
        version=version if version is not None else flow.version,
        tags=tuple(tags or ()),
        retries=flow.retries,
    )
    entry = entry_of(flow)
    return RunnerDeployment(made._replace(entrypoint=str(entry)), entry)


def serve(
    *deployments: RunnerDeployment, limit: int | None = None, print_starting_message: bool = True, **options: Any
) -> Awaitable[None]:
    """Serve several deployments by one server; otherwise as ``flow.serve``.

    Args:
        deployments: what ``flow.to_deployment`` made.
        limit: how many runs of all of them this server executes at once. None: no limit.
        print_starting_message: whether to say on standard output that it serves, and how a run is asked for.
        options: of other orchestrators: refused, with what is to be done instead.

    Raises:
        CodeError: the code cannot be imported by another process.
        BrokerError: the broker cannot be reached, or refuses.
        TypeError, ValueError: an argument cannot be used.
    """
    if options.pop("pause_on_shutdown", None) is not None:
        pass  # there is no schedule to be paused
    if options:
        name = next(iter(options))
        raise TypeError(f"serve() has no option {name!r}.")
    if not deployments:
        raise TypeError("serve() takes deployments: flow.to_deployment(…).")
    for each in deployments:
        if not isinstance(each, RunnerDeployment):
            raise TypeError(f"serve() takes deployments (flow.to_deployment(…)), not {type(each).__name__}.")
    names = [each.name for each in deployments]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"There are two deployments {twice!r}: give each a name of its own.")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int)):
        raise TypeError(f"limit is a number of runs, not {type(limit).__name__}.")
    if limit is not None and limit < 1:
        raise ValueError(f"limit is a number of runs from 1 on, not {limit}.")
    return serving.serve(
        [(each.deployment, each.entry) for each in deployments], limit, print_starting_message=print_starting_message
    )


def run_deployment(
    name: UUID | str,
    parameters: Mapping[str, Any] | None = None,
    flow_run_name: str | None = None,
    timeout: float | None = None,
    poll_interval: float = 5,
    tags: Iterable[str] | None = None,
    idempotency_key: str | None = None,
    as_subflow: bool = True,
    scheduled_time: datetime | None = None,
) -> Awaitable[FlowRun]:
    """Ask for a run of a deployment, and wait for its end; awaited in async code, blocking in sync code.

    Guarantees: when it is stored, a server will execute the run, now or when there is one; exactly one does.

    Args:
        name: the deployment: ``flow/name``, or its ID.
        parameters: what its flow is called with, beside the deployment's own defaults.
        flow_run_name: what people call the run. None: a name is made up.
        timeout: seconds to wait for its end. 0: not at all. None: no limit. The run is not stopped when they are over.
        poll_interval: how often, in seconds, it is looked whether the run was heard of. Its end is pushed.
        tags: what the run is tagged with, beside the deployment's tags and those of ``flowchan.tags``.
        idempotency_key: asked again with the same key, the same run is returned, for as long as runs are kept.
        as_subflow: whether the run that asks for it, if it is one, is noted as its parent.
        scheduled_time: only what is not in the future can be had.

    Returns:
        The run, as it is by then.

    Raises:
        ObjectNotFound: there is no such deployment.
        ParameterBindError: its flow has no parameter of such a name. Nothing is run.
        EncodeError, MessageTooLarge: the parameters cannot be stored. Nothing is run.
        NotImplementedError: it is to begin later.
    """
    if scheduled_time is not None and scheduled_time.astimezone(UTC) > datetime.now(UTC):
        raise NotImplementedError(
            "scheduled_time lies in the future: flowchan keeps no schedules. Have your scheduler call run_deployment."
        )
    if not isinstance(name, str | UUID):
        raise TypeError(f"A deployment is named by a string or a UUID, not by {type(name).__name__}.")
    if isinstance(tags, str):
        raise TypeError("tags is a list of strings, not one.")
    given = dict(parameters or {})
    limit, poll = seconds(timeout, "timeout"), seconds(poll_interval, "poll_interval") or 0.0
    around = current_run()
    parent = around.flow_run.id if as_subflow and around is not None and around.flow is not None else None
    wanted = {*(tags or ()), *current_tags()}

    async def ask(broker: Broker) -> FlowRun:
        run = await _ask(broker, name, given, flow_run_name, wanted, idempotency_key, parent)
        if limit == 0:
            return run
        try:
            return await wait_for_end(broker, run.id, limit, poll)
        except TimeoutError:
            return await store.read(broker, run.id)

    return asked(ask)


async def _ask(
    broker: Broker,
    name: UUID | str,
    given: Mapping[str, Any],
    run_name: str | None,
    tags: set[str],
    idempotency_key: str | None,
    parent: UUID | str | None,
) -> FlowRun:
    found, deployment = await catalogue.read(broker, name)
    _check_names(deployment.flow, given, deployment.schema)
    parameters = {**deployment.defaults(), **given}
    # Of the same key the same ID, and there is but one run of an ID.
    run_id = new_run_id() if idempotency_key is None else uuid5(found, idempotency_key)
    run = FlowRun(run_id, run_name, deployment.flow)
    run.tags = tuple(sorted({*deployment.tags, *tags}))
    run.deployment_id, run.deployment_name = found, deployment.full_name
    run.parent_id = parent
    run.parameters = parameters
    run.state = Scheduled()
    fields = {"retries": b"%d" % deployment.retries} if deployment.retries else {}
    try:
        await store.begin(broker, run, Change(run.state, deployment=found, fields=fields), _body(parameters))
    except IllegalTransition:
        if idempotency_key is None:
            raise
        return await store.read(broker, run_id)
    return run


def _check_names(flow: str, given: Mapping[str, Any], schema: Mapping[str, Any] | None) -> None:
    if schema is None or schema.get("type") != "object" or schema.get("additionalProperties") is not False:
        return
    known: Mapping[str, Any] = schema.get("properties", {})
    for name in given:
        if name not in known:
            has = ", ".join(map(repr, known)) or "none"
            raise ParameterBindError(f"Flow {flow!r} has no parameter {name!r}. It has {has}.")


def _body(parameters: dict[str, Any]) -> bytes:
    body = body_of_value(parameters)
    limit = current_settings().max_message_bytes
    if len(body) > limit:
        raise MessageTooLarge(len(body), limit, " that holds the parameters")
    return body


__all__ = ["RunnerDeployment", "run_deployment", "serve"]
