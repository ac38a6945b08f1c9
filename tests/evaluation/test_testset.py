"""Test images as files: the ones that the model was not trained on, in its palette."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from evaluation import testset
from evaluation.images import load
from smalti import palette as colours
from smalti.runtime.repository import ModelRepository

ROOT = Path(__file__).parents[2] / "model_repository"

MODEL = "digits-vae"


@pytest.fixture(scope="module")
def images():
    return load(ModelRepository(ROOT).load(MODEL).manifest, None)


def pixels_in(file, palette):
    with Image.open(file) as image:
        matched = colours.nearest(np.asarray(image.convert("RGB")), colours.parse(palette))
    assert matched.moved == 0
    return matched.pixels


def test_every_test_image_is_written_with_exactly_its_pixels(images, tmp_path):
    files = testset.write(images, tmp_path)
    assert [file.name for file in files] == [f"{place:05d}.png" for place in range(len(images.test))]
    for place in (0, 17, len(images.test) - 1):
        assert (pixels_in(files[place], images.palette) == images.test[place]).all()


def test_a_few_images_are_chosen_evenly_from_all(images, tmp_path):
    files = testset.write(images, tmp_path, count=3)
    last = len(images.test) - 1
    assert [int(file.stem) for file in files] == [0, round(last / 2), last]
    assert (pixels_in(files[1], images.palette) == images.test[round(last / 2)]).all()


def run(*arguments):
    return CliRunner().invoke(testset.main, [MODEL, "--repository", str(ROOT), *map(str, arguments)])


def test_the_command_says_how_many_it_wrote(tmp_path):
    result = run("--output", tmp_path / "new", "--count", 2)
    assert result.exit_code == 0, result.output
    assert result.output == f"2 of 179 test images to {tmp_path / 'new'}/\n"
    assert len(list((tmp_path / "new").iterdir())) == 2


def test_a_count_above_the_number_of_test_images_is_refused(tmp_path):
    result = run("--output", tmp_path, "--count", 1000)
    assert result.exit_code == 1
    assert "There are 179 test images, not 1000." in result.output


def test_data_that_the_model_was_not_trained_on_are_refused(tmp_path):
    data = tmp_path / "tiles"
    data.mkdir()
    rng = np.random.default_rng(0)
    for number in range(40):
        noise = rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(noise).save(data / f"{number}.png")
    result = run("--data", data, "--output", tmp_path / "out")
    assert result.exit_code == 1
    assert "not the data that digits-vae was trained on (digits)" in result.output
    assert not (tmp_path / "out").exists()
