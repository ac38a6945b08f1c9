"""From a path to training images: parts, palette and provenance."""

import numpy as np
import pytest
from PIL import Image

from training.data.dataset import load
from training.errors import DataRefused
from training.recipe import DataRecipe


@pytest.fixture
def tiles(tmp_path):
    """A folder of 40 different small pictures."""
    rng = np.random.default_rng(0)
    for number in range(40):
        picture = np.zeros((12, 12, 4), dtype=np.uint8)
        opaque = (rng.random((6, 6)) < 0.6).repeat(2, 0).repeat(2, 1)
        picture[opaque] = [*rng.integers(0, 256, 3), 255]
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    return tmp_path


def test_pictures_become_images_with_one_palette_in_three_parts(tiles):
    images = load(tiles, DataRecipe(size=8, colours=16))
    assert images.train.shape[1:] == (8, 8)
    assert len(images.train) + len(images.valid) + len(images.test) == images.about.images == 40
    assert images.colours <= 16
    assert images.test.max() < images.colours


def test_the_palette_is_made_from_training_images_alone(tiles):
    few = load(tiles, DataRecipe(size=12, colours=200))
    painted = {few.palette[pixel] for pixel in np.unique(few.train)}
    assert painted == set(few.palette)


def test_a_given_palette_is_used_and_the_division_stays_the_same(tiles):
    first = load(tiles, DataRecipe(size=8, colours=16))
    again = load(tiles, DataRecipe(size=8, colours=16), palette=first.palette)
    assert again.palette == first.palette
    assert (again.test == first.test).all()
    two = load(tiles, DataRecipe(size=8), palette=("#000000", "#ffffff"))
    assert (two.colours, two.test.max()) == (2, 1)


def test_near_duplicates_among_test_images_share_a_group(tiles):
    images = load(tiles, DataRecipe(size=8))
    assert images.test_groups is not None
    assert images.test_groups.shape == (len(images.test),)
    assert load(None, DataRecipe()).test_groups is None  # digits come in three parts of their own


def test_known_data_get_their_licence():
    about = load(None, DataRecipe()).about
    assert (about.name, about.licence) == ("digits", "CC-BY-4.0")


def test_a_recipe_may_state_source_and_licence(tiles):
    about = load(tiles, DataRecipe(size=8, source="drawn by me", licence="CC0-1.0")).about
    assert (about.source, about.licence) == ("drawn by me", "CC0-1.0")


def test_images_of_one_pixel_are_refused(tmp_path):
    (tmp_path / "pixel_color.txt").write_text("0\n" * 200)
    (tmp_path / "colormap.txt").write_text("0 0 0\n9 9 9\n")
    with pytest.raises(DataRefused, match="at least 2 rows and 2 columns"):
        load(tmp_path, DataRecipe())
