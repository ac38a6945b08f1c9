"""After some work, every metric is on the pages that Prometheus reads."""

import pytest

from smalti.jobs.job import JobState
from tests.system.cluster import until
from tests.system.conftest import DIGITS


@pytest.fixture(scope="module")
def worked(calm):
    """A cluster after a watched job, the reading of its results, and a one-shot request."""
    job = calm.submit(DIGITS, count=40)
    *_, last = calm.client.watch(job.id)
    assert last.state is JobState.SUCCEEDED
    assert len(calm.images(job)) == 40
    calm.client.draw("digits-vae", count=3)
    return calm


@pytest.mark.parametrize(
    ("service", "method"),
    [
        ("JobService", "Submit"),
        ("JobService", "Get"),
        ("JobService", "Watch"),
        ("JobService", "Results"),
        ("ImageService", "Draw"),
        ("ModelService", "Get"),
    ],
)
def test_the_server_measures_every_rpc(worked, service, method):
    labels = {"service": f"smalti.v1.{service}", "method": method, "code": "OK"}
    assert worked.server.metric("smalti_rpc_seconds_count", **labels) >= 1
    assert worked.server.metric("smalti_rpc_seconds_sum", **labels) > 0


@pytest.mark.parametrize(
    "name", ["smalti_batch_entries", "smalti_batch_wait_seconds", "smalti_batch_compute_seconds"]
)
def test_the_server_measures_batches(worked, name):
    assert worked.server.metric(f"{name}_count", model="digits-vae", graph="decode") >= 1


@pytest.mark.parametrize(
    "name",
    [
        "smalti_queue_wait_seconds",
        "smalti_tick_seconds",
        "smalti_tick_rows",
        "smalti_time_to_first_row_seconds",
        "smalti_job_seconds",
    ],
)
def test_the_worker_measures_what_it_draws(worked, name):
    [worker] = worked.workers
    assert worker.metric(f"{name}_count", model=DIGITS) >= 1


def test_the_worker_measures_commits(worked):
    [worker] = worked.workers
    assert worker.metric("smalti_commit_seconds_count") >= 1


def test_every_job_is_measured_once(worked):
    [worker] = worked.workers
    names = ("smalti_job_seconds_count", "smalti_time_to_first_row_seconds_count")
    before = [worker.metric(name, model=DIGITS) for name in names]
    for _ in range(5):
        worked.draw(DIGITS, count=50)
    until(
        lambda: [worker.metric(name, model=DIGITS) for name in names] == [count + 5 for count in before],
        seconds=10,
    )


def test_server_and_worker_both_report_queue_depth_and_slots(worked):
    [worker] = worked.workers
    both = (worker, worked.server)

    def everywhere(value, name, **labels):
        until(lambda: all(value(process.metric(name, **labels)) for process in both), seconds=10, what=name)

    assert worker.metric("smalti_slots") == 32
    job = worked.submit(DIGITS, count=100_000)
    everywhere(lambda samples: samples > 0, "smalti_queue_samples", state="ready")
    everywhere(lambda jobs: jobs == 1, "smalti_queue_jobs", state="RUNNING")
    everywhere(lambda workers: workers == 1, "smalti_queue_workers")
    until(lambda: worker.metric("smalti_slots_occupied") == 32, seconds=10)
    worked.client.cancel(job.id)
    until(lambda: worker.metric("smalti_slots_occupied") == 0, seconds=10)
    everywhere(lambda samples: samples == 0, "smalti_queue_samples")
