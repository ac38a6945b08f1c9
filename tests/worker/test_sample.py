"""A sample keeps its rows, knows which rows Redis lacks, and fails without others."""

from pathlib import Path

import numpy as np
import pytest

from smalti.errors import SampleFailed
from smalti.jobs.job import Failed, Finished
from tests.toy_model import Toy, write_toy_model
from tests.worker.conftest import Model
from tests.worker.story import a_claim, a_request, a_sample, finish, open_runner
from worker.sample import Row, refused


def a_row(pixels: list[int], log_probability: float = -1.0) -> Row:
    return Row(np.array(pixels), np.full(len(pixels), log_probability, dtype=np.float32))


def test_progress_contains_the_rows_that_redis_has_not_acknowledged(toy: Model) -> None:
    manifest, _ = toy
    sample = a_sample(manifest)
    sample.append(a_row([0, 1, 2, 3, 4]))
    sample.append(a_row([5, 6, 0, 1, 2]))
    sample.committed = 1  # when Redis has acknowledged the first row
    assert (sample.progress().first_row, sample.progress().pixels) == (1, bytes([5, 6, 0, 1, 2]))


def test_the_last_row_finishes_a_sample_with_the_log_probability_of_all(toy: Model) -> None:
    manifest, _ = toy
    sample = a_sample(manifest)
    for _ in range(manifest.height):
        sample.append(a_row([1] * manifest.width, log_probability=-0.5))
    assert sample.progress().outcome == Finished(-0.5 * manifest.height * manifest.width)
    assert sample.rows_left == 0


def test_rows_drawn_again_are_not_committed_again_but_count_in_the_log_probability(toy: Model) -> None:
    manifest, runner = toy
    whole = a_sample(manifest)
    finish(runner, [whole])
    pixels = whole.progress().pixels
    resumed = a_sample(manifest, pixels=pixels[: 2 * manifest.width])  # given two committed rows
    finish(runner, [resumed])
    assert (resumed.progress().first_row, resumed.progress().pixels) == (2, pixels[2 * manifest.width :])
    assert resumed.log_probability == whole.log_probability


def test_a_sample_has_nothing_new_while_old_rows_are_drawn_again(toy: Model) -> None:
    manifest, runner = toy
    sample = a_sample(manifest, pixels=bytes(3 * manifest.width))
    finish(runner, [sample], rows=3)
    assert not sample.has_news
    finish(runner, [sample], rows=1)
    assert sample.has_news


def test_rows_of_a_failed_sample_that_were_under_way_are_ignored(toy: Model) -> None:
    manifest, _ = toy
    sample = a_sample(manifest)
    sample.fail("No.")
    sample.append(a_row([1] * manifest.width))
    assert (sample.outcome, sample.drawn) == (Failed("No."), 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_log_probabilities_that_are_not_numbers_fail_the_sample(toy: Model, bad: float) -> None:
    manifest, _ = toy
    sample = a_sample(manifest)
    row = a_row([1] * manifest.width)
    row.log_probabilities[2] = bad
    sample.append(row)
    assert sample.outcome == Failed(
        "The model's probabilities in row 0 are not numbers; try another seed or other kept pixels."
    )
    assert sample.progress().pixels == b""


@pytest.mark.parametrize("colour", [-1, 7, 256])
def test_a_colour_outside_the_palette_fails_the_sample(toy: Model, colour: int) -> None:
    manifest, _ = toy
    sample = a_sample(manifest)
    sample.append(a_row([0, 0, colour, 0, 0]))
    assert isinstance(sample.outcome, Failed)


def test_pixels_of_a_large_palette_are_two_bytes_the_low_one_first(tmp_path: Path) -> None:
    write_toy_model(tmp_path, Toy(colours=300, width=2))
    manifest, _ = open_runner(tmp_path, "toy-pixel-rnn")
    sample = a_sample(manifest)
    sample.append(a_row([258, 3]))
    assert sample.progress().pixels == bytes([2, 1, 3, 0])


def test_a_refused_sample_says_why_and_has_no_pixels(toy: Model) -> None:
    manifest, _ = toy
    claim = a_claim(a_request(manifest), pixels=b"\0\0\0")  # given bytes that are not a whole row
    progress = refused(claim, SampleFailed("No.")).progress()
    assert (progress.outcome, progress.pixels) == (Failed("No."), b"")
