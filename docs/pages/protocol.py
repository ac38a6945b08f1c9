"""The reference of the protocol smalti.v1, read from proto/smalti/v1/*.proto with its comments."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import grpc_tools
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)
from grpc_tools import protoc

from docs.pages.tables import code, table

_PAGE = """# Protocol smalti.v1

What clients in any language send and get over gRPC. The files are in `proto/smalti/v1/`; errors are statuses with
[details](errors.md). The server answers reflection and the standard health service (`grpc.health.v1`) as well.

"""
_FOLDER = Path("proto/smalti/v1")
_PACKAGE = ".smalti.v1."
# Numbers of fields in google/protobuf/descriptor.proto; a comment's place in a file is a path of such numbers.
_FILE_MESSAGES, _FILE_ENUMS, _FILE_SERVICES = 4, 5, 6
_MESSAGE_FIELDS, _MESSAGE_NESTED, _MESSAGE_ENUMS = 2, 3, 4
_MEMBERS = 2  # methods of a service, values of an enum
Place = tuple[int, ...]
Comments = dict[Place, str]


def page() -> str:
    """All files: services first, then messages and enums."""
    files = _spoken(list(_described()))
    services = [part for file in files for part in _services(file, _comments(file))]
    types = [part for file in files for part in _types(file, _comments(file))]
    return _PAGE + "\n\n".join([*services, "## Messages and enums", *types]) + "\n"


def _spoken(files: list[FileDescriptorProto]) -> list[FileDescriptorProto]:
    """The files that services use; graphs.proto describes files on disk."""
    used = {name for file in files if file.service for name in (file.name, *file.dependency)}
    return [file for file in files if file.name in used]


def _described() -> Iterator[FileDescriptorProto]:
    """The files as protoc understands them, with their comments."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "descriptors")
        includes = ["-Iproto", f"-I{Path(grpc_tools.__file__).with_name('_proto')}"]
        paths = [str(path) for path in sorted(_FOLDER.glob("*.proto"))]
        if protoc.main(["", *includes, "--include_source_info", f"--descriptor_set_out={out}", *paths]) != 0:
            raise ValueError("protoc cannot read proto/smalti/v1: its message is above")
        yield from FileDescriptorSet.FromString(out.read_bytes()).file


def _comments(file: FileDescriptorProto) -> Comments:
    return {
        tuple(location.path): " ".join((location.leading_comments + location.trailing_comments).split())
        for location in file.source_code_info.location
    }


def _services(file: FileDescriptorProto, comments: Comments) -> Iterator[str]:
    for index, service in enumerate(file.service):
        place = (_FILE_SERVICES, index)
        yield "\n\n".join([f"## {service.name}", comments.get(place, ""), _methods(service, place, comments)])


def _methods(service: ServiceDescriptorProto, place: Place, comments: Comments) -> str:
    return table(
        ("method", "request", "answer", "means"),
        (
            (code(method.name), *_ends(method), comments.get((*place, _MEMBERS, index), ""))
            for index, method in enumerate(service.method)
        ),
    )


def _ends(method: MethodDescriptorProto) -> tuple[str, str]:
    sent = "stream of " if method.client_streaming else ""
    answered = "stream of " if method.server_streaming else ""
    return sent + _link(method.input_type), answered + _link(method.output_type)


def _types(file: FileDescriptorProto, comments: Comments) -> Iterator[str]:
    for index, message in enumerate(file.message_type):
        yield from _message(message, (_FILE_MESSAGES, index), comments, "")
    for index, enum in enumerate(file.enum_type):
        yield _enum(enum, (_FILE_ENUMS, index), comments, "")


def _message(message: DescriptorProto, place: Place, comments: Comments, outer: str) -> Iterator[str]:
    name = f"{outer}{message.name}"
    if not message.options.map_entry:
        yield "\n\n".join([f"### {name}", comments.get(place, ""), _fields(message, place, comments)])
    for index, nested in enumerate(message.nested_type):
        yield from _message(nested, (*place, _MESSAGE_NESTED, index), comments, f"{name}.")
    for index, enum in enumerate(message.enum_type):
        yield _enum(enum, (*place, _MESSAGE_ENUMS, index), comments, f"{name}.")


def _fields(message: DescriptorProto, place: Place, comments: Comments) -> str:
    if not message.field:
        return "No fields."
    return table(
        ("field", "type", "number", "means"),
        (
            (code(field.name), _type(field, message), str(field.number), _note(field, message, comment))
            for index, field in enumerate(message.field)
            for comment in [comments.get((*place, _MESSAGE_FIELDS, index), "")]
        ),
    )


def _type(field: FieldDescriptorProto, message: DescriptorProto) -> str:
    for nested in message.nested_type:
        if nested.options.map_entry and field.type_name.endswith(f".{message.name}.{nested.name}"):
            key, value = nested.field
            return f"map of {_plain(key)} to {_plain(value)}"
    repeated = field.label == FieldDescriptorProto.LABEL_REPEATED
    return ("list of " if repeated else "") + _plain(field)


def _plain(field: FieldDescriptorProto) -> str:
    if field.type_name:
        return _link(field.type_name)
    return code(FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower())


def _note(field: FieldDescriptorProto, message: DescriptorProto, comment: str) -> str:
    if field.proto3_optional:
        return f"optional. {comment}".strip()
    if field.HasField("oneof_index"):
        return f"one of {code(message.oneof_decl[field.oneof_index].name)}. {comment}".strip()
    return comment


def _enum(enum: EnumDescriptorProto, place: Place, comments: Comments, outer: str) -> str:
    values = table(
        ("value", "number", "means"),
        (
            (code(value.name), str(value.number), comments.get((*place, _MEMBERS, index), ""))
            for index, value in enumerate(enum.value)
        ),
    )
    return "\n\n".join([f"### {outer}{enum.name}", comments.get(place, ""), values])


def _link(name: str) -> str:
    """A type of ours as a link to its heading; others by their full name."""
    if not name.startswith(_PACKAGE):
        return code(name.lstrip("."))
    short = name.removeprefix(_PACKAGE)
    return f"[{short}](#{_anchor(short)})"


def _anchor(short: str) -> str:
    """The anchor that MkDocs gives to a heading."""
    return short.replace(".", "").lower()
