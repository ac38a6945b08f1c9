"""Both clients send a PNG, in whatever form an image is given."""

import io
from math import prod

import pytest
from PIL import Image as pillow

from smalti.client import calls
from smalti.errors import ImageRefused
from smalti.pictures import reader


def saved(image, form):
    stream = io.BytesIO()
    image.save(stream, form)
    return stream.getvalue()


def sent(source):
    [image] = calls.images.score("toy", [source], seed=None, version=0).request.images
    return reader.read(image.png, formats=("PNG",)).rgba


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"])
def test_a_file_of_any_kind_is_sent_as_a_png_by_path_and_by_bytes(tmp_path, form):
    data = saved(pillow.new("RGB", (3, 2), "#ffffff"), form)
    (tmp_path / "picture.dat").write_bytes(data)
    for source in (data, tmp_path / "picture.dat", str(tmp_path / "picture.dat")):
        assert sent(source).tobytes() == b"\xff" * 24


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "CMYK", "I;16", "F"])
def test_a_pillow_image_of_any_mode_is_sent_as_it_looks(mode):
    white = {"I;16": 65535, "F": 1.0}.get(mode)
    image = pillow.new("L", (3, 2), 255).convert(mode) if white is None else pillow.new(mode, (3, 2), white)
    assert sent(image).tobytes() == b"\xff" * 24


def test_a_file_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("once upon a time")
    for name, reason in {
        "empty.png": "is empty",
        "text.png": "is not a PNG, GIF, BMP, JPEG, WEBP, TIFF or PPM",
        "missing.png": "is not there",
        ".": "cannot be read: Is a directory",
    }.items():
        with pytest.raises(ImageRefused) as refused:
            sent(tmp_path / name)
        assert str(refused.value) == f"{tmp_path / name} {reason}."


class Foreign:
    """An object with numpy's array interface whose pixels are in a bytes object."""

    def __init__(self, shape, data):
        self.__array_interface__ = {"version": 3, "shape": shape, "typestr": "|u1", "data": data}


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 3), (2, 3, 4)])
def test_an_object_whose_array_interface_names_bytes_is_an_image(shape):
    assert sent(Foreign(shape, b"\xff" * prod(shape))).tobytes() == b"\xff" * 24


def test_an_object_with_fewer_bytes_than_pixels_is_refused():
    with pytest.raises(ImageRefused, match="This Foreign is not an image"):
        sent(Foreign((2, 3), b"\xff"))
