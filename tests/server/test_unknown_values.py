"""A value that the contract does not have is refused, in whatever request it comes."""

from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from smalti.v1 import admin_pb2, images_pb2, jobs_pb2, models_pb2, types_pb2
from tests.server.conftest import Running, refused

METHODS = [
    method
    for file in (admin_pb2, images_pb2, jobs_pb2, models_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
UNKNOWN = 99
UNKNOWN_FIELD = b"\xf2\x3f\x01\x00"  # field 1022, of one byte: as a newer client would send a new kind


def fields_of(message: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every field of a message and of the messages in it, with the path to it."""
    for field in message.fields:
        yield (*path, field.name), field
        if field.type == FieldDescriptor.TYPE_MESSAGE and field.message_type.file.package == "smalti.v1":
            yield from fields_of(field.message_type, (*path, field.name))


ENUMS = [
    pytest.param(method, path, id=f"{method.containing_service.name}.{method.name}-{'.'.join(path)}")
    for method in METHODS
    for path, field in fields_of(method.input_type)
    if field.type == FieldDescriptor.TYPE_ENUM and not method.client_streaming  # its job is a SubmitRequest
]


def call(server: Running, method: MethodDescriptor, request: Message) -> Any:
    stubs = {
        "ImageService": server.images,
        "JobService": server.jobs,
        "ModelService": server.models,
        "AdminService": server.admin,
    }
    return getattr(stubs[method.containing_service.name], method.name)(request)


def test_the_enums_of_all_requests_are_found():
    names = {parameter.id for parameter in ENUMS}
    assert {"ImageService.Draw-format", "JobService.Results-format", "JobService.Submit-job_class"} <= names
    assert len(names) == 9


@pytest.mark.parametrize(("method", "path"), ENUMS)
async def test_an_unknown_value_of_an_enum_is_refused_in_one_sentence(server: Running, method, path):
    [field] = path
    is_repeated = method.input_type.fields_by_name[field].is_repeated
    request: Any = GetMessageClass(method.input_type)(**{field: [UNKNOWN] if is_repeated else UNKNOWN})
    if method.name in {"Submit", "DrawStream"}:
        request.model.name = "toy-pixel-rnn"
    refusal = await refused(call(server, method, request))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
    assert refusal.fields == [field]
    assert str(UNKNOWN) in refusal.message
    assert refusal.message.count(".") == 1


def test_the_oneofs_of_all_requests_are_found():
    oneofs = {
        field.containing_oneof.full_name
        for method in METHODS
        for _, field in fields_of(method.input_type)
        if field.containing_oneof and not field.containing_oneof.name.startswith("_")  # of `optional` fields
    }
    assert oneofs == {
        "smalti.v1.Image.content",
        "smalti.v1.Completion.keep",
        "smalti.v1.SubmitCompletionsRequest.content",
    }


async def test_an_image_of_an_unknown_kind_is_refused(server: Running):
    image = types_pb2.Image.FromString(UNKNOWN_FIELD)
    request = images_pb2.EncodeRequest(model=types_pb2.ModelVersion(name="toy-vae"), images=[image])
    refusal = await refused(server.images.Encode(request))
    assert (refusal.code, refusal.fields) == ("INVALID_ARGUMENT", ["images"])
    assert refusal.message == "The image is missing: give a PNG or pixels."


async def test_a_completion_of_an_unknown_kind_is_refused(server: Running):
    completion = images_pb2.Completion.FromString(UNKNOWN_FIELD)
    model = types_pb2.ModelVersion(name="toy-pixel-rnn")
    for request in (
        server.jobs.Submit(jobs_pb2.SubmitRequest(model=model, completion=completion)),
        server.images.DrawStream(images_pb2.DrawStreamRequest(model=model, completion=completion)),
    ):
        refusal = await refused(request)
        assert (refusal.code, refusal.fields) == ("INVALID_ARGUMENT", ["completion.keep"])
