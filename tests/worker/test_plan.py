"""A sample that this model cannot draw is refused before it comes near a batch."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from smalti.errors import SampleFailed
from smalti.randomness import MAX_SEED, uniforms
from tests.worker.conftest import Model
from tests.worker.story import a_claim, a_request, keeping
from worker.plan import plan


def test_each_row_has_the_random_numbers_of_its_positions(toy: Model) -> None:
    manifest, _ = toy
    request = a_request(manifest, seed=MAX_SEED, first_index=40)
    drawn = plan(a_claim(request, 2), manifest)
    for row in range(manifest.height):
        expected = uniforms(MAX_SEED, 42, row * manifest.width, manifest.width)
        assert (drawn.uniform[row] == expected).all()


def test_kept_pixels_are_forced_and_all_others_drawn(toy: Model) -> None:
    manifest, _ = toy
    drawn = plan(a_claim(a_request(manifest, kept=keeping(manifest, {(2, 3): 6}))), manifest)
    assert drawn.forced[2, 3] == 6
    assert (drawn.forced == -1).sum() == manifest.height * manifest.width - 1


def test_rows_committed_before_the_claim_are_forced(toy: Model) -> None:
    manifest, _ = toy
    committed = bytes([1, 2, 3, 4, 5])
    drawn = plan(a_claim(a_request(manifest), pixels=committed), manifest)
    assert bytes(drawn.forced[0].astype(np.uint8)) == committed
    assert (drawn.forced[1:] == -1).all()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"rows": 7}, "asks for 7×5 pixels of 7 colours, but the model draws 6×5 of 7"),
        ({"columns": 4}, "asks for 6×4"),
        ({"colours": 300}, "of 300 colours"),
        ({"temperature": 0.0}, r"temperature 0\.0 is not between 0\.05 and 10\.0"),
        ({"temperature": float("nan")}, "temperature nan"),
        ({"temperature": float("inf")}, "temperature inf"),
        ({"kept": b"\0" * 8}, "not 6×5 numbers of four bytes"),
        ({"first_index": MAX_SEED + 1}, "must be between"),
        ({"seed": -1}, "must be between"),
    ],
)
def test_a_request_that_the_model_cannot_draw_is_refused_in_one_sentence(
    toy: Model, changes: dict[str, Any], sentence: str
) -> None:
    manifest, _ = toy
    with pytest.raises(SampleFailed, match=sentence):
        plan(a_claim(a_request(manifest, **changes)), manifest)


@pytest.mark.parametrize("colour", [-2, 7, 500])
def test_a_kept_pixel_outside_the_palette_is_refused(toy: Model, colour: int) -> None:
    manifest, _ = toy
    request = a_request(manifest, kept=keeping(manifest, {(0, 0): colour}))
    with pytest.raises(SampleFailed, match=r"not a colour of the palette \(0 to 6\)"):
        plan(a_claim(request), manifest)


@pytest.mark.parametrize("pixels", [bytes(3), bytes(35), bytes([0, 0, 9, 0, 0])])
def test_committed_bytes_that_are_not_rows_of_this_image_are_refused(toy: Model, pixels: bytes) -> None:
    manifest, _ = toy
    with pytest.raises(SampleFailed, match="drawn so far"):
        plan(replace(a_claim(a_request(manifest)), pixels=pixels), manifest)
