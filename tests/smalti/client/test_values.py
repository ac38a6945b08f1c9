"""Values in Python's tools (repr, notebooks, numpy), and the forms of an image that clients take."""

import asyncio
import pickle
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image as pillow

from smalti.client import AsyncClient, Client
from smalti.client.values import NO_CHANGE as SAME
from smalti.client.values import (
    Brief,
    Completion,
    Drawn,
    DrawnRows,
    DrawStarted,
    Encoded,
    Image,
    Images,
    Job,
    Model,
    ModelDetails,
    ModelVersion,
    QueueStatistics,
    SampleResult,
    SampleRows,
    ScoreKind,
    Scores,
    Swept,
    WorkerStatus,
)
from smalti.errors import ImageRefused, InvalidRequest
from smalti.jobs.job import JobState
from smalti.v1 import images_pb2, jobs_pb2, types_pb2

PALETTE = ("#000000", "#ff0000", "#00ff00", "#0000ff")
MANY = tuple(f"#{number:06x}" for number in range(70_000))
TOY = ModelVersion("<toy&co>", 1)
IMAGE = Image(height=2, width=2, indices=bytes([0, 1, 2, 3]), palette=PALETTE)
RGB = np.array([[[0, 0, 0], [255, 0, 0]], [[0, 255, 0], [0, 0, 255]]], dtype=np.uint8)
LARGE = Image(height=300, width=200, indices=bytes(2 * 300 * 200), palette=MANY)
JOB = Job(
    id="<7>", model=TOY, state=JobState.RUNNING, count=100, seed=2**64 - 1, first_index=0, temperature=1.0,
    height=2, width=2, done=25, failed=5, running=3, created=datetime.now(UTC), started=None, ended=None,
    expires=None, reason="NO_WORKER_FOR_MODEL",
)  # fmt: skip
MODEL = Model(
    name="toy", version=1, family="vae", variant="elbo", height=2, width=2, palette=MANY,
    graphs=("decode", "encode"), latent_size=10, digest=64 * "a", licence=500 * "long ",
)  # fmt: skip
RESULT = SampleResult(index=3, image=LARGE, log_probability=-4.0, error="", fingerprint=300 * "x")
WORKER = WorkerStatus(
    name="host-1", fingerprint="cpu", slots=4, held=4, lease_seconds=9.5, draining=False, digests=("0" * 64,)
)
VALUES = [
    IMAGE,
    LARGE,
    JOB,
    MODEL,
    RESULT,
    Images(model=TOY, images=(LARGE,) * 200),
    Drawn(model=TOY, images=(IMAGE,), seed=4),
    Swept(model=TOY, images=(IMAGE,) * 64, steps=8),
    Encoded(model=TOY, means=((0.5,) * 500,) * 90, log_deviations=((0.5,) * 500,), colour_change=SAME),
    Scores(model=TOY, kind=ScoreKind.ELBO, scores=(0.123456789,) * 500, colour_change=SAME),
    ModelDetails(model=MODEL, manifest={str(number): 500 * "x" for number in range(3)}),
    SampleRows(index=3, first_row=0, indices=bytes(5000)),
    DrawnRows(first_row=0, indices=bytes(5000)),
    DrawStarted(model=TOY, seed=4, job_id="7", height=2, width=2, palette=MANY, colour_change=SAME),
    Completion(image=bytes(5000), mask=bytes(5000)),
    QueueStatistics(
        paused=False,
        queued_jobs=1,
        running_jobs=2,
        paused_jobs=3,
        ready_samples=4,
        running_samples=5,
        dead_samples=6,
        oldest_seconds=7.5,
        workers=(WORKER,) * 200,
        clients=(),
    ),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_every_repr_is_short(value):
    assert 10 < len(repr(value)) < 600
    assert "\\x00" not in repr(value)
    assert len(repr([value])) < 650


def test_the_repr_test_covers_every_value_that_may_be_large():
    tried = {type(value).__name__ for value in VALUES}
    small = {"SampleEnded", "Interrupted", "DrawFinished"}
    assert {kind.__name__ for kind in Brief.__subclasses__()} <= tried | small


def test_a_repr_shows_the_main_facts():
    assert repr(IMAGE) == "<Image 2×2, 4 colours>"
    assert repr(JOB) == (
        "<Job <7>: <toy&co> version 1, seed 18446744073709551615, RUNNING, 25 of 100 samples, 5 failed, "
        "NO_WORKER_FOR_MODEL>"
    )
    assert "images=<200 items>" in repr(VALUES[5])


def test_numpy_turns_one_or_many_images_into_an_array_of_colours():
    np.testing.assert_array_equal(np.asarray(IMAGE), RGB)
    for many in (Images(model=TOY, images=(IMAGE, IMAGE)), [IMAGE, IMAGE]):
        np.testing.assert_array_equal(np.asarray(many), np.stack([RGB, RGB]))
    np.testing.assert_array_equal(np.stack(list[Any](Images(model=TOY, images=(IMAGE,)))), RGB[None])
    assert np.asarray(IMAGE, dtype=np.float32).dtype == np.float32
    changed = np.array(IMAGE, copy=True)
    changed[0, 0] = 9
    np.testing.assert_array_equal(np.asarray(IMAGE), RGB)
    assert np.asarray(LARGE).shape == (300, 200, 3)
    assert np.asarray(Images(model=TOY, images=())).size == 0


def test_images_are_a_sequence():
    many = Images(model=TOY, images=(IMAGE, LARGE))
    assert (len(many), list(many), many[-1], LARGE in many) == (2, [IMAGE, LARGE], LARGE, True)
    assert pickle.loads(pickle.dumps(many)) == many


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (IMAGE, (128, 128)),
        (Images(model=TOY, images=(IMAGE,) * 4), (28, 28)),
        (Swept(model=TOY, images=(IMAGE,) * 4, steps=4), (52, 16)),
        (Images(model=TOY, images=(LARGE,) * 16), (805, 1205)),
        (RESULT, (200, 300)),
        (JOB, (300, 10)),
    ],
    ids=["image", "images", "swept", "large", "result", "job"],
)
def test_a_notebook_shows_a_picture_with_escaped_words(value, size):
    with pillow.open(BytesIO(value._repr_png_())) as shown:
        assert (shown.format, shown.size) == ("PNG", size)
    html = value._repr_html_()
    assert "data:image/png;base64,iVBOR" in html
    assert "<toy" not in html
    assert "<7>" not in html


def test_a_notebook_shows_only_words_if_there_is_no_picture():
    failed = replace(RESULT, image=None, error="<b>Its</b> pixels were no numbers.")
    assert failed._repr_png_() is None
    assert "&lt;b&gt;Its" in failed._repr_html_()
    empty = Images(model=TOY, images=())
    assert (empty._repr_png_(), "0 images" in empty._repr_html_()) == (None, True)


@pytest.mark.parametrize("ending", ["png", "webp", "gif", "bmp", "PNG"])
def test_an_image_is_saved_in_the_format_of_the_ending(tmp_path, ending):
    with pillow.open(IMAGE.save(tmp_path / f"x.{ending}", scale=3)) as saved:
        assert (saved.format, saved.size) == (ending.upper(), (6, 6))
        np.testing.assert_array_equal(np.asarray(saved.convert("RGB"))[::3, ::3], RGB)
    with pillow.open(Images(model=TOY, images=(IMAGE, IMAGE)).save(tmp_path / f"s.{ending}")) as saved:
        assert (saved.format, saved.size) == (ending.upper(), (28, 16))


@pytest.mark.parametrize("name", ["x.tiff", "x", "file/x.png", "folder.png"])
def test_saving_to_an_impossible_path_raises_one_sentence(tmp_path, name):
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(InvalidRequest, match=r"\.png"):
        IMAGE.save(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.png"]


def png():
    stream = BytesIO()
    pillow.fromarray(RGB).save(stream, "PNG")
    return stream.getvalue()


class Tensor:
    """Turns into an array, like the tensors of torch."""

    def __array__(self, dtype=None, copy=None):
        return RGB


@pytest.fixture
def path(tmp_path):
    (tmp_path / "x.png").write_bytes(png())
    return tmp_path / "x.png"


SOURCES: dict[str, Any] = {
    "an image": lambda path: IMAGE,
    "a Pillow image": lambda path: pillow.fromarray(RGB),
    "bytes": lambda path: png(),
    "a bytearray": lambda path: bytearray(png()),
    "a path": lambda path: path,
    "a path as text": str,
    "an array": lambda path: RGB,
    "an array in another order": lambda path: np.asfortranarray(RGB),
    "an array with alpha": lambda path: np.dstack([RGB, np.full((2, 2), 255, np.uint8)]),
    "a tensor": lambda path: Tensor(),
}


@pytest.fixture
def answering(server):
    """A server that answers every request with images."""
    reply = types_pb2.Image(pixels=types_pb2.Pixels(height=2, width=2, indices=bytes(4)))
    one = types_pb2.ModelVersion(name="toy", version=1)
    server.answers["ImageService/Encode"] = lambda request: images_pb2.EncodeResponse(model=one)
    server.answers["ImageService/Score"] = lambda request: images_pb2.ScoreResponse(
        model=one, kind=images_pb2.SCORE_KIND_ELBO
    )
    for name in ("Reconstruct", "Interpolate", "Sweep"):
        response = getattr(images_pb2, f"{name}Response")(model=one, images=[reply])
        server.answers[f"ImageService/{name}"] = lambda request, response=response: response
    server.answers["JobService/Submit"] = lambda request: jobs_pb2.SubmitResponse(
        job=jobs_pb2.Job(id="7", state="JOB_STATE_QUEUED")
    )
    return server


def ask_with(address, call):
    """Make the call with both clients."""

    async def ask():
        async with AsyncClient(address) as client:
            await call(client)

    with Client(address) as client:
        call(client)
    asyncio.run(ask())


def colours_sent(message):
    with pillow.open(BytesIO(message.png)) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("kind", SOURCES)
def test_every_method_takes_an_image_in_any_form(answering, path, kind):
    source = SOURCES[kind](path)
    ask_with(answering.address, lambda client: client.encode("toy", source))
    ask_with(answering.address, lambda client: client.score("toy", source))
    ask_with(answering.address, lambda client: client.reconstruct("toy", [source]))
    sent = [image for request in answering.requests if hasattr(request, "images") for image in request.images]
    assert len(sent) == 6
    ask_with(answering.address, lambda client: client.interpolate("toy", source, source))
    ask_with(answering.address, lambda client: client.sweep("toy", (0, 1), image=source))
    completion = Completion(image=source, mask=np.array([[True, False], [True, True]]))
    ask_with(answering.address, lambda client: client.submit("toy", completion=completion))
    sent += [request.first for request in answering.requests if hasattr(request, "first")]
    sent += [request.image for request in answering.requests if hasattr(request, "image")]
    submitted = [request.completion for request in answering.requests if hasattr(request, "completion")]
    assert [each.mask for each in submitted] == [bytes([1, 0, 1, 1])] * 2
    sent += [each.image for each in submitted]
    assert len(sent) == 12
    for image in sent:
        np.testing.assert_array_equal(colours_sent(image), RGB)


@pytest.mark.parametrize(
    "many",
    [
        [IMAGE, RGB],
        (IMAGE, IMAGE),
        Images(model=TOY, images=(IMAGE, IMAGE)),
        np.stack([RGB, RGB]),
        iter([RGB, IMAGE]),
    ],
    ids=["list", "tuple", "images", "array", "iterator"],
)
def test_many_images_may_be_any_iterable(answering, many):
    with Client(answering.address) as client:
        client.encode("toy", many)
    [request] = answering.requests
    assert [colours_sent(image).tolist() for image in request.images] == [RGB.tolist()] * 2


def test_a_grey_array_is_an_image(answering):
    with Client(answering.address) as client:
        client.encode("toy", np.array([[0, 255], [128, 7]], dtype=np.uint8))
    assert colours_sent(answering.requests[0].images[0])[1, 0].tolist() == [128, 128, 128]


@pytest.mark.parametrize(
    "wrong",
    [
        5, None, 0.5, RGB / 255, RGB.astype(np.int64), RGB[None, None], np.zeros(4, np.uint8), np.float64(3),
        np.zeros((3, 20, 20), np.uint8), np.zeros((0, 0, 3), np.uint8), np.array(["x.png"]), [5], [None],
        [[RGB]], BytesIO(b"x"), {5}, object(),
    ],
    ids=lambda wrong: repr(wrong).partition(" at 0x")[0],
)  # fmt: skip
def test_an_object_that_is_not_an_image_is_refused_with_the_accepted_forms(answering, wrong):
    def calls(client):
        yield lambda: client.encode("toy", wrong)
        yield lambda: client.score("toy", wrong)
        yield lambda: client.submit("toy", completion=Completion(image=wrong, rows=1))

    async def ask():
        async with AsyncClient(answering.address) as client:
            for call in calls(client):
                with pytest.raises(ImageRefused, match="An image is a smalti or Pillow image"):
                    await call()

    with Client(answering.address) as client:
        for call in calls(client):
            with pytest.raises(ImageRefused, match="An image is a smalti or Pillow image"):
                call()
    asyncio.run(ask())
    assert answering.requests == []


def test_an_object_that_is_not_a_mask_is_refused(answering):
    with Client(answering.address) as client:
        wrongs: list[Any] = [RGB / 255, 5, "x"]
        for wrong in wrongs:
            with pytest.raises(InvalidRequest, match="A mask is bytes"):
                client.submit("toy", completion=Completion(image=RGB, mask=wrong))
