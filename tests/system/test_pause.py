"""A paused job leaves its slots to others and goes on later; a job past its deadline does not. Nothing is lost."""

import time

from smalti.jobs.job import JobState
from tests.system.cluster import until
from tests.system.conftest import DIGITS, TOY

KNOWN = 100  # the pixels of the first samples are known
LIMIT_SECONDS = 2.0


def test_a_job_paused_while_it_is_drawn_goes_on_with_the_same_bytes_even_if_everything_is_restarted(
    pair, undisturbed, measured
):
    expected = undisturbed(DIGITS, count=KNOWN)
    job = pair.submit(DIGITS, count=100_000)
    pair.midway(job)
    asked = time.monotonic()
    pair.client.pause(job.id)
    until(lambda: not any(map(pair.held_by, pair.workers)), seconds=LIMIT_SECONDS, what="all slots are free")
    measured("pause until all slots are free", time.monotonic() - asked)
    paused = pair.client.get_job(job.id)
    for worker in pair.workers:
        worker.kill()
    pair.redis.kill()
    pair.redis.start()
    pair.start_worker()
    other = pair.draw(TOY, count=10)
    now = pair.client.get_job(job.id)
    assert (len(other), now.state, now.done) == (10, JobState.PAUSED, paused.done)
    pair.client.resume(job.id)
    pair.when(job, lambda now: now.done >= paused.done + KNOWN)
    pair.client.cancel(job.id)
    finished = pair.images(pair.ended(job))
    first = {index: pixels for index, pixels in finished.items() if index < KNOWN}
    assert first.items() <= expected.items()
    assert first


def test_a_job_past_its_deadline_frees_its_slots_and_keeps_its_results(pair, undisturbed, measured):
    expected = undisturbed(DIGITS, count=KNOWN)
    job = pair.submit(DIGITS, count=100_000, deadline_seconds=3)
    ended = pair.ended(job)
    assert (ended.state, ended.reason) == (JobState.FAILED, "DEADLINE_EXCEEDED")
    late = (ended.ended - ended.deadline).total_seconds()
    measured("deadline until FAILED and free slots", late)
    assert 0 <= late < LIMIT_SECONDS
    until(lambda: not any(map(pair.held_by, pair.workers)), seconds=LIMIT_SECONDS, what="all slots are free")
    finished = pair.images(ended)
    assert len(finished) == ended.done
    known = {i: pixels for i, pixels in finished.items() if i < KNOWN}
    assert known
    assert known.items() <= expected.items()
