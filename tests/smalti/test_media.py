import io
import struct
import zlib
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from smalti import media
from smalti.errors import ImageRefused

PALETTE = ("#000000", "#ff0000", "#00ff00", "#0000ff")


def rgb_png(width: int, height: int) -> bytes:
    return media.encode(Image.new("RGB", (width, height), "#123456"))


def header_only(width: int, height: int) -> bytes:
    """A PNG that says it is large, without a single pixel."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk


def test_pixels_become_a_png_of_their_colours():
    image = Image.open(io.BytesIO(media.png(bytes([0, 1, 2, 3, 3, 2]), height=2, width=3, palette=PALETTE)))
    shown = image.convert("RGB")
    assert shown.size == (3, 2)
    assert [shown.getpixel((x, y)) for y in (0, 1) for x in (0, 1, 2)] == [
        tuple(bytes.fromhex(PALETTE[pixel][1:])) for pixel in (0, 1, 2, 3, 3, 2)
    ]


def test_a_palette_of_more_than_256_colours_has_two_bytes_a_pixel():
    palette = tuple(f"#{number:06x}" for number in range(300))
    data = media.png(struct.pack("<2H", 299, 1), height=1, width=2, palette=palette)
    shown = media.decode(data)
    assert (shown.getpixel((0, 0)), shown.getpixel((1, 0))) == ((0, 1, 43), (0, 0, 1))


def test_transparent_parts_take_the_background():
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    image.putpixel((1, 0), (255, 0, 0, 255))
    shown = media.decode(media.encode(image), background="#0000ff")
    assert (shown.getpixel((0, 0)), shown.getpixel((1, 0))) == ((0, 0, 255), (255, 0, 0))


def test_another_size_than_expected_is_refused_with_both():
    assert media.decode(rgb_png(3, 2), size=(3, 2)).size == (3, 2)
    with pytest.raises(ImageRefused, match="3×2, the model draws 2×3"):
        media.decode(rgb_png(3, 2), size=(2, 3))


@pytest.mark.parametrize("size", [(4097, 1), (1, 4097), (2**31 - 1, 2**31 - 1)])
def test_an_image_too_large_is_refused_by_its_header(size):
    with pytest.raises(ImageRefused, match="the largest side may be 4096"):
        media.decode(header_only(*size))


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", header_only(4, 4), rgb_png(9, 9)[:-30]]
)
def test_what_is_no_whole_png_is_refused(data):
    with pytest.raises(ImageRefused):
        media.decode(data)


@settings(deadline=None)  # of correctness, not of a busy machine's speed
@given(st.data())
def test_any_damage_is_refused_or_read_but_never_crashes(data):
    damaged = bytearray(rgb_png(7, 5))
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ImageRefused):
        assert max(media.decode(bytes(damaged)).size) <= media.MAX_SIDE


def test_a_sheet_shows_images_in_rows_with_gaps():
    images = [Image.new("RGB", (2, 2), colour) for colour in ("#ff0000", "#00ff00", "#0000ff")]
    sheet = media.sheet(images, columns=2, scale=1, gap=1)
    assert sheet.size == (7, 7)
    assert [sheet.getpixel(place) for place in ((1, 1), (4, 1), (1, 4), (4, 4), (0, 0))] == [
        (255, 0, 0),
        (0, 255, 0),
        (0, 0, 255),
        (255, 255, 255),
        (255, 255, 255),
    ]


def plain_rows(rows, columns, size=(3, 2)):
    return [
        [Image.new("RGB", size, f"#{row}0{column}000") for column in range(columns)] for row in range(rows)
    ]


def test_a_contact_sheet_has_a_row_for_each_and_room_for_words():
    rows = plain_rows(2, 3)
    bare = media.contact_sheet(rows, scale=20)
    assert bare.size == (20 * (1 + 3 * 4), 20 * (1 + 2 * 3))
    assert bare.getpixel((20 * (1 + 4) + 5, 20 * (1 + 3) + 5)) == (0x10, 0x10, 0x00)
    worded = media.contact_sheet(
        rows, scale=20, headings=["one", "two", "three"], labels=["ant", "a long name"]
    )
    left, top = worded.width - bare.width, worded.height - bare.height
    assert worded.crop((left, top, worded.width, worded.height)).tobytes() == bare.tobytes()
    for place, box in {
        "headings": (left, 0, worded.width, top),
        "labels": (0, top, left, worded.height),
    }.items():
        assert len(set(worded.crop(box).convert("L").tobytes())) > 1, place


def test_what_was_transparent_in_training_is_told_by_the_recipe():
    assert media.background_of({"data": {"background": "#ece4d4"}}, PALETTE) == "#ece4d4"
    for silent in ({}, {"data": None}, {"data": {"background": None}}):
        assert media.background_of(silent, PALETTE) == "#000000"


def test_a_mask_of_another_size_than_expected_is_refused():
    assert media.mask(rgb_png(2, 1), size=(2, 1)) == bytes(2)
    with pytest.raises(ImageRefused, match="3×2, the model draws 2×2"):
        media.mask(rgb_png(3, 2), size=(2, 2))
