"""The thirteen datatypes of the protocol, from bytes to arrays and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tritonclient.utils import serialize_byte_tensor, triton_to_np_dtype

from server.inference.datatypes import DATATYPES, read_contents, read_raw, write_raw
from smalti.errors import InvalidRequest

NUMBERS = [name for name in DATATYPES if name != "BYTES"]
TEXTS = st.lists(st.text(max_size=20), max_size=10)


def test_there_are_thirteen():
    assert len(DATATYPES) == 13


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_those_of_tritons_client(name):
    assert np.dtype(triton_to_np_dtype(name)) == DATATYPES[name].dtype


@pytest.mark.parametrize("name", NUMBERS)
@given(data=st.data())
def test_numbers_go_to_bytes_and_back(name, data):
    kind = DATATYPES[name].dtype
    values = data.draw(arrays.arrays(kind, arrays.array_shapes(max_dims=3, max_side=5)))
    found = read_raw(bytes(write_raw(values, DATATYPES[name])), DATATYPES[name], most=values.size)
    np.testing.assert_array_equal(found, values.reshape(-1))


@given(values=TEXTS)
def test_bytes_are_written_as_tritons_client_writes_them(values):
    array = np.array([value.encode() for value in values], dtype=object)
    written = bytes(write_raw(array, DATATYPES["BYTES"]))
    assert written == (serialize_byte_tensor(array).item() if values else b"")
    assert read_raw(written, DATATYPES["BYTES"], most=len(values)).tolist() == values


@given(data=st.binary(max_size=40))
def test_any_bytes_are_values_or_refused(data):
    for datatype in DATATYPES.values():
        try:
            values = read_raw(data, datatype, most=len(data))
        except InvalidRequest:
            continue
        if datatype.has_fixed_size:
            assert values.nbytes == len(data)
        else:
            assert bytes(write_raw(values, datatype)) == data


def test_a_truth_is_every_byte_but_0():
    assert read_raw(b"\x00\x01\x02\xff", DATATYPES["BOOL"], most=4).view(np.uint8).tolist() == [0, 1, 1, 1]


def test_an_array_in_pieces_is_written_in_order():
    values = np.arange(6, dtype=np.int32).reshape(2, 3).T
    assert bytes(write_raw(values, DATATYPES["INT32"])) == np.array([0, 3, 1, 4, 2, 5], np.int32).tobytes()


def test_large_arrays_are_written_without_a_copy():
    values = np.arange(100_000, dtype=np.int32)
    written = write_raw(values, DATATYPES["INT32"])
    assert np.shares_memory(np.frombuffer(written, dtype=np.int32), values)
    assert bytes(write_raw(values[::2], DATATYPES["INT32"])) == values[::2].tobytes()


def test_a_typed_value_out_of_range_is_refused():
    with pytest.raises(InvalidRequest, match="out of the range of INT8"):
        read_contents([1, 300], DATATYPES["INT8"])


def test_a_text_that_ends_too_early_is_refused():
    with pytest.raises(InvalidRequest, match="a value should have 5 bytes, but only 2 are left"):
        read_raw(b"\x05\x00\x00\x00ab", DATATYPES["BYTES"], most=4)
