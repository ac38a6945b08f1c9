"""The same model, seed and index give the same bytes, with any number of workers and other jobs."""

import pytest

from smalti.client import DrawFinished, DrawnRows
from smalti.jobs.job import JobState
from smalti.runtime.session import fingerprint
from tests.system.conftest import DIGITS, TOY

COUNTS = {TOY: 60, DIGITS: 200}
LONG = {TOY: 160, DIGITS: 3000}  # enough for a second and more
both_models = pytest.mark.parametrize("model", [TOY, DIGITS])


@pytest.fixture
def trio(stormy):
    """Three workers."""
    stormy.ready(workers=3)
    return stormy


@both_models
def test_three_workers_draw_the_same_bytes_as_one(trio, undisturbed, model):
    drawn = trio.draw(model, count=COUNTS[model])
    assert drawn == undisturbed(model, count=COUNTS[model])
    assert all(worker.metric("smalti_rows_drawn_total", model=model) > 0 for worker in trio.workers)


@pytest.mark.slow
@both_models
def test_a_job_draws_the_same_bytes_beside_other_jobs_as_alone(trio, undisturbed, model):
    others = [
        trio.submit(other, count=COUNTS[other], seed=seed, temperature=temperature)
        for other in (TOY, DIGITS)
        for seed, temperature in ((1, 0.8), (2, 1.5))
    ]
    assert trio.draw(model, count=COUNTS[model]) == undisturbed(model, count=COUNTS[model])
    assert all(trio.ended(job).state is JobState.SUCCEEDED for job in others)


@both_models
def test_first_index_gives_the_same_images_of_the_seed(trio, undisturbed, model):
    expected = undisturbed(model, count=COUNTS[model])
    drawn = trio.draw(model, count=10, first_index=25)
    assert drawn == {index: expected[25 + index] for index in range(10)}


def test_other_seeds_draw_other_images(trio, undisturbed):
    images = undisturbed(DIGITS, count=COUNTS[DIGITS])
    others = trio.draw(DIGITS, count=COUNTS[DIGITS], seed=8)
    assert len(set(images.values()) & set(others.values())) < 5


@pytest.mark.slow
@both_models
def test_images_that_made_way_for_interactive_samples_stay_the_same(pair, undisturbed, model):
    expected, one = undisturbed(model, count=LONG[model]), undisturbed(DIGITS, count=COUNTS[DIGITS])

    def made_way() -> float:
        return float(sum(worker.metric("smalti_samples_made_way_total") for worker in pair.workers))

    before, asked = made_way(), 0
    job = pair.submit(model, count=LONG[model])
    pair.when(job, lambda now: now.running > 0)
    while made_way() == before and not pair.client.get_job(job.id).is_over:
        index = asked % COUNTS[DIGITS]
        events = list(pair.client.draw_stream(DIGITS, seed=7, index=index))
        assert b"".join(event.indices for event in events if isinstance(event, DrawnRows)) == one[index]
        assert isinstance(events[-1], DrawFinished)
        asked += 1
    assert pair.ended(job).state is JobState.SUCCEEDED
    assert pair.images(job) == expected
    assert made_way() > before
    assert all(worker.metric("smalti_corrupt_commits_total") == 0 for worker in pair.workers)


def test_every_result_has_the_workers_fingerprint(pair):
    job = pair.ended(pair.submit(TOY, count=20))
    assert {result.fingerprint for result in pair.client.results(job.id)} == {fingerprint("cpu")}
