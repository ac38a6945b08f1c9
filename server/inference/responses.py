"""Writes a ModelInferResponse in parts. Written by hand: protobuf would copy large outputs several times."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from server.inference import protocol
from server.inference.classification import classified
from server.inference.datatypes import DATATYPES, write_raw
from server.inference.naming import ProtocolModel, named_in_errors
from server.inference.requests import Wanted
from server.inference.shared_memory import Place, Regions
from server.oneshot.waiting import Arrays

_BYTES = DATATYPES["BYTES"]
_ID = b"\x1a"  # the tag of id: field 3, with a length
_RAW = b"\x32"  # the tag of raw_output_contents: field 6, with a length
_IN_STREAM = b"\x12"  # the tag of infer_response in a stream's message: field 2, with a length
_SLOW_VALUES = 4096
_REMEMBERED = 4096  # heads and descriptions that are kept
Part = bytes | memoryview
Parts = list[Part]  # one after the other


def write(
    model: ProtocolModel,
    request_id: str,
    outputs: Arrays,
    wanted: Sequence[Wanted],
    regions: Regions,
    *,
    last: bool | None = None,
) -> Parts:
    """The response with the wanted outputs; those that go into shared memory are written there.

    `last` says in a stream whether it is the request's last response. Raises what Regions.write raises;
    the model is named first.
    """
    parts = _head(model, request_id, last)
    contents: Parts = []
    for kind, classes, place in wanted:
        array, datatype = outputs[kind.name], kind.datatype
        if classes:
            array, datatype = classified(array, classes, is_batched=model.kind.is_batched), _BYTES
        data = write_raw(array, datatype)
        if place is None:
            parts.append(_described(kind.name, datatype.name, array.shape))
            contents += (_RAW, _varint(len(data)), data)
        else:
            with named_in_errors(model):
                regions.write(place, data)
            parts.append(_placed(kind.name, datatype.name, array.shape, place._replace(byte_size=len(data))))
            contents += (_RAW, _varint(0))
    return parts + contents


def is_slow_to_write(outputs: Arrays, wanted: Sequence[Wanted]) -> bool:
    """Whether so many values are looked at one by one that others should not wait for it."""
    return any(
        (classes or not kind.datatype.has_fixed_size) and outputs[kind.name].size > _SLOW_VALUES
        for kind, classes, _ in wanted
    )


def write_empty(model: ProtocolModel, request_id: str) -> Parts:
    """The response without outputs that ends the responses to a request in a stream."""
    return _head(model, request_id, True)


def in_stream(response: Parts) -> Parts:
    """A response as a stream sends it."""
    return [_IN_STREAM, _varint(sum(map(len, response))), *response]


def write_failure(request: Any, message: str) -> Parts:
    """What a stream sends instead of a response to a request that is refused."""
    response = {
        "model_name": request.model_name,
        "model_version": request.model_version,
        "id": request.id,
        "parameters": _FINAL_PARAMETER,
    }
    failure = protocol.ModelStreamInferResponse(error_message=message, infer_response=response)
    return [failure.SerializeToString()]


def _head(model: ProtocolModel, request_id: str, last: bool | None) -> Parts:
    parts: Parts = [_named(model.name, model.version)]
    if request_id:
        written = request_id.encode()
        parts += (_ID, _varint(len(written)), written)
    if last is not None:
        parts.append(_FINAL if last else _NOT_FINAL)
    return parts


@lru_cache(maxsize=_REMEMBERED)
def _named(name: str, version: str) -> bytes:
    return bytes(protocol.ModelInferResponse(model_name=name, model_version=version).SerializeToString())


@lru_cache(maxsize=_REMEMBERED)
def _described(name: str, datatype: str, shape: tuple[int, ...]) -> bytes:
    """The field `outputs` for one output."""
    output = protocol.ModelInferResponse.InferOutputTensor(name=name, datatype=datatype, shape=shape)
    return bytes(protocol.ModelInferResponse(outputs=[output]).SerializeToString())


def _placed(name: str, datatype: str, shape: tuple[int, ...], place: Place) -> bytes:
    """The field `outputs` for one output whose values are in shared memory."""
    parameters = {
        "shared_memory_region": protocol.InferParameter(string_param=place.region),
        "shared_memory_byte_size": protocol.InferParameter(int64_param=place.byte_size),
    }
    if place.offset:
        parameters["shared_memory_offset"] = protocol.InferParameter(int64_param=place.offset)
    output = protocol.ModelInferResponse.InferOutputTensor(
        name=name, datatype=datatype, shape=shape, parameters=parameters
    )
    return bytes(protocol.ModelInferResponse(outputs=[output]).SerializeToString())


@lru_cache(maxsize=_REMEMBERED)
def _varint(number: int) -> bytes:
    """A number as protobuf writes lengths: seven bits in each byte, the lowest first."""
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def _final(*, last: bool) -> dict[str, Any]:
    return {"triton_final_response": protocol.InferParameter(bool_param=last)}


_FINAL_PARAMETER = _final(last=True)
_FINAL = bytes(protocol.ModelInferResponse(parameters=_FINAL_PARAMETER).SerializeToString())
_NOT_FINAL = bytes(protocol.ModelInferResponse(parameters=_final(last=False)).SerializeToString())
