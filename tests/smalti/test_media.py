import io
import struct

from PIL import Image

from smalti import media

PALETTE = ("#000000", "#ff0000", "#00ff00", "#0000ff")


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
    shown = Image.open(io.BytesIO(data))
    assert (shown.getpixel((0, 0)), shown.getpixel((1, 0))) == ((0, 1, 43), (0, 0, 1))


def test_transparent_parts_get_the_background_colour():
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    image.putpixel((1, 0), (255, 0, 0, 255))
    shown = media.flat(image, "#0000ff")
    assert (shown.getpixel((0, 0)), shown.getpixel((1, 0))) == ((0, 0, 255), (255, 0, 0))


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


def test_a_contact_sheet_has_one_line_for_each_list_and_room_for_labels():
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


def test_the_recipe_names_the_colour_that_replaced_transparency():
    assert media.background_of({"data": {"background": "#ece4d4"}}, PALETTE) == "#ece4d4"
    for silent in ({}, {"data": None}, {"data": {"background": None}}, {"data": {"background": "no colour"}}):
        assert media.background_of(silent, PALETTE) == "#000000"


def test_a_mask_keeps_what_is_light_and_opaque():
    picture = Image.new("RGBA", (2, 2), "#ffffff")
    picture.putpixel((1, 0), (0, 0, 0, 255))
    picture.putpixel((0, 1), (255, 255, 255, 0))
    assert media.mask(picture) == bytes([1, 0, 0, 1])
