"""How a primary is found that sentinels watch. What every server does is in conformance."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flowchan.channels import Channels
from flowchan.errors import BrokerRefused, BrokerUnavailable
from tests.cli.program import FLOWCHAN, run
from tests.support.bridge import end_of_bridge
from tests.support.ports import free_ports
from tests.support.sentinels import SERVICE, Sentinels

pytestmark = pytest.mark.anyio


async def test_the_doctor_says_who_is_watched_and_another_name_is_not_known(sentinels: Sentinels) -> None:
    found = run(*FLOWCHAN, "doctor", "--json")
    checks = {check["check"]: check for check in map(json.loads, found.stdout.splitlines())}
    assert checks["broker"]["found"] == f"The primary of '{SERVICE}'"
    assert (checks["mode"]["mark"], checks["mode"]["role"]) == ("ok", "master")
    with pytest.raises(BrokerUnavailable, match="its sentinels do not know it"):
        await Channels(url=sentinels.url.replace(SERVICE, "other"), connect_timeout=0.5).send_input(1, "run")


def test_sentinels_and_servers_have_passwords_of_their_own() -> None:
    secrets = ("--requirepass", "ours", "--masterauth", "ours")
    with Sentinels(*secrets, password="ours", sentinel_password="theirs") as own:
        channels: Any = Channels(url=own.url)
        channels.send_input(1, "run")
        assert channels.receive_input(int, flow_run_id="run", timeout=10).next() == 1

        wrong: Any = Channels(url=own.url.replace("theirs", "wrong"), connect_timeout=0.5)
        with pytest.raises(BrokerRefused, match="A sentinel refused the user or password") as told:
            wrong.send_input(1, "run")
        assert "wrong" not in str(told.value)
        end_of_bridge()


async def test_no_sentinel_that_answers_is_told_without_a_password() -> None:
    one, two = free_ports(2)
    url = f"redis+sentinel://:secret@127.0.0.1:{one},127.0.0.1:{two}/spare"

    with pytest.raises(BrokerUnavailable, match="The primary of 'spare' cannot be reached") as told:
        await Channels(url=url, connect_timeout=0.5).send_input(1, "run")

    assert "secret" not in str(told.value)
