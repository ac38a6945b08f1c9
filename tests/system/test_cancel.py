"""A running job is cancelled within a second, and its finished samples stay."""

import time

import pytest

from smalti.jobs.job import JobState
from tests.system.cluster import until
from tests.system.conftest import DIGITS, TOY

KNOWN = 100  # the pixels of the first samples are known
LIMIT_SECONDS = 1.0  # promised


@pytest.mark.parametrize("model", [TOY, DIGITS])
def test_a_running_job_is_cancelled_within_a_second(pair, undisturbed, measured, model):
    expected = undisturbed(model, count=KNOWN)
    job = pair.submit(model, count=100_000)
    pair.midway(job)
    asked = time.monotonic()
    pair.client.cancel(job.id)
    ended = pair.ended(job, seconds=LIMIT_SECONDS)
    until(lambda: not any(map(pair.held_by, pair.workers)), seconds=LIMIT_SECONDS, what="all slots are free")
    seconds = time.monotonic() - asked
    measured("cancel to CANCELLED and free slots", seconds)
    assert seconds < LIMIT_SECONDS
    assert ended.state is JobState.CANCELLED
    finished = pair.images(job)
    assert len(finished) == ended.done > 0
    first = {index: pixels for index, pixels in finished.items() if index < KNOWN}
    assert first.items() <= expected.items()
    assert first


def test_after_a_cancel_the_slots_draw_another_job(pair, undisturbed):
    cancelled = pair.submit(TOY, count=100_000)
    other = pair.submit(DIGITS, count=KNOWN)
    pair.midway(cancelled)
    pair.client.cancel(cancelled.id)
    assert pair.ended(other).state is JobState.SUCCEEDED
    assert pair.images(other) == undisturbed(DIGITS, count=KNOWN)


def test_a_job_is_cancelled_even_if_its_workers_are_dead(pair, measured):
    job = pair.submit(TOY, count=100_000)
    pair.midway(job)
    for worker in pair.workers:
        worker.kill()
    assert pair.client.cancel(job.id).state in (JobState.CANCELLING, JobState.CANCELLED)
    assert pair.ended(job).state is JobState.CANCELLED  # the server recovers what they held


def test_a_cancelled_job_stays_cancelled_when_redis_is_killed_right_after(pair):
    job = pair.submit(TOY, count=100_000)
    pair.midway(job)
    pair.client.cancel(job.id)
    pair.redis.kill()
    pair.redis.start()
    assert pair.ended(job).state is JobState.CANCELLED


def test_a_queued_job_is_cancelled_at_once(stormy):
    stormy.ready(workers=0)
    job = stormy.submit(TOY, count=100_000)
    assert stormy.client.cancel(job.id).state is JobState.CANCELLED
