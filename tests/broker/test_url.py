"""What a URL says of where the broker is."""

from __future__ import annotations

import pytest
import redis

from flowchan.broker.address import Address
from flowchan.broker.url import place_of
from flowchan.errors import InvalidSettingError


def test_several_hosts_are_nodes_of_a_cluster() -> None:
    place = place_of("rediss://alice:a%2Cb@one:7001,two,[::1]:7003?ssl_check_hostname=false")

    assert place.hosts == (Address("one", 7001), Address("two", 6379), Address("::1", 7003))
    assert place.name == "The cluster at one:7001, two:6379, [::1]:7003"
    kind, options = place.at(place.hosts[1])
    assert kind is redis.SSLConnection
    assert (options["host"], options["port"]) == ("two", 6379)
    assert (options["username"], options["password"], options["ssl_check_hostname"]) == ("alice", "a,b", False)


@pytest.mark.parametrize(
    "scheme, kind",
    [
        ("redis", redis.Connection),
        ("valkey", redis.Connection),
        ("rediss", redis.SSLConnection),
        ("valkeys", redis.SSLConnection),
    ],
)
def test_sentinels_are_asked_for_a_service(scheme: str, kind: type) -> None:
    place = place_of(
        f"{scheme}+sentinel://alice:ours@one,two:7/spare/3?sentinel_username=bob&sentinel_password=th%26irs"
    )

    assert place.hosts == (Address("one", 26379), Address("two", 7))
    assert place.service == "spare"
    assert place.credentials == ("bob", "th&irs")
    assert place.name == "The primary of 'spare'"
    assert place.kind is kind
    assert (place.options["username"], place.options["password"], place.options["db"]) == ("alice", "ours", 3)
    assert not [name for name in place.options if "sentinel" in name]


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://one,two",
        "redis+sentinel://one,two/",
        "redis+sentinel://one,two/spare/x",
        "redis+sentinel:///spare",
        "redis+sentinel://one,/spare",
        "redis+sentinel://one:x/spare",
        "redis+sentinel://one/spare?sentinel_password",
        "unix+sentinel:///spare",
        "redis://one,,two",
        "redis://one:0,two",
        "redis://one,two/x",
        "redis://one:70000,two",
    ],
)
def test_what_is_none_is_refused_without_a_quotation(url: str) -> None:
    with pytest.raises(InvalidSettingError, match="FLOWCHAN_URL cannot be used") as told:
        place_of(url)

    assert "one" not in str(told.value).replace("one of its hosts is none", "")
