"""Reading and writing pictures is bounded, fair, and ends with whoever asked for it."""

import asyncio
import io
from collections.abc import Iterator
from threading import Event, Semaphore
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from server.oneshot.pace import Pace
from server.oneshot.runner import Runner
from smalti.pictures import reader
from smalti.v1 import images_pb2, jobs_pb2, types_pb2
from tests.server.conftest import Running, refused
from tests.server.toys import HEIGHT, LATENT, WIDTH
from tests.toy_model import Toy

VAE = types_pb2.ModelVersion(name="toy-vae")
PIXEL_RNN = types_pb2.ModelVersion(name="toy-pixel-rnn")
RAW = types_pb2.IMAGE_FORMAT_PIXELS


def picture(seed: int, height: int = HEIGHT) -> types_pb2.Image:
    """A PNG of noise, another one for each seed."""
    colours = np.random.default_rng(seed).integers(0, 256, (height, WIDTH, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Pillow.fromarray(colours).save(stream, "PNG")
    return types_pb2.Image(png=stream.getvalue())


def encode(*seeds: int) -> images_pb2.EncodeRequest:
    return images_pb2.EncodeRequest(model=VAE, images=[picture(seed) for seed in seeds])


def score(*seeds: int) -> images_pb2.ScoreRequest:
    return images_pb2.ScoreRequest(model=VAE, images=[picture(seed) for seed in seeds])


def reconstruct(*seeds: int) -> images_pb2.ReconstructRequest:
    return images_pb2.ReconstructRequest(model=VAE, images=[picture(seed) for seed in seeds], format=RAW)


def interpolate(first: int, last: int) -> images_pb2.InterpolateRequest:
    return images_pb2.InterpolateRequest(
        model=VAE, first=picture(first), last=picture(last), steps=2, format=RAW
    )


def sweep(seed: int) -> images_pb2.SweepRequest:
    return images_pb2.SweepRequest(
        model=VAE, image=picture(seed), row_dimension=0, column_dimension=1, steps=2, format=RAW
    )


def completion(seed: int) -> images_pb2.Completion:
    return images_pb2.Completion(image=picture(seed, Toy().height), rows=1)


class Decoder:
    """Stands before the reader of pictures: lets one through for each permit, and knows which were begun."""

    def __init__(self, read: Any) -> None:
        self._read = read
        self._permits = Semaphore(0)
        self.begun: list[bytes] = []

    def __call__(self, data: bytes, **given: Any) -> Any:
        self.begun.append(data)
        assert self._permits.acquire(timeout=60)
        return self._read(data, **given)

    def permit(self, count: int) -> None:
        self._permits.release(count)


@pytest.fixture
def decoder(monkeypatch) -> Iterator[Decoder]:
    made = Decoder(reader.read)
    monkeypatch.setattr(reader, "read", made)
    yield made
    made.permit(1_000)


class Runs:
    """The sizes of the runs of all graphs; they wait while they may not run."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.may_run = Event()
        self.may_run.set()


@pytest.fixture
def runs(server: Running, monkeypatch) -> Iterator[Runs]:
    """The runs from now on."""
    seen, run = Runs(), Runner.run

    def counted(self: Runner, inputs: Any, *options: Any) -> Any:
        seen.sizes.append(len(next(iter(inputs.values()))))
        assert seen.may_run.wait(60)
        return run(self, inputs, *options)

    monkeypatch.setattr(Runner, "run", counted)
    monkeypatch.setattr(Pace, "is_quick", lambda *_: False)  # in a thread, where it may be held
    yield seen
    seen.may_run.set()


def admitted(server: Running) -> int:
    """Pixels of the requests that are admitted."""
    return server.application._pictures._room._taken


async def test_one_picture_beside_256_waits_for_a_step_and_not_for_all(server: Running, decoder, until):
    many = asyncio.ensure_future(server.images.Encode(encode(*range(256))))
    await until(lambda: decoder.begun)  # given a request that has begun its first picture
    before = admitted(server)
    one = asyncio.ensure_future(server.images.Encode(encode(1000)))
    await until(lambda: admitted(server) > before)
    decoder.permit(3)  # when as many steps are done as the short request has to wait for, and one more begins
    await one
    assert decoder.begun[: decoder.begun.index(picture(1000).png)] == [picture(0).png]
    assert not many.done()
    decoder.permit(256)
    assert len((await many).means) == 256


MID_DECODE = [
    pytest.param("Encode", encode(1, 2, 3), id="Encode"),
    pytest.param("Score", score(1, 2, 3), id="Score"),
    pytest.param("Reconstruct", reconstruct(1, 2, 3), id="Reconstruct"),
    pytest.param("Interpolate", interpolate(1, 2), id="Interpolate"),
]


@pytest.mark.parametrize(("method", "request_"), MID_DECODE)
async def test_a_client_that_vanishes_costs_no_further_picture_and_no_run(
    server: Running, decoder, runs, until, method, request_
):
    call = getattr(server.images, method)(request_)
    await until(lambda: decoder.begun)
    call.cancel()
    await until(lambda: server.application._gate.running == 0)  # while a picture is still in work
    assert admitted(server) == 0
    decoder.permit(1_000)
    await server.images.Encode(encode(7))  # given another request that goes through the same thread
    assert decoder.begun == [picture(1).png, picture(7).png]
    assert runs.sizes == [1]


@pytest.mark.parametrize(("method", "request_"), MID_DECODE)
async def test_a_deadline_that_passes_amid_pictures_costs_no_further_picture_and_no_run(
    server: Running, decoder, runs, until, method, request_
):
    call = getattr(server.images, method)(request_, timeout=2)
    await until(lambda: decoder.begun)
    assert (await refused(call)).code == "DEADLINE_EXCEEDED"
    await until(lambda: admitted(server) == 0)
    decoder.permit(1_000)
    await server.images.Encode(encode(7))
    assert decoder.begun == [picture(1).png, picture(7).png]
    assert runs.sizes == [1]


async def test_a_sweep_whose_client_vanishes_while_its_image_is_read_costs_no_run(
    server: Running, decoder, runs, until
):
    call = server.images.Sweep(sweep(1))
    await until(lambda: decoder.begun)
    call.cancel()
    await until(lambda: server.application._gate.running == 0)
    decoder.permit(1_000)
    await server.images.Encode(encode(7))
    assert runs.sizes == [1]


@pytest.mark.parametrize("ending", ["the client vanishes", "the deadline passes"])
@pytest.mark.parametrize("method", ["Submit", "DrawStream"])
async def test_a_completion_that_ends_while_its_picture_is_read_makes_no_job(
    server: Running, decoder, until, method, ending
):
    timeout = 2.0 if ending == "the deadline passes" else None
    call: Any
    if method == "Submit":
        submit = jobs_pb2.SubmitRequest(model=PIXEL_RNN, completion=completion(1))
        call = server.jobs.Submit(submit, timeout=timeout)
    else:
        draw = images_pb2.DrawStreamRequest(model=PIXEL_RNN, completion=completion(1))
        call = server.images.DrawStream(draw, timeout=timeout)
    await until(lambda: decoder.begun)
    if timeout is None:
        call.cancel()
    await until(lambda: server.application._gate.running == 0)
    decoder.permit(1_000)
    await server.images.Encode(encode(7))
    assert (await server.jobs.List(jobs_pb2.ListJobsRequest())).jobs == []


def with_graph(graph: str, method: str, request: Any) -> Any:
    return pytest.param(graph, method, request, id=method)


WAITING = [
    with_graph("decode", "Draw", images_pb2.DrawRequest(model=VAE, count=3, format=RAW)),
    with_graph(
        "decode",
        "Decode",
        images_pb2.DecodeRequest(model=VAE, latents=[types_pb2.Latent(values=[0.0] * LATENT)], format=RAW),
    ),
    with_graph(
        "decode",
        "Sweep",
        images_pb2.SweepRequest(model=VAE, row_dimension=0, column_dimension=1, steps=2, format=RAW),
    ),
    with_graph("encode", "Encode", encode(1)),
    with_graph("score", "Score", score(1)),
    with_graph("encode", "Reconstruct", reconstruct(1)),
    with_graph("encode", "Interpolate", interpolate(1, 2)),
]
OCCUPY = {
    "decode": ("Draw", images_pb2.DrawRequest(model=VAE, format=RAW)),
    "encode": ("Encode", encode(8)),
    "score": ("Score", score(8)),
}


def waiting(server: Running, graph: str) -> int:
    """How many requests wait for a run of this graph of the toy VAE."""
    return server.application.catalogue.get("toy-vae").waiting(graph)


@pytest.mark.parametrize("ending", ["the client vanishes", "the deadline passes"])
@pytest.mark.parametrize(("graph", "method", "request_"), WAITING)
async def test_a_request_that_ends_while_it_waits_for_a_run_costs_none(
    server: Running, runs: Runs, until, graph, method, request_, ending
):
    runs.may_run.clear()
    occupying, small = OCCUPY[graph]
    first = asyncio.ensure_future(getattr(server.images, occupying)(small))
    await until(lambda: runs.sizes)  # given a graph that is busy with another request
    timeout = 2.0 if ending == "the deadline passes" else None
    call = getattr(server.images, method)(request_, timeout=timeout)
    await until(
        lambda: waiting(server, graph) > 0 or call.done()
    )  # on a slow machine its deadline may pass sooner
    if timeout is None:
        call.cancel()
    await until(lambda: server.application._gate.running == 1)
    runs.may_run.set()
    await first
    await getattr(server.images, occupying)(small)
    assert runs.sizes == [1, 1]


async def test_one_picture_is_answered_while_large_requests_are_refused(start_server, decoder, until):
    size = 16
    async with start_server(max_picture_pixels=4 * size * HEIGHT * WIDTH) as small:
        many = [asyncio.ensure_future(small.images.Encode(encode(*range(size)))) for _ in range(3)]
        await until(
            lambda: admitted(small) == 3 * size * HEIGHT * WIDTH
        )  # given three that count a quarter each
        assert (await refused(small.images.Encode(encode(*range(size))))).reason == "PICTURES_FULL"
        one = asyncio.ensure_future(small.images.Encode(encode(1000)))
        await until(lambda: admitted(small) > 3 * size * HEIGHT * WIDTH)
        decoder.permit(1_000)
        assert len((await one).means) == 1  # then it is answered, and its turn came before half of theirs
        assert decoder.begun.index(picture(1000).png) < 3 * size // 2
        assert [len((await request).means) for request in many] == [size] * 3


async def test_a_full_room_is_refused_at_once_and_before_anything_is_read(start_server, decoder, until):
    async with start_server(max_picture_pixels=4 * HEIGHT * WIDTH) as small:
        first = asyncio.ensure_future(small.images.Encode(encode(1, 2)))
        await until(lambda: decoder.begun)
        others = [
            asyncio.ensure_future(small.images.Draw(images_pb2.DrawRequest(model=VAE, count=2)))
            for _ in range(2)
        ]
        await until(lambda: admitted(small) == 3 * HEIGHT * WIDTH)
        for call in (
            small.images.Encode(encode(3)),
            small.images.Draw(images_pb2.DrawRequest(model=VAE)),
            small.jobs.Submit(jobs_pb2.SubmitRequest(model=PIXEL_RNN, completion=completion(3))),
            small.images.DrawStream(images_pb2.DrawStreamRequest(model=PIXEL_RNN, completion=completion(3))),
        ):
            refusal = await refused(call)
            assert (refusal.code, refusal.reason) == ("RESOURCE_EXHAUSTED", "PICTURES_FULL")
            assert refusal.retry_seconds > 0
        raw = images_pb2.DrawRequest(model=VAE, format=RAW)
        assert len((await small.images.Draw(raw)).images) == 1  # pixels are no work
        decoder.permit(1_000)
        assert len((await first).means) == 2
        assert [len((await other).images) for other in others] == [2, 2]
        assert decoder.begun == [picture(1).png, picture(2).png]
        assert admitted(small) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        types_pb2.Image(),
        types_pb2.Image(png=b"GIF89a"),
        types_pb2.Image(pixels=types_pb2.Pixels(height=HEIGHT, width=WIDTH, indices=b"123")),
    ],
    ids=["missing", "of another kind", "too short"],
)
async def test_what_a_header_shows_is_refused_before_any_other_image_is_read(server: Running, decoder, wrong):
    request = images_pb2.EncodeRequest(model=VAE, images=[*(picture(seed) for seed in range(9)), wrong])
    refusal = await refused(server.images.Encode(request))
    assert (refusal.code, refusal.fields) == ("INVALID_ARGUMENT", ["images"])
    assert refusal.message.startswith("Image 10 of 10 ")
    assert decoder.begun == []


async def test_a_png_that_was_cut_short_is_refused(server: Running):
    for cut in (1, 12, 20):
        request = images_pb2.EncodeRequest(model=VAE, images=[types_pb2.Image(png=picture(1).png[:-cut])])
        refusal = await refused(server.images.Encode(request))
        assert (refusal.code, refusal.message) == ("INVALID_ARGUMENT", "The image is cut off or damaged.")
