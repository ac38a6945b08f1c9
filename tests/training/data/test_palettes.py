"""The palette: few colours, the background first, and no new colours if all fit."""

import numpy as np

from smalti import palette
from training.data import palettes

BACKGROUND = "#ece4d4"


def images(colours, count=4, size=6, seed=0):
    rng = np.random.default_rng(seed)
    return palette.parse(colours)[rng.integers(0, len(colours), (count, size, size))]


def test_few_colours_are_all_kept_after_the_background_from_dark_to_light():
    found = palettes.find_palette(
        images(["#ffffff", "#000000", "#808080"]), background=BACKGROUND, colours=9, seed=0
    )
    assert palette.spell(found) == (BACKGROUND, "#000000", "#808080", "#ffffff")


def test_many_colours_are_reduced_to_the_number_allowed():
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (6, 16, 16, 3)).astype(np.uint8)
    found = palettes.find_palette(rgb, background=BACKGROUND, colours=12, seed=0)
    assert len(found) == 12
    assert len(set(palette.spell(found))) == 12
    assert palette.spell(found)[0] == BACKGROUND


def test_the_same_images_give_the_same_palette():
    rgb = np.random.default_rng(1).integers(0, 256, (3, 16, 16, 3)).astype(np.uint8)
    one, other = (palettes.find_palette(rgb, background=BACKGROUND, colours=8, seed=0) for _ in range(2))
    assert (one == other).all()


def test_a_simplified_image_has_few_colours_near_the_original_ones():
    dark, light = palette.parse(["#200000", "#f0f0ff"])
    rgb = np.concatenate([dark + np.arange(5)[:, None], light - np.arange(5)[:, None]]).astype(np.uint8)
    simple = palettes.simplify(rgb, colours=2, seed=0)
    assert len(np.unique(simple, axis=0)) == 2
    assert np.abs(simple.astype(int) - rgb.astype(int)).max() < 8


def test_an_image_of_few_colours_stays_as_it_is():
    rgb = palette.parse(["#200000", "#f0f0ff", "#200000"])
    assert (palettes.simplify(rgb, colours=2, seed=0) == rgb).all()
