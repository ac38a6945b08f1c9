"""Refusals name fields that the request has, and quote text of clients in printable characters."""

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from smalti.v1 import images_pb2, jobs_pb2, models_pb2, types_pb2
from tests.server.conftest import Running, refused
from tests.server.test_long_text import WORDS
from tests.server.toys import HEIGHT, WIDTH

VAE = types_pb2.ModelVersion(name="toy-vae")
ROWS = types_pb2.ModelVersion(name="toy-pixel-rnn")
PNG = types_pb2.Image(png=b"no picture")
SMALL = types_pb2.Image(pixels=types_pb2.Pixels(height=1, width=1, indices=b"\0"))
EMPTY = types_pb2.Image()
PIXELS = types_pb2.Image(pixels=types_pb2.Pixels(height=HEIGHT, width=WIDTH, indices=bytes(HEIGHT * WIDTH)))


def ask(server: Running, request: Any) -> Any:
    """Call the RPC that takes this kind of request."""
    for stub, module in (
        (server.images, images_pb2),
        (server.jobs, jobs_pb2),
        (server.models, models_pb2),
    ):
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                if method.input_type is request.DESCRIPTOR:
                    return getattr(stub, method.name)(request)
    raise AssertionError(request)


def has_field(request: Any, path: str) -> bool:
    """Whether the kind of request has this field, or this oneof."""
    descriptor = request.DESCRIPTOR
    for name in path.split("."):
        if name in descriptor.oneofs_by_name:
            return True
        if name not in descriptor.fields_by_name:
            return False
        descriptor = descriptor.fields_by_name[name].message_type
    return True


REFUSED = [
    *(
        (kind(model=VAE, images=[image]), "images")
        for kind in (images_pb2.EncodeRequest, images_pb2.ReconstructRequest, images_pb2.ScoreRequest)
        for image in (PNG, SMALL, EMPTY)
    ),
    (images_pb2.EncodeRequest(model=VAE, images=[PIXELS, PNG]), "images"),
    (images_pb2.EncodeRequest(model=VAE), "images"),
    *(
        (kind(model=ROWS, completion=images_pb2.Completion(image=image, rows=1)), "completion.image")
        for kind in (images_pb2.DrawStreamRequest, jobs_pb2.SubmitRequest)
        for image in (PNG, SMALL, EMPTY)
    ),
    (images_pb2.InterpolateRequest(model=VAE, last=PIXELS), "first"),
    (images_pb2.InterpolateRequest(model=VAE, first=PIXELS), "last"),
    (images_pb2.InterpolateRequest(model=VAE, first=PNG, last=PIXELS), "first"),
    (images_pb2.InterpolateRequest(model=VAE, first=PIXELS, last=SMALL), "last"),
    *(
        (images_pb2.SweepRequest(model=VAE, row_dimension=0, column_dimension=1, image=image), "image")
        for image in (PNG, SMALL, EMPTY)
    ),
    *(
        (kind(name=name), "name")
        for kind in (models_pb2.GetModelRequest, models_pb2.LoadModelRequest, models_pb2.UnloadModelRequest)
        for name in ("", "x" * 64)
    ),
    *(
        (kind(model=types_pb2.ModelVersion(name=name)), "model.name")
        for kind in (images_pb2.DrawRequest, images_pb2.DrawStreamRequest, jobs_pb2.SubmitRequest)
        for name in ("", "x" * 64)
    ),
]


@pytest.mark.parametrize(
    ("request_", "field"), REFUSED, ids=[f"{each.DESCRIPTOR.name}-{field}" for each, field in REFUSED]
)
async def test_a_refusal_names_the_field_of_the_request(server: Running, request_: Any, field: str):
    refusal = await refused(ask(server, request_))
    assert (refusal.code, refusal.fields) == ("INVALID_ARGUMENT", [field])
    assert has_field(request_, field)


@pytest.mark.parametrize("word", ["\x1b[31mx\x00", "a\nb", *(word[:63] for word in WORDS)])
async def test_a_refusal_quotes_text_of_clients_in_printable_characters(server: Running, word: str):
    version = types_pb2.ModelVersion(name=word)
    for request in (
        images_pb2.DrawRequest(model=version),
        images_pb2.DrawStreamRequest(model=version),
        jobs_pb2.SubmitRequest(model=version),
        models_pb2.GetModelRequest(name=word),
        models_pb2.LoadModelRequest(name=word),
        models_pb2.UnloadModelRequest(name=word),
        *(
            kind(id=word * 100)
            for kind in (
                jobs_pb2.GetJobRequest,
                jobs_pb2.WatchRequest,
                jobs_pb2.ResultsRequest,
                jobs_pb2.CancelJobRequest,
                jobs_pb2.DeleteJobRequest,
            )
        ),
    ):
        message = (await refused(ask(server, request))).message
        assert message.isprintable(), request.DESCRIPTOR.name
        assert len(message) < 500


async def test_a_request_id_that_was_used_is_quoted_in_printable_characters(server: Running):
    first = jobs_pb2.SubmitRequest(model=ROWS, request_id="\x1b[31mx", seed=1)
    await server.jobs.Submit(first)
    first.seed = 2
    refusal = await refused(server.jobs.Submit(first))
    assert refusal.reason == "REQUEST_CONFLICT"
    assert refusal.message.isprintable()


@pytest.mark.parametrize(
    ("seconds", "nanos"), [(5, 1_000_000_000), (5, -1), (0, 2_000_000_000), (5, -2_000_000_000)]
)
async def test_a_retention_that_is_no_valid_duration_is_refused(server: Running, seconds: int, nanos: int):
    retention = Duration()
    retention.seconds, retention.nanos = seconds, nanos
    refusal = await refused(server.jobs.Submit(jobs_pb2.SubmitRequest(model=ROWS, retention=retention)))
    assert (refusal.code, refusal.fields) == ("INVALID_ARGUMENT", ["retention"])
    assert "valid Duration" in refusal.message
