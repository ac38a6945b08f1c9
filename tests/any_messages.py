"""Requests for every RPC: messages with any values, valid requests that are changed a little, any bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from server.inference import protocol
from smalti.v1 import images_pb2, jobs_pb2, models_pb2

MODELS = ("toy-vae", "toy-gan", "toy-pixel-rnn", "digits-vae", "digits-pixel-rnn")
GRAPHS = ("decode", "encode", "generate", "discriminate", "score", "draw")
NAMES = [
    *MODELS,
    *(f"{model}.{graph}" for model in MODELS for graph in GRAPHS),
    "",
    "none",
    "none.decode",
    "../x",
]
DATATYPES = ["FP32", "INT64", "BYTES", "BOOL", "FP16"]
CLEAR = {  # statuses that tell a client what to do
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "FAILED_PRECONDITION",
    "RESOURCE_EXHAUSTED",
    "UNIMPLEMENTED",
    "DEADLINE_EXCEEDED",  # a stream that goes on
    "UNAVAILABLE",  # a model that is unloaded
}
_BYTES = [bytes(20), bytes(30), bytes(40)]
_INTEGERS = {
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
}


@dataclass(frozen=True, slots=True)
class Rpc:
    """One RPC of the server, and the class of its requests."""

    path: str
    method: MethodDescriptor
    request: Any

    @property
    def name(self) -> str:
        """Service and method, for the name of a test."""
        return self.method.full_name.removeprefix("smalti.v1.").removeprefix("inference.")


def _rpcs(methods: Sequence[MethodDescriptor]) -> list[Rpc]:
    return [
        Rpc(f"/{each.containing_service.full_name}/{each.name}", each, GetMessageClass(each.input_type))
        for each in methods
    ]


OWN = _rpcs(
    [
        method
        for file in (images_pb2, jobs_pb2, models_pb2)
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    ]
)
PROTOCOL = _rpcs(protocol.METHODS)


def requests(rpc: Rpc, valid: Sequence[Message] = ()) -> st.SearchStrategy[bytes]:
    """Serialized requests for an RPC; `valid` are requests that it answers, to be changed a little."""
    kinds = [messages(rpc.request).map(_serialized), st.binary(max_size=100)]
    if valid:
        some = st.sampled_from(list(valid))
        kinds += [
            st.builds(_merged, some, messages(rpc.request)),
            st.builds(_edited, some.map(_serialized), st.lists(_EDITS, max_size=4)),
        ]
    return st.one_of(kinds)


def messages(kind: type[Message]) -> st.SearchStrategy[Message]:
    """Messages of a kind, with any values in any of its fields."""
    chosen = {field.name: _values_of(field) for field in kind.DESCRIPTOR.fields}
    return st.fixed_dictionaries({}, optional=chosen).map(lambda fields: kind(**fields))


def _values_of(field: Any) -> st.SearchStrategy[Any]:
    if field.type == FieldDescriptor.TYPE_MESSAGE and field.message_type.GetOptions().map_entry:
        key, value = field.message_type.fields
        return st.dictionaries(_values(key), _values(value), max_size=3)
    return st.lists(_values(field), max_size=3) if field.is_repeated else _values(field)


def _values(field: Any) -> st.SearchStrategy[Any]:
    if field.type in _INTEGERS:
        lowest, highest = _INTEGERS[field.type]
        return st.one_of(st.integers(max(-1, lowest), 9), st.integers(lowest, highest))
    if field.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE):
        return st.floats(width=32)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return st.booleans()
    if field.type == FieldDescriptor.TYPE_STRING:
        return st.one_of(st.sampled_from(NAMES + DATATYPES), st.text(max_size=200))
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.one_of(st.sampled_from(_BYTES), st.binary(max_size=60))
    if field.type == FieldDescriptor.TYPE_ENUM:
        return st.sampled_from([*field.enum_type.values_by_number, 99])
    return messages(GetMessageClass(field.message_type))


# Where in the bytes, as a part of their length; how many bytes go; and what comes there.
_EDITS = st.tuples(st.floats(0, 1), st.integers(0, 4), st.binary(max_size=4))


def _edited(data: bytes, edits: Sequence[tuple[float, int, bytes]]) -> bytes:
    for part, gone, new in edits:
        start = int(part * len(data))
        data = data[:start] + new + data[start + gone :]
    return data


def _merged(valid: Message, other: Message) -> bytes:
    changed = type(valid)()
    changed.CopyFrom(valid)
    changed.MergeFrom(other)
    return _serialized(changed)


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()
