"""A client gets what it asked for, through server, queue and worker."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from smalti.client import Completion, Image
from smalti.errors import InvalidRequest, ModelNotFound, RequestConflict
from smalti.jobs.job import JobState
from tests.system.conftest import DIGITS, POISON, POISONED, TOY


def plain_image(cluster, model, colour):
    """An image of one colour of the model's palette."""
    served = cluster.client.model(model).model
    indices = bytes([colour]) * (served.height * served.width)
    return Image(height=served.height, width=served.width, indices=indices, palette=served.palette)


def drawn(cluster, model, **options):
    job = cluster.ended(cluster.submit(model, **options))
    assert job.state is JobState.SUCCEEDED
    return [result.image for result in cluster.client.results(job.id)]


def test_kept_rows_are_kept_and_the_rest_is_drawn(calm):
    given = plain_image(calm, DIGITS, 5)
    images = drawn(calm, DIGITS, count=20, completion=Completion(image=given, rows=4))
    assert {image.indices[:32] for image in images} == {given.indices[:32]}
    assert len({image.indices[32:] for image in images}) > 10


def test_kept_pixels_of_any_shape_are_kept_and_the_rest_is_drawn(calm):
    given = plain_image(calm, DIGITS, 9)
    mask = bytes((row + column) % 3 == 0 for row in range(8) for column in range(8))
    images = drawn(calm, DIGITS, count=20, completion=Completion(image=given, mask=mask))
    kept = [place for place, keep in enumerate(mask) if keep]
    assert all(image.indices[place] == 9 for image in images for place in kept)
    assert len({image.indices for image in images}) > 10


def test_colours_outside_the_palette_are_moved_and_counted(calm):
    given = Image(height=8, width=8, indices=bytes(64), palette=("#f6f0f0",))
    job = calm.submit(DIGITS, count=1, completion=Completion(image=given, rows=2))
    assert job.colour_change.moved_pixels in (16, 64)
    assert 0 < job.colour_change.largest_distance < 10
    assert calm.ended(job).state is JobState.SUCCEEDED


def test_an_image_of_another_size_is_refused_with_both_sizes(calm):
    given = Image(height=9, width=7, indices=bytes(63), palette=("#ffffff",))
    with pytest.raises(InvalidRequest, match=r"(?s)(?=.*7×9|.*9×7).*8×8"):
        calm.submit(DIGITS, count=1, completion=Completion(image=given, rows=2))


def test_a_request_id_makes_one_job_however_often_it_is_sent(calm):
    with ThreadPoolExecutor(max_workers=8) as threads:
        jobs = list(threads.map(lambda _: calm.submit(TOY, count=3, request_id="once"), range(16)))
    assert len({job.id for job in jobs}) == 1
    assert len(calm.images(calm.ended(jobs[0]))) == 3
    assert calm.submit(TOY, count=3, request_id="once").id == jobs[0].id


def test_a_request_id_cannot_be_used_for_a_second_request(calm):
    calm.submit(TOY, count=1, request_id="mine")
    with pytest.raises(RequestConflict, match="mine"):
        calm.submit(TOY, count=2, request_id="mine")


def test_bad_samples_fail_alone(calm, undisturbed):
    expected = undisturbed(POISONED, count=60)
    poison = Completion(image=plain_image(calm, POISONED, POISON), rows=1)
    good = calm.submit(POISONED, count=60)
    bad = calm.ended(calm.submit(POISONED, count=20, completion=poison))
    assert (bad.state, bad.failed, bad.done) == (JobState.FAILED, 20, 0)
    assert all("not numbers" in result.error for result in calm.client.results(bad.id))
    assert calm.ended(good).state is JobState.SUCCEEDED
    assert calm.images(good) == expected


def test_a_job_without_a_worker_says_so_and_is_drawn_when_one_comes(stormy, undisturbed):
    stormy.ready(workers=0)
    job = stormy.submit(TOY, count=1)
    assert stormy.client.get_job(job.id).reason == "NO_WORKER_FOR_MODEL"
    stormy.start_worker()
    assert stormy.ended(job).state is JobState.SUCCEEDED
    assert stormy.images(job) == undisturbed(TOY, count=1)


def test_an_unknown_model_is_named(calm):
    with pytest.raises(ModelNotFound, match="sprites-of-mars"):
        calm.submit("sprites-of-mars", count=1)
