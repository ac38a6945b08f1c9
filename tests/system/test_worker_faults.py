"""Workers are killed, paused and stopped during a job; its images stay the same."""

import math
import time

import pytest

from smalti.jobs.job import JobState
from tests.system.cluster import until
from tests.system.conftest import DIGITS, TOY

SEED = 7  # of every job here
COUNTS = {TOY: 160, DIGITS: 500}  # enough for a second and more
both_models = pytest.mark.parametrize("model", [TOY, DIGITS])


def begin(cluster, model):
    job = cluster.submit(model, count=COUNTS[model])
    cluster.midway(job)
    return job


def assert_succeeded_with(cluster, job, expected):
    ended = cluster.ended(job)
    assert (ended.state, ended.done, ended.failed) == (JobState.SUCCEEDED, job.count, 0)
    assert cluster.images(job) == expected


def stop_while_drawing(cluster, worker):
    """Pause the worker while it holds samples; check again after the pause, because it may just have finished them."""

    def stopped_with_samples():
        worker.pause()
        if cluster.held_by(worker):
            return True
        worker.resume()
        return False

    until(stopped_with_samples, what="the worker holds samples")


def kill_while_drawing(cluster, worker):
    """Kill the worker while it holds samples; return these with the committed bytes of each."""
    stop_while_drawing(cluster, worker)
    worker.kill()
    return cluster.rows_drawn(cluster.held_by(worker))


@both_models
def test_another_worker_goes_on_with_the_samples_of_a_killed_one(pair, undisturbed, measured, model):
    expected = undisturbed(model, count=COUNTS[model])
    job = begin(pair, model)
    lost = kill_while_drawing(pair, pair.workers[0])
    killed = time.monotonic()

    def has_new_row():
        drawn = pair.rows_drawn(set(lost))
        return any(drawn.get(sample, math.inf) > before for sample, before in lost.items())

    until(has_new_row, seconds=30)
    measured(
        f"SIGKILL of a worker to the next row by another (lease {pair.lease_seconds} s)",
        time.monotonic() - killed,
    )
    assert_succeeded_with(pair, job, expected)


def test_a_job_whose_workers_were_all_killed_goes_on_with_a_new_one(pair, undisturbed):
    expected = undisturbed(TOY, count=COUNTS[TOY])
    job = begin(pair, TOY)
    for worker in pair.workers:
        worker.kill()
    assert not pair.client.get_job(job.id).is_over
    pair.start_worker()
    assert_succeeded_with(pair, job, expected)


@pytest.mark.slow
def test_one_worker_finishes_the_job_of_three_killed_ones(stormy, undisturbed):
    expected = undisturbed(TOY, count=COUNTS[TOY])
    stormy.ready(workers=4)
    job = begin(stormy, TOY)
    for worker in stormy.workers[:3]:
        kill_while_drawing(stormy, worker)
    assert_succeeded_with(stormy, job, expected)


@both_models
def test_writes_of_a_paused_worker_are_refused_after_its_lease(pair, undisturbed, model):
    expected = undisturbed(model, count=COUNTS[model])
    job = begin(pair, model)
    sleeper = pair.workers[0]
    stop_while_drawing(pair, sleeper)
    until(lambda: not pair.held_by(sleeper), what="its samples were taken back")
    sleeper.resume()
    until(
        lambda: sleeper.metric("smalti_fenced_writes_total") > 0 or "lease lost" in sleeper.said(),
        what="it noticed that it lost its samples",
    )
    assert_succeeded_with(pair, job, expected)
    assert sleeper.metric("smalti_corrupt_commits_total") == 0


@both_models
def test_a_stopping_worker_gives_its_samples_back(pair, undisturbed, measured, model):
    expected = undisturbed(model, count=COUNTS[model])
    job = begin(pair, model)
    leaving = pair.workers[0]
    until(lambda: pair.held_by(leaving), what="the worker holds samples")
    began = time.monotonic()
    leaving.terminate()
    assert leaving.wait() == 0
    seconds = time.monotonic() - began
    measured("SIGTERM of a worker to its exit", seconds)
    assert seconds < 10  # 2 s are promised; a busy machine may take longer
    assert not pair.held_by(leaving)
    assert "worker stopped" in leaving.said()  # it gave all samples back
    assert_succeeded_with(pair, job, expected)


def is_over(cluster, job):
    return cluster.client.get_job(job.id).is_over


def until_ended(cluster, worker, job):
    until(lambda: not worker.is_running or is_over(cluster, job), what="the worker or its work ended")


def test_a_sample_that_crashes_every_worker_fails_and_all_others_are_drawn(stormy, undisturbed):
    expected = undisturbed(TOY, count=24)
    stormy.ready(workers=0)
    job = stormy.submit(TOY, count=24)
    deadly = ["tests.system.deadly_worker", str(SEED), "9", "10"]
    while not is_over(stormy, job):  # start workers again, as a supervisor would
        until_ended(stormy, stormy.start_worker(deadly, SMALTI_SLOTS="24"), job)
    ended = stormy.client.get_job(job.id)
    assert (ended.state, ended.done, ended.failed) == (JobState.FAILED, 23, 1)
    assert stormy.images(job) == {index: pixels for index, pixels in expected.items() if index != 9}
