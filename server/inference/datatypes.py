"""The datatypes of the protocol, and how their values lie in bytes."""

import struct
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.inference import protocol
from smalti.errors import InvalidRequest

_LENGTH = struct.Struct("<I")  # before each value of BYTES
_SMALL_BYTES = 65536  # a copy of so many costs less than a view


class Datatype(NamedTuple):
    """One datatype: its name on the wire, and what its values are."""

    name: str
    config: int  # its number in a model's configuration, there called TYPE_FP32
    dtype: np.dtype[Any]  # of arrays; object for BYTES, whose values have any length
    contents: str  # the field of InferTensorContents that may hold its values; empty if none can
    has_fixed_size: bool  # whether every value takes the same number of bytes


def _datatype(name: str, config: str, dtype: str, contents: str) -> Datatype:
    return Datatype(name, protocol.DataType.Value(config), np.dtype(dtype), contents, dtype != "O")


_BY_TYPE = {  # by the type's name in a manifest
    "bool": _datatype("BOOL", "TYPE_BOOL", "?", "bool_contents"),
    "uint8": _datatype("UINT8", "TYPE_UINT8", "<u1", "uint_contents"),
    "uint16": _datatype("UINT16", "TYPE_UINT16", "<u2", "uint_contents"),
    "uint32": _datatype("UINT32", "TYPE_UINT32", "<u4", "uint_contents"),
    "uint64": _datatype("UINT64", "TYPE_UINT64", "<u8", "uint64_contents"),
    "int8": _datatype("INT8", "TYPE_INT8", "<i1", "int_contents"),
    "int16": _datatype("INT16", "TYPE_INT16", "<i2", "int_contents"),
    "int32": _datatype("INT32", "TYPE_INT32", "<i4", "int_contents"),
    "int64": _datatype("INT64", "TYPE_INT64", "<i8", "int64_contents"),
    "float16": _datatype("FP16", "TYPE_FP16", "<f2", ""),
    "float32": _datatype("FP32", "TYPE_FP32", "<f4", "fp32_contents"),
    "float64": _datatype("FP64", "TYPE_FP64", "<f8", "fp64_contents"),
    "string": _datatype("BYTES", "TYPE_STRING", "O", "bytes_contents"),
}
DATATYPES = {datatype.name: datatype for datatype in _BY_TYPE.values()}


def datatype_of(kind: str) -> Datatype:
    """The datatype of a type in a manifest, such as 'float32'."""
    return _BY_TYPE[kind]


def read_raw(data: bytes | memoryview, datatype: Datatype, *, most: int) -> NDArray[Any]:
    """The values (values,) in raw bytes, without a copy where that is possible.

    Raises InvalidRequest if the bytes do not hold whole values, or more than `most` values that are read one by one.
    """
    if not datatype.has_fixed_size:
        return _objects(_split(data, most))
    if datatype.dtype == bool:  # a byte other than 0 and 1 would be an invalid bool
        return np.not_equal(np.frombuffer(data, dtype=np.uint8), 0)
    if len(data) % datatype.dtype.itemsize:
        raise InvalidRequest(
            f"{len(data)} bytes are no whole number of {datatype.name} values, "
            f"which take {datatype.dtype.itemsize} bytes each."
        )
    return np.frombuffer(data, dtype=datatype.dtype)


def read_contents(values: Any, datatype: Datatype) -> NDArray[Any]:
    """The values (values,) of a repeated field; raises InvalidRequest for one that the datatype cannot hold."""
    if not datatype.has_fixed_size:
        return _objects(values)
    try:
        return np.fromiter(values, dtype=datatype.dtype, count=len(values))
    except OverflowError:
        raise InvalidRequest(f"a value is out of the range of {datatype.name}.") from None


def write_raw(array: NDArray[Any], datatype: Datatype) -> bytes | memoryview:
    """The raw bytes of an array; those of the array itself where it is large and lies in one piece."""
    if not datatype.has_fixed_size:
        return b"".join(_with_lengths(array.reshape(-1)))
    if array.nbytes <= _SMALL_BYTES:
        return array.tobytes()
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _split(data: bytes | memoryview, most: int) -> list[bytes]:
    """The values of BYTES: each is its length in four bytes, little-endian, and then so many bytes."""
    values: list[bytes] = []
    start, end = 0, len(data)
    while start < end:
        if len(values) == most:
            raise InvalidRequest(f"more than {most} values came.")
        if end - start < _LENGTH.size:
            raise InvalidRequest(f"{end - start} bytes are left over where the length of a value should be.")
        (length,) = _LENGTH.unpack_from(data, start)
        start += _LENGTH.size
        if length > end - start:
            raise InvalidRequest(f"a value should have {length} bytes, but only {end - start} are left.")
        values.append(bytes(data[start : start + length]))
        start += length
    return values


def _objects(values: Iterable[bytes]) -> NDArray[Any]:
    """The values as onnxruntime takes them: as text."""
    try:
        listed = [value.decode() for value in values]
    except UnicodeDecodeError:
        raise InvalidRequest("a value of BYTES is not text in UTF-8, as the model takes it.") from None
    array = np.empty(len(listed), dtype=object)
    array[:] = listed
    return array


def _with_lengths(values: Iterable[Any]) -> Iterable[bytes]:
    for value in values:
        data = value if isinstance(value, bytes) else str(value).encode()
        yield _LENGTH.pack(len(data))
        yield data
