import asyncio
import errno
import os
import socket
import sys

import pytest
from grpc_health.v1 import health_pb2

from server import health
from smalti.client.health import ask
from smalti.errors import SettingsInvalid
from tests.server.conftest import SERVING, Running, StartServer


def _has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        return probe.connect_ex(("::1", 1)) == errno.ECONNREFUSED


IPV6 = pytest.mark.skipif(not (socket.has_ipv6 and _has_ipv6()), reason="this machine has no IPv6")
EVERYTHING = (
    "",
    "smalti.v1.ImageService",
    "smalti.v1.JobService",
    "smalti.v1.ModelService",
    "smalti.v1.AdminService",
    "toy-vae",
    "toy-gan",
    "toy-pixel-rnn",
)


async def test_every_service_and_every_model_has_its_health(server: Running):
    assert [await server.status(service) for service in EVERYTHING] == ["SERVING"] * len(EVERYTHING)
    assert await server.status("no-such-service") == "NOT_FOUND"


async def test_health_can_be_watched_until_the_server_stops(server: Running):
    watcher = aiter(server.health.Watch(health_pb2.HealthCheckRequest()))
    assert (await anext(watcher)).status == SERVING
    stopping = asyncio.create_task(server.application.stop())
    assert (await anext(watcher)).status == health_pb2.HealthCheckResponse.NOT_SERVING
    await asyncio.wait_for(stopping, timeout=5)  # the watcher does not use up the grace of ten seconds


async def test_the_probe_says_whether_the_server_is_ready(server: Running):
    assert await asyncio.to_thread(ask, server.address) == "SERVING"
    await server.application.catalogue.close()
    await server.application.stop()
    assert "no answer" in await asyncio.to_thread(ask, server.address)


@pytest.mark.parametrize(
    ("listen", "asked"),
    [
        ("0.0.0.0:7777", "127.0.0.1:7777"),
        ("[::]:7777", "[::1]:7777"),
        ("[::0]:7777", "[::1]:7777"),
        ("[::1]:7777", "[::1]:7777"),
        ("192.0.2.1:7777", "192.0.2.1:7777"),
        ("[fe80::1%eth0]:7777", "[fe80::1%eth0]:7777"),
        ("some-host.example:7777", "some-host.example:7777"),
        (" localhost:7777\n", "localhost:7777"),
    ],
)
def test_the_probe_asks_at_an_address_that_this_machine_can_reach(monkeypatch, listen, asked):
    monkeypatch.setenv("SMALTI_LISTEN", listen)
    assert health.default_address() == asked


def test_the_probe_needs_an_address_when_the_server_chooses_its_port(monkeypatch):
    monkeypatch.setenv("SMALTI_LISTEN", "127.0.0.1:0")
    with pytest.raises(
        SettingsInvalid, match="has port 0, so the server chooses a port: give the address to ask"
    ):
        health.default_address()


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "0.0.0.0", "localhost"),
        *(pytest.param(host, marks=IPV6) for host in ("[::1]", "[::]", "[::ffff:127.0.0.1]")),
    ],
)
async def test_the_probe_reaches_a_server_on_every_kind_of_address(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch, host: str
):
    async with start_server(listen=f"{host}:0") as server:
        monkeypatch.setenv("SMALTI_LISTEN", f"{host}:{server.application.port}")
        assert await asyncio.to_thread(ask, health.default_address()) == "SERVING"


@pytest.mark.parametrize(
    ("host", "argument"), [("127.0.0.1", True), pytest.param("[::1]", False, marks=IPV6)]
)
async def test_the_probe_needs_no_argument_and_uses_no_proxy(
    start_server: StartServer, host: str, argument: bool
):
    async with start_server(listen=f"{host}:0") as server:
        address = f"{host}:{server.application.port}"
        proxies = dict.fromkeys(
            ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy"), "http://127.0.0.1:1"
        )
        probe = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "server.health", *([address] if argument else [])),
            env=os.environ | proxies | {"SMALTI_LISTEN": address},
        )
        assert await probe.wait() == 0


@pytest.mark.parametrize(
    ("arguments", "listen", "sentence"),
    [
        (["localhost"], "", "The server's address is 'localhost': write it as HOST:PORT"),
        ([], "unix:/x", "SMALTI_LISTEN is 'unix:/x': write it as HOST:PORT"),
        (
            ["127.0.0.1:1"],
            "",
            "The server at 127.0.0.1:1 is not ready: no answer: the connection was refused",
        ),
    ],
)
def test_the_probe_reports_each_failure_in_one_sentence(monkeypatch, arguments, listen, sentence):
    monkeypatch.setenv("SMALTI_LISTEN", listen)
    monkeypatch.setattr(sys, "argv", ["health", *arguments])
    with pytest.raises(SystemExit) as caught:
        health.main()
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)
