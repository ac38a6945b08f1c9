"""A picture is resized, cropped or padded to a model's size."""

import pytest
from PIL import Image

from smalti.errors import ImageRefused
from smalti.pictures.fitting import Fit, fit

RED, BLUE, CLEAR = (255, 0, 0, 255), (0, 0, 255, 255), (0, 0, 0, 0)


def halves(width, height):
    """Left half red, right half blue."""
    image = Image.new("RGBA", (width, height), RED)
    image.paste(BLUE, (width // 2, 0, width, height))
    return image


def row(image, y=0):
    return [image.getpixel((x, y)) for x in range(image.width)]


@pytest.mark.parametrize("how", Fit)
def test_a_picture_of_the_models_size_is_unchanged(how):
    image = halves(4, 4)
    assert fit(image, (4, 4), how) is image


@pytest.mark.parametrize("scale", [2, 3, 8])
def test_enlarged_pixel_art_is_reduced_to_the_same_pixels(scale):
    drawing = Image.effect_noise((10, 10), 90).convert("RGBA")
    large = drawing.resize((10 * scale, 10 * scale), Image.Resampling.NEAREST)
    for how in (Fit.RESIZE, Fit.CROP):
        assert fit(large, (10, 10), how).tobytes() == drawing.tobytes()
        assert fit(drawing, (10 * scale, 10 * scale), how).tobytes() == large.tobytes()


def test_resize_keeps_the_whole_picture_and_its_proportions():
    fitted = fit(halves(8, 4), (4, 4), Fit.RESIZE)
    assert [row(fitted, y) for y in (0, 3)] == [[CLEAR] * 4] * 2
    assert [row(fitted, y) for y in (1, 2)] == [[RED, RED, BLUE, BLUE]] * 2


def test_crop_fills_the_size_from_the_middle():
    image = halves(8, 4)
    image.paste((0, 255, 0, 255), (0, 0, 2, 4))
    assert [row(fit(image, (4, 4), Fit.CROP), y) for y in range(4)] == [[RED, RED, BLUE, BLUE]] * 4


def test_pad_keeps_every_pixel_and_refuses_a_larger_picture():
    fitted = fit(halves(2, 2), (4, 4), Fit.PAD)
    assert [row(fitted, y) for y in range(4)] == [[CLEAR] * 4, *[[CLEAR, RED, BLUE, CLEAR]] * 2, [CLEAR] * 4]
    with pytest.raises(ImageRefused, match="is 8×4, and padding cannot reduce it"):
        fit(halves(8, 4), (4, 4), Fit.PAD)


def test_transparent_pixels_do_not_bleed_their_colour():
    image = Image.new("RGBA", (8, 8), (0, 255, 0, 0))
    image.paste(RED, (0, 0, 4, 8))
    image.paste(RED, (4, 0, 5, 8))
    fitted = fit(image, (4, 4), Fit.RESIZE)
    assert [pixel[:3] for pixel in row(fitted) if pixel[3]] == [RED[:3]] * 3


@pytest.mark.parametrize("how", [Fit.RESIZE, Fit.CROP])
@pytest.mark.parametrize("size", [(8192, 1), (1, 8192)])
def test_extreme_proportions_fit_without_much_memory(how, size):
    assert fit(Image.new("RGBA", size, RED), (20, 30), how).size == (20, 30)
