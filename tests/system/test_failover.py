"""The master fails while workers draw and clients watch; Sentinels make its replica the master, and nobody notices."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from smalti.client import Job
from smalti.jobs.job import JobState
from tests.redis_kinds import Replicated
from tests.system.cluster import Cluster, Served
from tests.system.conftest import TOY

COUNT = 60


def running(cluster: Cluster) -> list[Served]:
    assert cluster.server is not None
    return [cluster.server, *cluster.workers]


@contextmanager
def replicated(folder, repository) -> Iterator[tuple[Cluster, Replicated]]:
    """A server and two workers on a master, its replica and three Sentinels."""
    with Replicated(folder / "redis") as servers:
        settings = {"SMALTI_REDIS_URL": servers.url}
        with Cluster(folder, repository=repository, slots=2, settings=settings) as cluster:
            cluster.ready_server()
            for _ in range(2):
                cluster.start_worker()
            for process in running(cluster):
                cluster.await_ready(process)
            yield cluster, servers


@pytest.mark.parametrize("fault", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.slow)])
def test_a_job_and_its_watcher_survive_a_failover(tmp_path, repository, undisturbed, fault):
    expected = undisturbed(TOY, count=COUNT)
    with replicated(tmp_path, repository) as (cluster, servers), ThreadPoolExecutor() as threads:
        job = cluster.submit(TOY, count=COUNT)
        watching = threads.submit(lambda: list(cluster.client.watch(job.id)))
        cluster.midway(job)
        old = servers.master
        os.kill(old.pid, fault)  # a stopped one keeps its connections open
        servers.await_failover_from(old)
        assert cluster.ended(job).state is JobState.SUCCEEDED
        assert cluster.images(job) == expected
        seen = watching.result(60)
        assert isinstance(seen[-1], Job)
        assert seen[-1].state is JobState.SUCCEEDED
        assert all(process.is_running for process in running(cluster))
        old.kill()
