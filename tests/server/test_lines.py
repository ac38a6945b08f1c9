"""The server and both clients on a line that falls silent, and requests that are too large."""

import asyncio
from collections.abc import Iterator

import grpc
import pytest
from PIL import Image as pillow

from smalti.client import AsyncClient, Client
from smalti.client.channel import KEEPALIVE_SECONDS
from smalti.client.values import Completion, Interrupted, Job, SampleEnded, SampleRows
from smalti.errors import DeadlinePassed, InvalidRequest, SettingsInvalid, Unavailable
from smalti.runtime.settings import ServerSettings, read_settings
from smalti.v1 import jobs_pb2, jobs_pb2_grpc
from tests.line import Line
from tests.server.conftest import Running, StartServer
from tests.server.hand_worker import HandWorker

TOY, HEIGHT, WIDTH = "toy-pixel-rnn", 6, 5
SERVER_KEEPALIVE, KEEPALIVE = 0.8, 0.4  # seconds, in the same proportion as the defaults
SILENT = "it stopped answering"


@pytest.fixture
async def server(start_server: StartServer):
    """A server that soon notices silent clients."""
    async with start_server(keepalive_seconds=SERVER_KEEPALIVE) as running:
        yield running


@pytest.fixture
def line(server: Running) -> Iterator[Line]:
    """A line to the server."""
    with Line(server.address) as line:
        yield line


def rows_of(events) -> list[tuple[int, bytes]]:
    return [(event.first_row, event.indices) for event in events if isinstance(event, SampleRows)]


async def follow(server: Running, hand_worker: HandWorker, line: Line, watch):
    """The events of a job that is watched over the line, which freezes after the second row."""
    events, news = [], asyncio.Event()

    async def take() -> None:
        async for event in watch:
            events.append(event)
            news.set()

    async def seen(condition) -> None:
        while not condition():
            news.clear()
            await news.wait()

    taking = asyncio.create_task(take())
    async with asyncio.timeout(20):
        await seen(lambda: events)
        [claim] = await hand_worker.claim()
        await hand_worker.draw(claim, first_row=0, rows=2)
        await seen(lambda: rows_of(events))
        line.freeze()
        await hand_worker.draw(claim, first_row=2, rows=1)
        await seen(lambda: len(rows_of(events)) == 2)
        await hand_worker.draw(claim, first_row=3, rows=3)
        await taking
    return events


def assert_nothing_is_repeated(events) -> None:
    assert [(first, len(rows)) for first, rows in rows_of(events)] == [
        (0, 2 * WIDTH),
        (2, WIDTH),
        (3, 3 * WIDTH),
    ]
    [interrupted] = [event for event in events if isinstance(event, Interrupted)]
    assert SILENT in interrupted.message
    assert [event.index for event in events if isinstance(event, SampleEnded)] == [0]
    assert isinstance(events[-1], Job)
    assert events[-1].is_over


async def submitted(server: Running) -> str:
    reply = await server.jobs.Submit(jobs_pb2.SubmitRequest(model={"name": TOY}, count=1))
    return str(reply.job.id)


async def in_thread(events):
    """The items of a blocking iterator."""
    while (event := await asyncio.to_thread(next, events, None)) is not None:
        yield event


async def test_a_watch_goes_on_after_its_line_froze_and_repeats_nothing(
    server: Running, hand_worker: HandWorker, line: Line
):
    job_id = await submitted(server)
    with Client(line.address, keepalive_seconds=KEEPALIVE) as client:
        watch = in_thread(client.watch(job_id, rows=True))
        assert_nothing_is_repeated(await follow(server, hand_worker, line, watch))


async def test_an_async_watch_goes_on_after_its_line_froze_and_repeats_nothing(
    server: Running, hand_worker: HandWorker, line: Line
):
    job_id = await submitted(server)
    async with AsyncClient(line.address, keepalive_seconds=KEEPALIVE) as client:
        watch = client.watch(job_id, rows=True)
        assert_nothing_is_repeated(await follow(server, hand_worker, line, watch))


async def test_a_streamed_drawing_over_a_frozen_line_fails_at_both_ends(server: Running, line: Line, until):
    async with AsyncClient(line.address, keepalive_seconds=KEEPALIVE) as client:
        drawing = client.draw_stream(TOY)
        await anext(drawing)
        line.freeze()
        with pytest.raises(Unavailable, match=SILENT):
            await anext(drawing)

        async def is_deleted() -> bool:
            return not (await server.queue.clients.list(limit=10))[0]

        await until(is_deleted)


async def test_a_request_over_a_frozen_line_ends_at_its_deadline_or_when_the_line_closes(
    server: Running, line: Line
):
    async with AsyncClient(line.address, keepalive_seconds=KEEPALIVE) as client:
        await client.models()
        line.freeze()
        with pytest.raises(Unavailable, match=SILENT):
            await client.models()
        assert (await client.submit(TOY)).id  # over a new connection

    def ask_in_time() -> None:
        with Client(line.address, timeout_seconds=0.8) as client:
            client.models()
            line.freeze()
            with pytest.raises(DeadlinePassed, match="did not answer in time"):
                client.models()

    await asyncio.to_thread(ask_in_time)


async def test_the_server_drops_watchers_whose_line_froze(server: Running, line: Line, until):
    job_id = await submitted(server)
    async with grpc.aio.insecure_channel(line.address) as channel:  # of a client that does not ping
        stub = jobs_pb2_grpc.JobServiceStub(channel)
        watches = [stub.Watch(jobs_pb2.WatchRequest(id=job_id)) for _ in range(5)]
        for watch in watches:
            await anext(aiter(watch))
        assert server.application._gate.running == 5
        line.freeze()
        await until(lambda: server.application._gate.running == 0)


async def test_a_client_may_wait_long_for_news(server: Running, line: Line):
    job_id = await submitted(server)
    async with AsyncClient(line.address, keepalive_seconds=KEEPALIVE) as client:
        watch = client.watch(job_id)
        await anext(watch)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(
                anext(watch), timeout=10 * KEEPALIVE
            )  # a client that pings too often is out after 8
        assert line.connections == 1


def test_the_keepalive_defaults_of_client_and_server_agree():
    """The server drops clients that ping more often than four times in its own keepalive time."""
    assert ServerSettings().keepalive_seconds / 4 < KEEPALIVE_SECONDS
    assert ServerSettings().keepalive_seconds / SERVER_KEEPALIVE == KEEPALIVE_SECONDS / KEEPALIVE


async def test_a_request_that_is_too_large_is_refused_with_both_sizes(start_server: StartServer):
    noise = pillow.effect_noise((64, 64), 100)
    sentence = (
        r"The request has \d\d,\d+ bytes and the server at .* takes 10,000: "
        r"send fewer .*SMALTI_MAX_MESSAGE_BYTES"
    )

    def ask(address: str) -> None:
        with Client(address) as client:
            with pytest.raises(InvalidRequest, match=sentence):
                client.encode("toy-vae", [noise] * 4)
            with pytest.raises(InvalidRequest, match=sentence):
                client.submit(TOY, completion=Completion(image=noise.resize((128, 128)), rows=1))

    async with start_server(max_message_bytes=10_000) as server:
        await asyncio.to_thread(ask, server.address)
        async with AsyncClient(server.address) as client:
            with pytest.raises(InvalidRequest, match=sentence):
                await client.encode("toy-vae", [noise] * 4)
            with pytest.raises(InvalidRequest, match=sentence):
                await client.submit(TOY, completion=Completion(image=noise.resize((128, 128)), rows=1))


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SMALTI_MAX_MESSAGE_BYTES", "3000000000"),
        ("SMALTI_KEEPALIVE_SECONDS", "0"),
        ("SMALTI_KEEPALIVE_SECONDS", "inf"),
        ("SMALTI_KEEPALIVE_SECONDS", "nan"),
    ],
)
def test_a_number_that_grpc_cannot_take_is_refused(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsInvalid, match=variable):
        read_settings(ServerSettings)
