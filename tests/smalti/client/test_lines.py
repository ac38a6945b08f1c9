"""Both clients over connections that are slow, lead nowhere, or lead through a proxy."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf, nan
from time import monotonic

import pytest
from click.testing import CliRunner

from local.ports import free_port
from smalti.address import parse_address
from smalti.cli.main import main
from smalti.client import AsyncClient, Client
from smalti.client.channel import options
from smalti.client.failures import cause_of
from smalti.client.values import Interrupted
from smalti.errors import InvalidRequest, QueueFull, SmaltiError, Unavailable
from smalti.v1 import images_pb2, jobs_pb2, models_pb2, types_pb2
from tests.line import Line

ONE = types_pb2.ModelVersion(name="toy", version=1)
NOT_CONNECTED = "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.1:1: "
NOT_FOUND = "errors resolving http1-refused:1: [field:hostname lookup error:address lookup failed for it: "
PROXIES = ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@pytest.fixture
def answering(server):
    server.answers["ModelService/List"] = lambda request: models_pb2.ListModelsResponse()
    return server


@contextmanager
def listening(answer: Callable[[socket.socket], object]) -> Iterator[str]:
    """The address of something that answers every connection in this way."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def web_server(connection: socket.socket) -> None:
    connection.recv(1000)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def free_address() -> str:
    return f"127.0.0.1:{free_port()}"


def test_a_client_reaches_a_server_over_a_slow_line(answering):
    with Line(answering.address, delay_seconds=0.4) as line, Client(line.address) as client:
        assert client.models() == []
        assert line.connections == 1


async def test_an_async_client_reaches_a_server_over_a_slow_line(answering):
    with Line(answering.address, delay_seconds=0.2) as line:
        async with AsyncClient(line.address) as client:
            assert await client.models() == []
            assert line.connections == 1


def test_a_large_answer_over_a_slow_line_does_not_break_the_connection(server):
    """Pings wait behind the data."""
    image = types_pb2.Image(pixels=types_pb2.Pixels(height=1, width=1, indices=bytes(400_000)))
    server.answers["ImageService/Draw"] = lambda request: images_pb2.DrawResponse(model=ONE, images=[image])
    line = Line(server.address, bytes_per_second=400_000)
    with line, Client(line.address, keepalive_seconds=0.2) as client:
        assert len(client.draw("toy").images[0].indices) == 400_000
        assert line.connections == 1


def test_a_restarted_server_is_found_within_two_seconds(answering):
    with Client(answering.address) as client:
        assert client.models() == []
        answering.stop()
        with pytest.raises(Unavailable):
            client.models()
        answering.start()
        back = monotonic()
        while True:
            try:
                client.models()
                break
            except Unavailable:
                assert monotonic() - back < 2


@pytest.mark.parametrize(
    ("place", "cause"),
    [
        (free_address, "the connection was refused, so nothing listens there"),
        (lambda: "no-such-host.invalid:1", "there is no host of this name"),
    ],
)
async def test_the_error_says_why_a_server_cannot_be_reached(place, cause):
    address = place()
    sentence = f"No smalti server answers at {address}: {cause}."
    with Client(address) as client, pytest.raises(Unavailable) as caught:
        client.models()
    assert str(caught.value) == sentence
    async with AsyncClient(address) as async_client:
        with pytest.raises(Unavailable) as caught:
            await async_client.models()
    assert str(caught.value) == sentence
    result = CliRunner().invoke(main, ["models", "--server", address])
    assert (result.exit_code, result.stderr) == (4, f"Error: {sentence}\n")


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (web_server, "what listens there does not speak gRPC"),
        (
            lambda connection: connection.recv(1000),
            "it closes the connection at once; perhaps it expects TLS, or a certificate of the client (cert and key)",
        ),
    ],
)
def test_the_error_says_that_something_else_listens_there(answer, cause):
    with listening(answer) as address, Client(address) as client:
        with pytest.raises(Unavailable) as caught:
            client.models()
        assert str(caught.value) == f"No smalti server answers at {address}: {cause}."


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (NOT_CONNECTED + "connect() timed out", "the attempt to connect timed out"),
        (
            NOT_CONNECTED + "connection attempt timed out before receiving SETTINGS frame",
            "it accepts connections but does not answer",
        ),
        (NOT_CONNECTED + "Network is unreachable", "there is no network route to it"),
        (NOT_FOUND + "Domain name not found]", "there is no host of this name"),
        (NOT_FOUND + "Could not contact DNS servers]", "its name cannot be looked up now"),
        ("Socket closed", "it closed the connection"),
        ("Stream removed (ping timeout)", "it stopped answering"),
        ("Received RST_STREAM with error code 8", "the server or a proxy in between ended the call"),
        ("Stream removed", "the server or a proxy in between ended the call"),
        (
            "GOAWAY received; Error code: 11; Debug Text: too_many_pings",
            "the client sent too many pings: increase keepalive_seconds",
        ),
        ("Received http2 header with status: 502", "a proxy in between cannot reach it"),
        ("something\nnew.", "something new"),
    ],
)
def test_errors_of_grpc_become_plain_words(said, cause):
    assert cause_of(said) == cause


@pytest.mark.parametrize(
    "address",
    [
        "",
        "localhost",
        "localhost:",
        ":50051",
        "localhost:99999",
        "localhost:0",
        "localhost:-1",
        "localhost:٣",
        "local host:1",
        "http://localhost:50051",
        "dns:///localhost:50051",
        "unix:/x",
        "::1:50051",
        "[::1]",
        "[localhost]:1",
        "x" * 10_000,
    ],
)
async def test_a_wrong_address_is_refused_in_one_sentence_with_an_example(address):
    for kind in (Client, AsyncClient):
        with pytest.raises(
            InvalidRequest, match=r"write it as HOST:PORT, such as 127\.0\.0\.1:50051"
        ) as caught:
            kind(address)
        assert len(str(caught.value)) < 250
    result = CliRunner().invoke(main, ["models", "--server", address])
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: The server's address is '")


@pytest.mark.parametrize("variable", PROXIES)
def test_a_client_uses_no_proxy_for_a_local_server(answering, monkeypatch, variable):
    monkeypatch.setenv(variable, f"http://{free_address()}")
    with Client(answering.address) as client:
        assert client.models() == []


@pytest.mark.parametrize(
    ("text", "read"),
    [("127.1:1", "127.0.0.1:1"), ("0:1", "0.0.0.0:1"), ("0x7f.1:1", "127.0.0.1:1"), ("[::1]:1", "[::1]:1")],
)
def test_a_short_ip_address_is_read_as_the_system_reads_it(text, read):
    address = parse_address(text)
    assert address.text == read
    assert address.is_loopback is (read != "0.0.0.0:1")


def test_only_grpc_proxy_is_used_and_only_for_other_machines(monkeypatch):
    far, here = parse_address("192.0.2.1:50051"), parse_address("[::1]:50051")
    for variable in PROXIES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert dict(options(far))["grpc.enable_http_proxy"] == 0
    monkeypatch.setenv("grpc_proxy", "http://127.0.0.1:1")
    assert dict(options(far))["grpc.enable_http_proxy"] == 1
    assert dict(options(here))["grpc.enable_http_proxy"] == 0


def test_the_error_names_a_proxy_that_refuses(monkeypatch):
    for variable in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(variable, raising=False)
    with listening(_refuse_proxying) as proxy:
        monkeypatch.setenv("grpc_proxy", f"http://{proxy}")
        with (
            Client("192.0.2.1:50051") as client,
            pytest.raises(Unavailable, match="the proxy that grpc_proxy names"),
        ):
            client.models()


def _refuse_proxying(connection: socket.socket) -> None:
    connection.recv(1000)
    connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")


def too_much(request):
    image = types_pb2.Image(pixels=types_pb2.Pixels(height=1, width=1, indices=bytes(65 * 1024 * 1024)))
    return images_pb2.DrawResponse(model=ONE, images=[image])


async def test_the_error_of_a_too_large_answer_has_both_sizes(server):
    server.answers["ImageService/Draw"] = too_much
    sentence = (
        r"The answer of the server at .* has 68,157,\d+ bytes and this client takes 67,108,864: ask for fewer "
        r"images at once, if there are several, or make the client with a larger max_answer_bytes\."
    )
    with Client(server.address) as client, pytest.raises(InvalidRequest, match=sentence):
        client.draw("toy")
    async with AsyncClient(server.address) as async_client:
        with pytest.raises(InvalidRequest, match=sentence):
            await async_client.draw("toy")


async def test_max_answer_bytes_sets_the_limit_of_a_client(server):
    server.answers["ImageService/Draw"] = too_much
    with Client(server.address, max_answer_bytes=80 * 1024 * 1024) as client:
        assert len(client.draw("toy")) == 1
    async with AsyncClient(server.address, max_answer_bytes=100) as async_client:
        with pytest.raises(InvalidRequest, match=r"this client takes 100: .* max_answer_bytes"):
            await async_client.draw("toy")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("timeout_seconds", value) for value in (nan, 0, -1, "5", None)),
        *(("keepalive_seconds", value) for value in (nan, 0, -1, 0.0001, "5", None)),
        *(("max_answer_bytes", value) for value in (0, -1, 2**31, 1.5, nan)),
    ],
)
async def test_an_impossible_limit_is_refused_when_the_client_is_made(name, value):
    for kind in (Client, AsyncClient):
        with pytest.raises(InvalidRequest, match=f"^{name} is .*; it must be"):
            kind("localhost:50051", **{name: value})


async def test_an_infinite_timeout_and_keepalive_are_allowed(answering):
    with Client(answering.address, timeout_seconds=inf, keepalive_seconds=inf) as client:
        assert client.models() == []
    async with AsyncClient(answering.address, timeout_seconds=1e300, keepalive_seconds=1e300) as async_client:
        assert await async_client.models() == []


def test_a_refusal_without_a_retry_delay_is_not_busy(server, refusal):
    def refuse(request):
        raise refusal("RESOURCE_EXHAUSTED", "NEVER_HEARD", "Too many headers.")

    server.answers["JobService/Submit"] = refuse
    with Client(server.address) as client, pytest.raises(SmaltiError) as caught:
        client.submit("toy")
    assert str(caught.value) == f"The server at {server.address} refuses this: Too many headers."
    assert len(server.requests) == 1


def test_a_watch_goes_on_after_a_proxy_cut_it_off(server, refusal):
    cuts = iter([True, False])

    def answer(request):
        job = jobs_pb2.Job(id="7", model=ONE, state="JOB_STATE_SUCCEEDED", height=2, width=2)
        yield jobs_pb2.WatchResponse(job=job)
        if next(cuts):
            raise refusal("INTERNAL", "", "Received RST_STREAM with error code 2")
        yield jobs_pb2.WatchResponse(job=job)

    server.answers["JobService/Watch"] = answer
    with Client(server.address) as client:
        _, interrupted, *_ = client.watch("7")
    assert isinstance(interrupted, Interrupted)
    assert interrupted.message == (
        f"The connection to the server at {server.address} was lost: the server or a proxy in "
        "between ended the call."
    )


def full_at_first(server, refusal, times=1):
    def answer(request):
        if len(server.requests) <= times:
            raise refusal("RESOURCE_EXHAUSTED", "QUEUE_FULL", "The queue is full.", retry=0.05)
        return jobs_pb2.SubmitResponse(job=jobs_pb2.Job(id="7", state="JOB_STATE_QUEUED", model=ONE))

    server.answers["JobService/Submit"] = answer


def submit(server, *arguments):
    return CliRunner().invoke(main, ["submit", "toy", "--server", server.address, *map(str, arguments)])


def test_submit_tries_again_while_the_queue_is_full(server, refusal):
    full_at_first(server, refusal, times=2)
    result = submit(server, "--patience", 30)
    assert (result.exit_code, result.stdout) == (0, "7\n")
    assert result.stderr == "The queue is full. Trying again for up to 30 s.\n"
    assert len({request.request_id for request in server.requests}) == 1
    assert len(server.requests) == 3


def test_submit_without_patience_asks_once(server, refusal):
    full_at_first(server, refusal)
    result = submit(server, "--patience", 0)
    assert (result.exit_code, result.stderr) == (4, "Error: The queue is full.\n")
    assert len(server.requests) == 1


def test_submit_tries_again_while_the_server_is_away(server, refusal):
    full_at_first(server, refusal, times=0)
    server.stop()
    coming_back = threading.Timer(0.3, server.start)
    coming_back.start()
    result = submit(server, "--patience", 30)
    coming_back.join()
    assert (result.exit_code, result.stdout) == (0, "7\n")
    assert result.stderr.startswith(f"No smalti server answers at {server.address}: ")


async def test_async_submit_sends_the_same_request_when_it_tries_again(server, refusal):
    full_at_first(server, refusal)
    async with AsyncClient(server.address) as client:
        assert (await client.submit("toy")).id == "7"
    first, second = server.requests
    assert first == second


async def test_async_submit_without_patience_asks_once(server, refusal):
    full_at_first(server, refusal)
    async with AsyncClient(server.address) as client:
        with pytest.raises(QueueFull):
            await client.submit("toy", patience_seconds=0)
    assert len(server.requests) == 1


def test_patience_is_counted_from_the_first_failure(server, refusal, monkeypatch):
    """A job may have no event for an hour before its server is away for a second."""
    clock = [0.0]
    monkeypatch.setattr("smalti.client.failures.monotonic", lambda: clock[0])
    watches = iter(["first", "second"])

    def answer(request):
        job = jobs_pb2.Job(id="7", model=ONE, state="JOB_STATE_QUEUED", height=2, width=2)
        yield jobs_pb2.WatchResponse(job=job)
        if next(watches) == "first":
            clock[0] += 3600
            raise refusal("UNAVAILABLE", "UNAVAILABLE", "Redis is away.", retry=0.05)
        job.state = jobs_pb2.JOB_STATE_SUCCEEDED
        yield jobs_pb2.WatchResponse(job=job)

    server.answers["JobService/Watch"] = answer
    with Client(server.address) as client:
        assert len(list(client.watch("7", patience_seconds=60))) == 3


def test_the_command_uses_no_proxy_for_a_local_server(answering):
    proxies = dict.fromkeys(PROXIES, f"http://{free_address()}")
    command = [sys.executable, "-m", "smalti.cli.main", "models", "--json", "--server", answering.address]
    done = subprocess.run(command, env=os.environ | proxies, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")
