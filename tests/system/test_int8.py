"""An int8 variant gives the same bytes for the same seed too, with several workers, other jobs and kills."""

import pytest

from smalti.jobs.job import JobState
from tests.system.test_worker_faults import assert_succeeded_with, kill_while_drawing

INT8, ORIGINAL = "digits-pixel-rnn-lecture-int8", "digits-pixel-rnn-lecture"
COUNT = 300


@pytest.mark.slow
def test_two_workers_draw_the_same_int8_bytes_as_one_beside_other_jobs(pair, undisturbed):
    others = [pair.submit(ORIGINAL, count=COUNT, seed=seed, temperature=0.8) for seed in (1, 2)]
    assert pair.draw(INT8, count=COUNT) == undisturbed(INT8, count=COUNT)
    assert all(pair.ended(job).state is JobState.SUCCEEDED for job in others)


def test_another_worker_goes_on_with_the_samples_of_a_killed_one_and_draws_the_same_bytes(pair, undisturbed):
    expected = undisturbed(INT8, count=COUNT)
    job = pair.submit(INT8, count=COUNT)
    lost = kill_while_drawing(pair, pair.workers[0])
    assert lost
    assert_succeeded_with(pair, job, expected)


def test_the_int8_variant_has_other_bytes_and_another_digest_than_the_original(calm, undisturbed):
    assert undisturbed(INT8, count=COUNT) != undisturbed(ORIGINAL, count=COUNT)
    described = {model.name: model.digest for model in calm.client.models()}
    assert described[INT8] != described[ORIGINAL]
