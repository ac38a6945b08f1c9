"""The messages are Triton's: the client's own descriptors have the same names, numbers and types."""

from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor
from tritonclient.grpc import model_config_pb2, service_pb2

from server.inference import protocol

OURS = protocol.METHODS[0].containing_service.file


def fields_of(messages: Mapping[str, Descriptor], path: str = "") -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Every field by its path, with what decides how it travels."""
    for name, message in messages.items():
        for field in message.fields:
            kind = field.message_type or field.enum_type
            oneof = field.containing_oneof.name if field.containing_oneof else ""
            facts = (field.number, field.type, field.is_repeated, kind.name if kind else "", oneof)
            yield f"{path}{name}.{field.name}", facts
        yield from fields_of(message.nested_types_by_name, f"{path}{name}.")


def values_of(file: Any) -> dict[str, int]:
    """The numbers of every enumeration."""
    enums = [*file.enum_types_by_name.values()]
    for message in file.message_types_by_name.values():
        enums += [each for nested in (message, *message.nested_types) for each in nested.enum_types]
    return {f"{enum.full_name}.{value.name}": value.number for enum in enums for value in enum.values}


def test_every_field_travels_as_tritons_does():
    theirs = {
        **dict(fields_of(service_pb2.DESCRIPTOR.message_types_by_name)),
        **dict(fields_of(model_config_pb2.DESCRIPTOR.message_types_by_name)),
    }
    for path, facts in fields_of(OURS.message_types_by_name):
        assert theirs[path] == facts, path
    assert values_of(OURS).items() <= values_of(model_config_pb2.DESCRIPTOR).items()


def test_no_field_of_tritons_requests_and_responses_is_missing():
    ours = {path for path, _ in fields_of(OURS.message_types_by_name)}
    theirs = {path for path, _ in fields_of(service_pb2.DESCRIPTOR.message_types_by_name)}
    assert theirs <= ours


def test_the_methods_are_tritons():
    theirs = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
    assert {_method(each) for each in theirs} == {_method(each) for each in protocol.METHODS}


def _method(method: Any) -> tuple[Any, ...]:
    return (
        method.name,
        method.input_type.full_name,
        method.output_type.full_name,
        method.client_streaming,
        method.server_streaming,
    )
