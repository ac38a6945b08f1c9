"""Pixels take one byte each, or two where the palette has more than 256 colours, and come back as they were."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smalti.pixels import bytes_per_pixel, number_type, pack, unpack


@pytest.mark.parametrize(("colours", "size"), [(2, 1), (256, 1), (257, 2), (65536, 2)])
def test_a_pixel_takes_one_byte_up_to_256_colours_and_two_beyond(colours, size):
    assert bytes_per_pixel(colours) == size
    assert len(pack([0, colours - 1], colours)) == 2 * size
    assert np.dtype(number_type(colours)).itemsize == size


@given(st.integers(2, 65536).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.integers(0, n - 1)))))
def test_packed_pixels_are_unpacked_as_they_were_and_numpy_reads_them_alike(case):
    colours, pixels = case
    packed = pack(pixels, colours)
    assert unpack(packed, colours) == tuple(pixels)
    assert np.frombuffer(packed, number_type(colours)).tolist() == pixels
