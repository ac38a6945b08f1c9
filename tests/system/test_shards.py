"""A pool spread over the three nodes of a Redis cluster: a node that fails stops its jobs, and no others."""

from contextlib import suppress

from smalti.client import Job
from smalti.errors import Unavailable
from smalti.jobs.job import JobState
from smalti.jobs.keys import Keys
from smalti.jobs.shards import names_of_shards
from tests.redis_kinds import RedisCluster
from tests.system.cluster import Cluster, until
from tests.system.conftest import TOY

COUNT, JOBS, SHARDS = 8, 9, 3


def state_of(cluster: Cluster, job: Job) -> JobState | None:
    """The job's state; None while its part of the pool is away."""
    with suppress(Unavailable):
        return JobState(cluster.client.get_job(job.id).state)
    return None


def test_a_node_that_fails_stops_its_jobs_and_no_others(tmp_path, repository, undisturbed):
    expected = undisturbed(TOY, count=COUNT)
    with RedisCluster(tmp_path / "redis") as redis:
        settings = {"SMALTI_REDIS_URL": redis.url, "SMALTI_SHARDS": str(SHARDS)}
        with Cluster(tmp_path, repository=repository, slots=4, settings=settings) as cluster:
            cluster.ready_server()
            for _ in range(2):
                cluster.start_worker()
            cluster.await_ready(cluster.the_server)
            jobs = [cluster.submit(TOY, count=COUNT) for _ in range(JOBS)]
            down = redis.node_of(Keys(names_of_shards("default", SHARDS)[0]).slot)
            down.kill()  # given a node that fails while its jobs are drawn
            states = until(lambda: settled(cluster, jobs), what="the jobs of the other parts end")
            assert states
            stopped = [job for job, state in zip(jobs, states, strict=True) if state is None]
            assert 0 < len(stopped) < JOBS
            down.start()
            for job in jobs:
                assert cluster.ended(job).state is JobState.SUCCEEDED
                assert cluster.images(job) == expected
            assert {job.id for job in cluster.client.jobs()} == {job.id for job in jobs}


def settled(cluster: Cluster, jobs: list[Job]) -> list[JobState | None] | None:
    """Their states, once each is over or away, and some are over."""
    states = [state_of(cluster, job) for job in jobs]
    done = {state for state in states if state is not None}
    return states if done == {JobState.SUCCEEDED} else None
