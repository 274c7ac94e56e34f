"""Networks: nothing goes over one in the clear unless that was allowed, and the server shows that it is the one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from flowchan import Channels
from flowchan.errors import BrokerUnavailable, FlowchanError, InvalidSettingError
from tests.support import loops
from tests.support.server import Server
from tests.support.streams import CHANNEL
from tests.support.tls import Authority, tls_proxy

pytestmark = pytest.mark.anyio

SECRET = "s3cr3t"


async def send(url: str, value: int = 1, **settings: object) -> None:
    with anyio.fail_after(15):
        await Channels(url=url, connect_timeout=2, **settings).send_input(value, "r", key_prefix=CHANNEL)


async def refused(url: str) -> str:
    with pytest.raises(BrokerUnavailable, match="cannot be reached") as raised:
        await send(url)
    shown = f"{raised.value!r} {raised.value}"
    assert SECRET not in shown
    return shown


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


# --- without TLS ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        f"redis://user:{SECRET}@broker.example",
        f"valkey://user:{SECRET}@broker.example:6380/1",
        f"redis://user:{SECRET}@10.1.2.3",
        f"redis://user:{SECRET}@0.0.0.0",
        f"redis://user:{SECRET}@[2001:db8::1]:6379",
        f"redis://user:{SECRET}@[::ffff:10.1.2.3]",
        f"redis://user:{SECRET}@localhost.example",
        f"redis://user:{SECRET}@?host=broker.example",
    ],
)
async def test_a_host_that_is_not_this_one_is_refused_and_it_is_said_what_to_do(url: str) -> None:
    with pytest.raises(InvalidSettingError, match=r"rediss://.*FLOWCHAN_ALLOW_PLAINTEXT=1") as raised:
        await send(url)
    assert SECRET not in f"{raised.value!r}{raised.value}"


async def test_it_goes_where_that_was_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given an address of a network that is there for documents only: nobody answers
    with pytest.raises(BrokerUnavailable):
        await send("redis://192.0.2.1", allow_plaintext=True)
    monkeypatch.setenv("FLOWCHAN_ALLOW_PLAINTEXT", "1")
    with pytest.raises(BrokerUnavailable):
        await send("redis://192.0.2.1")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2"])
async def test_this_machine_and_its_sockets_need_no_leave(host: str, make_server: Callable[..., Server]) -> None:
    server = make_server("--bind", "127.0.0.1", "127.0.0.2", tcp=True, append_only=False)
    await send(f"redis://{host}:{server.port}")
    await send(server.url)


# --- with TLS -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("anyio_backend", loops.BOTH)
@pytest.mark.parametrize("scheme", ["rediss", "valkeys"])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_messages_go_both_ways(
    scheme: str, host: str, make_server: Callable[..., Server], authority: Authority
) -> None:
    with tls_proxy(make_server(append_only=False), *authority.issue(host)) as port:
        channels = Channels(url=f"{scheme}://{host}:{port}?ssl_ca_certs={authority.certificate}")
        # Larger than a TLS record, and more than one send's worth of a socket's buffer.
        body = os.urandom(500_000)
        for _ in range(5):
            channels.send_input(body, "r", key_prefix=CHANNEL)
        async with channels.receive_input(bytes, flow_run_id="r", key_prefix=CHANNEL, timeout=10) as receiver:
            assert [await receiver.next() for _ in range(5)] == [body] * 5


@pytest.mark.parametrize(
    "names, host", [(["broker.example"], "localhost"), (["localhost"], "127.0.0.1"), (["127.0.0.2"], "127.0.0.1")]
)
async def test_a_certificate_for_another_name_is_refused(
    names: list[str], host: str, make_server: Callable[..., Server], authority: Authority
) -> None:
    with tls_proxy(make_server(append_only=False), *authority.issue(*names)) as port:
        url = f"rediss://user:{SECRET}@{host}:{port}?ssl_ca_certs={authority.certificate}"
        assert "certificate was not accepted" in await refused(url)
        # Unless the URL says that the name does not matter
        await send(f"rediss://{host}:{port}?ssl_ca_certs={authority.certificate}&ssl_check_hostname=false")


async def test_a_certificate_of_an_authority_that_is_not_known_is_refused(
    make_server: Callable[..., Server], authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    with tls_proxy(make_server(append_only=False), *authority.issue("localhost")) as port:
        for options in ("", f"?ssl_ca_certs={other.certificate}"):
            shown = await refused(f"rediss://user:{SECRET}@localhost:{port}{options}")
            assert "certificate was not accepted" in shown


async def test_a_client_shows_its_certificate_where_it_has_one(
    make_server: Callable[..., Server], authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    mine, theirs = authority.issue("someone@flowchan.example"), other.issue("someone@flowchan.example")
    server = make_server(append_only=False)
    with tls_proxy(server, *authority.issue("localhost"), clients=authority.certificate) as port:
        url = f"rediss://localhost:{port}?ssl_ca_certs={authority.certificate}"
        await send(f"{url}&ssl_certfile={mine[0]}&ssl_keyfile={mine[1]}")
        for options in ("", f"&ssl_certfile={theirs[0]}&ssl_keyfile={theirs[1]}"):
            await refused(url.replace("//", f"//user:{SECRET}@") + options)


async def test_a_server_that_speaks_no_tls_is_not_spoken_to(make_server: Callable[..., Server]) -> None:
    server = make_server(tcp=True, append_only=False)
    await refused(f"rediss://user:{SECRET}@localhost:{server.port}")


async def test_files_that_are_not_there_are_an_error_of_ours(tmp_path: Path) -> None:
    for option in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        with pytest.raises(FlowchanError):
            await send(f"rediss://user:{SECRET}@localhost:1?{option}={tmp_path}/none.pem")
