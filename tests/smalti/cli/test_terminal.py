from io import BytesIO, TextIOWrapper

import pytest
from rich.console import Console

from smalti.cli.terminal import (
    Canvas,
    Gallery,
    bands_that_fit,
    columns_that_fit,
    grid,
    moves_pictures,
    shows_pictures,
)
from smalti.client import Image

PALETTE = ("#000000", "#ff0000", "#00ff00")


def printed(canvases, columns):
    console = Console(color_system="truecolor", force_terminal=True, width=80)
    with console.capture() as capture:
        console.print(grid(canvases, columns=columns), end="")
    return capture.get()


def test_one_line_shows_two_rows_as_upper_and_lower_half_blocks():
    canvas = Canvas(2, 1, PALETTE)
    canvas.add(0, bytes([1, 2]))
    assert printed([canvas], columns=1) == "\x1b[38;2;255;0;0;48;2;0;255;0m▀\x1b[0m\n"


def test_a_last_odd_row_has_nothing_below_it():
    canvas = Canvas(1, 2, PALETTE)
    canvas.add(0, bytes([1, 1]))
    assert printed([canvas], columns=1) == "\x1b[38;2;255;0;0m▀▀\x1b[0m\n"


def test_rows_that_are_not_drawn_yet_are_grey():
    canvas = Canvas(2, 1, PALETTE)
    canvas.add(0, bytes([1]))
    assert canvas.colours(1) == ["#303030"]
    assert not canvas.is_complete


def test_rows_sent_again_do_not_grow_the_picture():
    canvas = Canvas(2, 1, PALETTE)
    canvas.add(0, bytes([1]))
    canvas.add(0, bytes([1, 2]))
    assert [list(row) for row in canvas.rows] == [[1], [2]]


def test_pictures_stand_side_by_side_and_below_each_other():
    canvases = [Canvas(2, 3, PALETTE) for _ in range(3)]
    plain = Console(color_system=None, width=80)
    with plain.capture() as capture:
        plain.print(grid(canvases, columns=2), end="")
    assert capture.get() == "▀▀▀  ▀▀▀\n\n▀▀▀\n"


def test_pictures_need_a_terminal_with_colours():
    assert shows_pictures(Console(force_terminal=True, color_system="256", no_color=False))
    assert not shows_pictures(Console(force_terminal=True, color_system="256", no_color=True))
    assert not shows_pictures(Console(force_terminal=True, color_system=None))
    assert not shows_pictures(Console(force_terminal=False, color_system="256"))


@pytest.mark.parametrize(
    ("encoding", "has"), [("utf-8", True), ("cp437", True), ("ascii", False), ("cp1252", False)]
)
def test_pictures_need_an_encoding_that_has_half_blocks(encoding, has):
    stream = TextIOWrapper(BytesIO(), encoding=encoding)
    console = Console(file=stream, force_terminal=True, color_system="256", no_color=False)
    assert shows_pictures(console) == has


def test_force_color_does_not_animate_pictures_in_a_file(tmp_path):
    with (tmp_path / "log").open("w") as file:
        console = Console(file=file, force_terminal=True, color_system="256", no_color=False)
        assert shows_pictures(console)
        assert not moves_pictures(console)


def test_as_many_pictures_as_fit():
    assert columns_that_fit(20, 80) == 3
    assert columns_that_fit(32, 80) == 2
    assert columns_that_fit(100, 80) == 0
    assert bands_that_fit(20, 21) == 2
    assert bands_that_fit(21, 10) == 0


def a_gallery(places):
    return Gallery(places, height=2, width=1, palette=PALETTE)


def shown(gallery):
    return [[row[0] for row in canvas.rows] for canvas in gallery.canvases]


def test_a_sample_takes_the_place_of_one_that_has_ended():
    gallery = a_gallery(2)
    gallery.add_rows(0, 0, bytes([0, 0]))
    gallery.add_rows(1, 0, bytes([1, 1]))
    gallery.end(1)
    gallery.add_rows(2, 0, bytes([2]))
    assert shown(gallery) == [[0, 0], [2]]


def test_a_sample_without_a_place_waits_with_its_rows():
    gallery = a_gallery(1)
    gallery.add_rows(0, 0, bytes([0]))
    gallery.add_rows(1, 0, bytes([1]))
    assert shown(gallery) == [[0]]
    gallery.end(0)
    gallery.add_rows(1, 1, bytes([2]))
    assert shown(gallery) == [[1, 2]]


def test_a_shown_sample_that_ended_without_its_last_rows_is_completed():
    gallery = a_gallery(1)
    gallery.add_rows(0, 0, bytes([1]))
    assert gallery.end(0)
    gallery.complete(0, Image(height=2, width=1, indices=bytes([1, 2]), palette=PALETTE))
    assert shown(gallery) == [[1, 2]]


def test_a_terminal_too_small_for_a_picture_shows_none():
    gallery = a_gallery(0)
    gallery.add_rows(0, 0, bytes([1]))
    assert shown(gallery) == []
    assert not gallery.end(0)
