"""Redis is killed and restarted during jobs; every acknowledged job is still drawn."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from smalti.errors import Unavailable
from smalti.jobs.job import JobState
from tests.system.cluster import until
from tests.system.conftest import DIGITS, TOY

COUNTS = {TOY: 160, DIGITS: 500}


@pytest.mark.parametrize("model", [TOY, DIGITS])
def test_a_killed_redis_loses_no_acknowledged_job(pair, undisturbed, measured, model):
    expected = undisturbed(model, count=COUNTS[model])
    running = pair.submit(model, count=COUNTS[model])
    pair.midway(running)
    waiting = [pair.submit(model, count=1, seed=seed) for seed in range(20)]
    pair.redis.kill()
    pair.redis.start()
    back = time.monotonic()
    until(lambda: all(worker.is_running for worker in pair.workers) and pair.server.is_running)
    for job in (running, *waiting):
        assert pair.ended(job).state is JobState.SUCCEEDED
    measured("Redis is back to the end of all jobs", time.monotonic() - back)
    assert pair.images(running) == expected
    assert pair.images(waiting[7]) == {0: expected[0]}


def test_workers_draw_on_while_redis_is_away(pair, undisturbed):
    expected = undisturbed(TOY, count=COUNTS[TOY])
    job = pair.submit(TOY, count=COUNTS[TOY])
    pair.midway(job)
    pair.redis.kill()
    until(lambda: all("redis is away" in worker.said() for worker in pair.workers))
    with pytest.raises(Unavailable):
        pair.client.get_job(job.id)
    pair.redis.start()
    assert pair.ended(job).state is JobState.SUCCEEDED
    assert pair.images(job) == expected


def test_a_submit_sent_while_redis_is_away_becomes_one_job_when_it_is_back(pair):
    before = {job.id for job in pair.client.jobs()}
    pair.redis.kill()
    with ThreadPoolExecutor() as threads:
        submitting = threads.submit(pair.submit, TOY, count=1, patience_seconds=60)
        with pytest.raises(Unavailable):
            pair.submit(TOY, count=1, patience_seconds=0)
        pair.redis.start()
        job = submitting.result()
    assert pair.ended(job).state is JobState.SUCCEEDED
    assert {job.id for job in pair.client.jobs()} - before == {job.id}
