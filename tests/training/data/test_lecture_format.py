"""Pictures are written in the lecture's text format, and can be read from it."""

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from training.data import lecture_format, sources


@pytest.fixture
def pictures(tmp_path):
    """A folder of twelve pictures in three colours."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    colours = np.array([[200, 0, 0, 255], [0, 90, 0, 255], [0, 0, 120, 255]], dtype=np.uint8)
    for number in range(12):
        places = np.random.default_rng(number).integers(0, 3, (6, 6))
        Image.fromarray(colours[places], "RGBA").save(folder / f"{number:02}.png")
    return folder


def test_images_that_are_written_are_read_back_unchanged(pictures, tmp_path):
    result = CliRunner().invoke(lecture_format.main, [str(pictures), str(tmp_path / "out"), "--size", "8"])
    assert result.exit_code == 0, result.output
    assert result.output == f"12 images of 8×8 in {tmp_path / 'out'}\n"
    written = sources.lecture(tmp_path / "out")
    original = sources.pictures(pictures, size=8, background="#ece4d4")
    assert np.array_equal(written.palette[written.pixels], original.rgb)


def test_the_palette_has_no_more_colours_than_asked_for(pictures, tmp_path):
    found = sources.pictures(pictures, size=8, background="#ece4d4")
    lecture_format.convert(found, tmp_path, most=3, background="#ece4d4")
    assert len(sources.lecture(tmp_path).palette) == 3


def test_no_image_has_more_shades_than_asked_for(pictures, tmp_path):
    found = sources.pictures(pictures, size=8, background="#ece4d4")
    lecture_format.convert(found, tmp_path, most=9, background="#ece4d4", shades=2)
    written = sources.lecture(tmp_path)
    assert max(len(np.unique(image)) for image in written.pixels) == 2 + 1  # and the background
    assert len(written.palette) > 2 + 1, "each image has shades of its own"


def test_the_command_prints_counting_baselines_if_there_are_enough_images(tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(120):
        shade = np.random.default_rng(number).integers(0, 2, (6, 6, 1)) * [200, 90, 0]
        Image.fromarray(np.dstack([shade, np.full((6, 6), 255)]).astype(np.uint8), "RGBA").save(
            folder / f"{number:03}.png"
        )
    result = CliRunner().invoke(
        lecture_format.main, [str(folder), str(tmp_path / "out"), "--size", "6", "--stretched"]
    )
    assert result.exit_code == 0, result.output
    counted = result.output.splitlines()[-1]
    assert counted.startswith("counting, nats per image on the lecture's test images: uniform ")
    assert "mixture_with_cache" in counted


def test_a_folder_without_pictures_is_refused_in_one_sentence(tmp_path):
    result = CliRunner().invoke(lecture_format.main, [str(tmp_path), str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "holds no picture" in result.output
    assert not (tmp_path / "out").exists()
