"""A picture is read from its bytes or refused, whatever the file holds."""

import io
import struct
import warnings
import zlib
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from smalti import media
from smalti.errors import ImageRefused
from smalti.pictures import reader

RED, GREEN = (255, 0, 0, 255), (0, 255, 0, 255)


def saved(image, form="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width, height, *, depth, kind, row, transparent=b""):
    """A PNG of equal rows, made by hand: Pillow cannot write all that PNG has."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    clear = chunk(b"tRNS", transparent) if transparent else b""
    rows = chunk(b"IDAT", zlib.compress((b"\0" + row) * height))
    return reader.PNG_SIGNATURE + header + clear + rows + chunk(b"IEND", b"")


def header_only(width, height):
    """A PNG that says it is large, without a single pixel."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return reader.PNG_SIGNATURE + chunk(b"IHDR", header)


def rgb_png(width, height):
    return saved(Image.new("RGB", (width, height), "#123456"))


def first_row(picture):
    row = picture.rgba.crop((0, 0, picture.rgba.width, 1)).tobytes()
    return [tuple(row[start : start + 4]) for start in range(0, len(row), 4)]


def test_greys_of_sixteen_bits_are_scaled_to_eight_and_not_clipped():
    found = reader.read(png(3, 1, depth=16, kind=0, row=struct.pack(">3H", 0, 100 * 257, 65535)))
    assert [level[0] for level in first_row(found)] == [0, 100, 255]
    assert found.traits.deep


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(saved(Image.new("I;16", (1, 1), 100 * 257), "TIFF"), id="16-bit TIFF"),
        pytest.param(saved(Image.new("I", (1, 1), 100 * 257), "TIFF"), id="32-bit TIFF"),
        pytest.param(saved(Image.new("I", (1, 1), 100), "TIFF"), id="32-bit TIFF of 8-bit values"),
        pytest.param(b"P5 1 1 65535 " + struct.pack(">H", 100 * 257), id="16-bit PGM"),
        pytest.param(saved(Image.new("F", (1, 1), 100 / 255), "TIFF"), id="TIFF of fractions"),
        pytest.param(saved(Image.new("F", (1, 1), 100.0), "TIFF"), id="TIFF of numbers to 255"),
        pytest.param(png(1, 1, depth=16, kind=2, row=bytes([100] * 6)), id="16-bit RGB"),
    ],
)
def test_every_kind_of_deep_picture_is_converted_to_eight_bits(data):
    found = reader.read(data)
    assert first_row(found) == [(100, 100, 100, 255)]
    assert found.traits.deep


@pytest.mark.parametrize(
    "image",
    [Image.new("I", (1, 1), 70_000), Image.new("F", (1, 1), -2.0), Image.new("F", (1, 1), float("nan"))],
)
def test_values_out_of_range_are_refused_and_not_clipped(image):
    with pytest.raises(ImageRefused, match=r"has grey levels from .*: save it with 8 or 16 bits"):
        reader.read(saved(image, "TIFF"))


@pytest.mark.parametrize(
    ("data", "alphas"),
    [
        (png(2, 1, depth=1, kind=0, row=b"\x40", transparent=b"\0\x01"), [255, 0]),
        (png(2, 1, depth=4, kind=0, row=b"\x5a", transparent=b"\0\x05"), [0, 255]),
        (png(2, 1, depth=8, kind=0, row=b"\x05\x50", transparent=b"\0\x05"), [0, 255]),
        (png(2, 1, depth=16, kind=0, row=b"\x12\x34\x12\x35", transparent=b"\x12\x34"), [0, 255]),
        (png(2, 1, depth=8, kind=2, row=b"abcdef", transparent=b"\0a\0b\0c"), [0, 255]),
        (png(2, 1, depth=16, kind=2, row=b"aAbBcCdDeEfF", transparent=b"aAbBcC"), [0, 255]),
        (png(1, 1, depth=16, kind=4, row=b"\xff\xff\x80\x80"), [128]),
    ],
)
def test_a_transparent_colour_is_transparent_in_every_depth(data, alphas):
    found = reader.read(data)
    assert [colour[3] for colour in first_row(found)] == alphas
    assert found.traits.transparent


def test_transparency_of_a_palette_is_kept():
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), 1)
    assert first_row(reader.read(saved(image, transparency=bytes([0, 128])))) == [
        (255, 0, 0, 0),
        (0, 255, 0, 128),
    ]
    assert first_row(reader.read(saved(image, "GIF", transparency=0))) == [(255, 0, 0, 0), GREEN]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_white_is_white_in_every_mode(mode):
    white = Image.new("RGB", (1, 1), "#ffffff")
    image = Image.new("I;16", (1, 1), 65535) if mode == "I;16" else white.convert(mode)
    assert first_row(reader.normal(image)) == [(255, 255, 255, 255)]


def test_colour_modes_that_pillow_converts_wrongly_are_refused():
    with pytest.raises(ImageRefused, match="colours of the kind LAB"):
        reader.normal(Image.new("LAB", (1, 1)))


def corners():
    """Wider than high, another colour in each corner."""
    image = Image.new("RGB", (32, 16))
    for colour, left, top in (("#ff0000", 0, 0), ("#00ff00", 16, 0), ("#0000ff", 0, 8), ("#ffffff", 16, 8)):
        image.paste(colour, (left, top, left + 16, top + 8))
    return image


_TURNS = {  # how the picture was turned before it was saved with this orientation
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", _TURNS)
def test_a_picture_is_turned_as_its_exif_orientation_says(form, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    turn = _TURNS[orientation]
    lying = corners() if turn is None else corners().transpose(turn)
    found = reader.read(saved(lying, form, exif=exif), size=(32, 16))
    seen: list[Any] = [found.rgba.getpixel(place) for place in ((4, 4), (28, 4), (4, 12), (28, 12))]
    wanted = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]
    for colour, expected in zip(seen, wanted, strict=True):
        assert all(abs(one - other) < 60 for one, other in zip(colour[:3], expected, strict=True))
    assert found.traits.turned == (orientation != 1)


def test_damaged_exif_leaves_the_picture_unchanged():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = bytearray(saved(corners(), "JPEG", exif=exif))
    start = data.index(b"Exif") + 6
    data[start : start + 20] = b"\xff" * 20
    assert reader.read(bytes(data)).rgba.size == (32, 16)


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_of_an_animation_is_taken(form):
    red, green = (Image.new("RGB", (2, 2), colour) for colour in ("#ff0000", "#00ff00"))
    options = {"lossless": True} if form == "WEBP" else {}
    found = reader.read(saved(red, form, save_all=True, append_images=[green], **options))
    assert (found.rgba.getpixel((0, 0)), found.traits.animated) == (RED, True)


def test_a_second_picture_in_a_cameras_jpeg_is_not_an_animation():
    one = Image.new("RGB", (8, 8), "#ff0000")
    assert not reader.read(saved(one, "MPO", save_all=True, append_images=[one])).traits.animated


def test_the_format_is_found_from_the_bytes():
    for form in ("PNG", "GIF", "BMP", "JPEG", "WEBP", "TIFF", "PPM"):
        assert reader.read(saved(Image.new("RGB", (3, 2), "#ff0000"), form)).rgba.size == (3, 2), form
    with pytest.raises(ImageRefused, match="is not a PNG, GIF, BMP, JPEG, WEBP, TIFF or PPM"):
        reader.read(saved(Image.new("RGB", (16, 16)), "ICO"))
    with pytest.raises(ImageRefused, match="is not a PNG"):
        reader.read(saved(Image.new("RGB", (3, 2)), "JPEG"), formats=("PNG",))


def test_an_unexpected_size_is_refused_with_both_sizes():
    assert reader.read(rgb_png(3, 2), size=(3, 2)).rgba.size == (3, 2)
    for size in ((2, 3), (3, 3)):
        with pytest.raises(
            ImageRefused, match=f"3×2, the model draws {size[0]}×{size[1]}: bring it to that size"
        ):
            reader.read(rgb_png(3, 2), size=size)


@pytest.mark.parametrize("size", [(8193, 1), (1, 8193), (2**31 - 1, 2**31 - 1)])
def test_an_image_with_too_large_a_header_is_refused(size):
    with pytest.raises(ImageRefused, match="the largest side may be 8192"):
        reader.read(header_only(*size))


@pytest.mark.parametrize("side", [12_000, 15_000])
def test_a_decompression_bomb_is_refused_like_any_large_image(side, recwarn):
    bomb = bytearray(saved(Image.new("RGB", (1, 1)), "BMP"))
    struct.pack_into("<ii", bomb, 18, side, side)
    with pytest.raises(ImageRefused, match="the largest side may be 8192"):
        reader.read(bytes(bomb))
    assert not recwarn.list


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GIF89a",
        b"once upon a time",
        reader.PNG_SIGNATURE,
        header_only(4, 4),
        rgb_png(9, 9)[:-30],
        saved(corners(), "JPEG")[:-200],
        b"\0\x05\x16\x07" + bytes(78),
    ],
)
def test_an_incomplete_picture_is_refused_with_our_message(data):
    with pytest.raises(
        ImageRefused, match=r"^The image is (empty|cut off or damaged|not a PNG, .* or PPM)\.$"
    ):
        reader.read(data)


@pytest.mark.parametrize("cut", [1, 4, 12, 20])
def test_a_png_without_its_end_is_refused_even_if_it_has_all_pixels(cut):
    with pytest.raises(ImageRefused, match="is cut off or damaged"):
        reader.read(rgb_png(5, 5)[:-cut])


def test_what_follows_the_end_of_a_png_does_not_matter():
    assert reader.read(rgb_png(5, 5) + b"more").rgba.size == (5, 5)


def test_a_pillow_image_with_a_truncated_file_is_refused():
    with Image.open(io.BytesIO(rgb_png(9, 9)[:-30])) as image, pytest.raises(ImageRefused):
        reader.normal(image)


def test_reading_a_pillow_image_does_not_change_it():
    with Image.open(io.BytesIO(png(2, 1, depth=4, kind=0, row=b"\x5a", transparent=b"\0\x05"))) as image:
        reader.normal(image)
        assert image.info["transparency"] == 5


@settings(deadline=None)  # a busy machine may be slow
@given(st.data())
def test_a_damaged_picture_is_refused_or_read_and_never_crashes(data):
    form = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "WEBP", "PPM"]))
    damaged = bytearray(saved(corners().resize((7, 5)), form))
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ImageRefused), warnings.catch_warnings(record=True):
        assert max(reader.read(bytes(damaged)).rgba.size) <= reader.MAX_SIDE


def test_the_server_reads_the_image_that_the_client_sends():
    for data in (png(3, 1, depth=16, kind=0, row=struct.pack(">3H", 0, 257, 65535)), rgb_png(2, 2)):
        sent = media.encode(reader.read(data).rgba)
        assert reader.read(sent, formats=("PNG",)).rgba.tobytes() == reader.read(data).rgba.tobytes()
