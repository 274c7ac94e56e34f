"""The errors: the tree that the docstring draws, and what each of them says."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from flowchan import errors

ROW = re.compile(r"^ {4}(?P<indent>[│├└─ ]*)(?P<name>[A-Z]\w+)(?: \((?P<also>\w+)\))?")


def drawn() -> dict[str, tuple[str, ...]]:
    """The bases of each error, in the order of its class statement, as the docstring draws them."""
    found: dict[str, tuple[str, ...]] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        row = ROW.match(line)
        if row is None:
            continue
        del path[len(row["indent"]) // 4 :]
        found[row["name"]] = tuple(base for base in (path[-1] if path else "Exception", row["also"]) if base)
        path.append(row["name"])
    return found


def defined() -> dict[str, tuple[str, ...]]:
    return {
        name: tuple(base.__name__ for base in value.__bases__)
        for name, value in vars(errors).items()
        if inspect.isclass(value) and value.__module__ == errors.__name__
    }


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    assert drawn() == defined()
    assert len(drawn()) > 10


@pytest.mark.parametrize("name", defined())
def test_one_except_catches_every_error(name: str) -> None:
    assert issubclass(getattr(errors, name), errors.FlowchanError)


def test_a_missing_run_says_what_to_do() -> None:
    with pytest.raises(RuntimeError, match=r"^Must either provide a flow run ID or be within a flow run\.$"):
        raise errors.MissingRunError


def test_a_response_to_nobody_says_so() -> None:
    with pytest.raises(RuntimeError, match=r"^Cannot respond to an input that was not sent by a flow run\.$"):
        raise errors.RespondError


def test_a_message_that_is_too_large_tells_both_sizes() -> None:
    error = errors.MessageTooLarge(1234567, 1000000)
    assert (error.size, error.limit) == (1234567, 1000000)
    assert "1,234,567" in str(error)
    assert "1,000,000" in str(error)


def test_what_is_lost_is_told_by_number_sender_run_and_channel() -> None:
    one = errors.MessagesLost(3, 3, sender=None, where="run r, channel c")
    assert str(one).startswith("Message 3 of a sender without a name to run r, channel c is lost")
    several = errors.MessagesLost(3, 1005, sender="flowchan.flow-run.s", where="run r, channel c")
    assert str(several).startswith("Messages 3 to 1,005 of flowchan.flow-run.s to run r, channel c are lost")
    assert (several.first, several.last, several.count, several.sender) == (3, 1005, 1003, "flowchan.flow-run.s")


def test_an_unreachable_broker_is_a_connection_error() -> None:
    with pytest.raises(ConnectionError):
        raise errors.BrokerUnavailable("it is away")


@pytest.mark.parametrize(
    "error",
    [
        errors.MissingRunError(),
        errors.RespondError(),
        errors.MessageTooLarge(2, 1, " (run r, channel c)"),
        errors.DecodeError("no message", key="key"),
        errors.MessagesLost(3, 5, sender="flowchan.flow-run.s", where="run r, channel c"),
        errors.SendQueueFull(10_000),
        errors.BrokerRefused("no", code="OOM"),
        errors.SendOutcomeUnknown("who knows", message_id="id"),
        errors.InvalidKeyError("no key"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_survives_the_way_back_from_another_process(error: errors.FlowchanError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
