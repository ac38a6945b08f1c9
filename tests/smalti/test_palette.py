"""A palette keeps its own colours, and moves every other colour to the nearest one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smalti import palette
from smalti.errors import InvalidRequest

RED_GREEN_BLUE = palette.parse(["#ff0000", "#00ff00", "#0000ff"])
COLOURS = st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=1, max_size=20, unique=True).map(
    lambda colours: np.array(colours, dtype=np.uint8)
)


@given(COLOURS)
def test_a_colour_is_spelled_as_it_is_parsed(colours):
    assert (palette.parse(palette.spell(colours)) == colours).all()


@given(COLOURS)
def test_an_image_of_palette_colours_keeps_every_colour(colours):
    matched = palette.nearest(colours[None], colours)
    assert (palette.paint(matched.pixels[0], colours) == colours).all()
    assert (matched.moved, matched.largest_distance) == (0, 0.0)


@given(COLOURS)
def test_lab_and_back_is_the_same_colour(colours):
    assert (palette.from_lab(palette.to_lab(colours)) == colours).all()


def test_foreign_colours_move_to_the_nearest_and_are_counted():
    image = palette.parse(["#f01010", "#ff0000", "#1010e0", "#1010e0"]).reshape(2, 2, 3)
    matched = palette.nearest(image, RED_GREEN_BLUE)
    assert matched.pixels.tolist() == [[0, 0], [2, 2]]
    assert matched.moved == 3
    assert 0 < matched.largest_distance < 20


@given(
    st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=1, max_size=20),
    st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=1, max_size=20),
    st.lists(st.tuples(*[st.integers(0, 255)] * 3), max_size=40),
)
def test_the_quick_comparison_gives_what_comparing_all_distances_gives(wide, narrow, colours):
    table = np.array(wide + narrow, dtype=np.uint8)  # given colours that are equal, or hardly differ
    image = np.array(colours + wide + narrow, dtype=np.uint8)
    matched = palette.nearest(image, table)
    apart = np.linalg.norm(palette.to_lab(image)[:, None] - palette.to_lab(table), axis=-1)
    assert (matched.pixels == apart.argmin(axis=1)).all()
    assert matched.largest_distance == pytest.approx(apart.min(axis=1).max(), abs=1e-9)


def test_the_nearest_colour_is_the_one_that_looks_nearest():
    # In RGB the lilac is 114 from the aqua and 210 from the navy; to the eye it is 96 and 42.
    aqua_or_navy = palette.parse(["#99ffcc", "#003399"])
    assert palette.nearest(palette.parse(["#9999ff"])[None], aqua_or_navy).pixels.item() == 1


def test_white_is_the_lightest_and_has_no_hue():
    assert palette.to_lab(palette.parse(["#ffffff"]))[0] == pytest.approx([100, 0, 0], abs=0.02)


@pytest.mark.parametrize("colour", ["", "ff0000", "#ff00", "#gg0000", "#ff00000", "red"])
def test_a_string_that_is_not_a_colour_is_refused_and_quoted(colour):
    with pytest.raises(InvalidRequest, match="is not a colour"):
        palette.parse([colour])
