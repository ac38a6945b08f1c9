"""Files that numpy reads, written without numpy."""

from io import BytesIO

import numpy as np
import pytest

from smalti import npz


def reading(*arrays):
    file = BytesIO()
    npz.write(file, arrays)
    file.seek(0)
    with np.load(file) as read:
        return dict(read)


@pytest.mark.parametrize("kind", ["|u1", "<u2", "<i4", "<f8"])
@pytest.mark.parametrize("shape", [(2, 3), (6,), (1, 2, 3)])
def test_numpy_reads_an_array_of_parts_with_its_type_and_shape(kind, shape):
    values = np.arange(6, dtype=kind).reshape(shape)
    data = values.tobytes()
    read = reading(npz.Array(name="a", kind=kind, shape=shape, parts=[data[:5], data[5:]]))["a"]
    assert (read.dtype, read.tolist()) == (values.dtype, values.tolist())


def test_numpy_reads_numbers_and_texts_of_any_length():
    read = reading(
        npz.numbers("whole", "<u8", [0, 2**64 - 1]),
        npz.numbers("real", "<f8", [-1.5]),
        npz.numbers("none", "<f8", []),
        npz.text("words", "Bär"),
        npz.text("empty", ""),
    )
    assert read["whole"].tolist() == [0, 2**64 - 1]
    assert read["real"].tolist() == [-1.5]
    assert read["none"].tolist() == []
    assert (str(read["words"]), str(read["empty"])) == ("Bär", "")


def test_the_same_arrays_give_the_same_bytes():
    first, second = BytesIO(), BytesIO()
    for file in (first, second):
        npz.write(file, [npz.numbers("a", "<u8", [1, 2])])
    assert first.getvalue() == second.getvalue()
