"""`python -m worker` tells in one sentence what is wrong, waits for Redis, and stops on SIGTERM."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import onnxruntime
import pytest

from local.private_redis import PrivateRedis
from smalti.jobs.connection import connect
from smalti.jobs.job import Job
from tests.conftest import Until
from tests.queues import Queues, queues_on
from tests.rights import NEEDS_ROOT, WITHOUT_RIGHTS, lock
from tests.worker.conftest import Model
from tests.worker.story import SHIPPED, a_request, assert_undisturbed, ended

Start = Callable[..., "subprocess.Popen[str]"]
HAS_CUDA = "CUDAExecutionProvider" in onnxruntime.get_available_providers()


@pytest.fixture
def start(toy_repository: Path) -> Iterator[Start]:
    """Starts worker processes; what still runs in the end is killed."""
    processes: list[subprocess.Popen[str]] = []

    def run(*command: str, before: Sequence[str] = (), **settings: str) -> "subprocess.Popen[str]":
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SMALTI_")}
        own = {"SMALTI_METRICS_PORT": "0", "SMALTI_MODEL_REPOSITORY": str(toy_repository)}
        own["SMALTI_REDIS_URL"] = "redis://127.0.0.1:1/0"  # where there is none
        processes.append(
            subprocess.Popen(
                [*before, sys.executable, *(command or ("-m", "worker"))],
                cwd=SHIPPED.parent,
                env=environment | own | settings,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return processes[-1]

    yield run
    for process in processes:
        process.kill()
        process.communicate()


def read_until(stream: IO[str] | None, words: str) -> str:
    """Lines of the log up to the one with these words."""
    assert stream is not None
    lines = []
    for line in stream:
        lines.append(line)
        if words in line:
            return "".join(lines)
    raise AssertionError(f"the log ended without '{words}':\n" + "".join(lines))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"SMALTI_SLOTS": "none"}, "SMALTI_SLOTS is 'none'"),
        ({"SMALTI_REDIS_URL": "foo"}, "SMALTI_REDIS_URL does not begin with redis://"),
        ({"SMALTI_MODEL_REPOSITORY": "/nowhere"}, "There is no PixelRNN in /nowhere"),
        ({"SMALTI_MODELS": "mnist-pixel-rnn"}, "SMALTI_MODELS names mnist-pixel-rnn"),
        ({"SMALTI_SLOTS": "8", "SMALTI_GPU_BUCKETS": "16"}, "SMALTI_GPU_BUCKETS is '16'"),
        pytest.param(
            {"SMALTI_PROVIDERS": "cuda"},
            "onnxruntime has no working CUDAExecutionProvider here: install smalti[serve-gpu]",
            marks=pytest.mark.skipif(HAS_CUDA, reason="may have a GPU"),
        ),
    ],
)
def test_an_error_is_reported_in_one_line(start: Start, settings: dict[str, str], sentence: str) -> None:
    process = start(**settings)
    _, log = process.communicate(timeout=60)
    assert process.returncode == 1
    assert sentence in log
    assert "Traceback" not in log


@NEEDS_ROOT
@pytest.mark.parametrize("readable", [True, False])
def test_a_worker_without_rights_leaves_out_what_it_may_not_read(
    start: Start, toy_repository: Path, readable: bool
) -> None:
    (toy_repository / "lost+found").mkdir()
    lock(toy_repository / "lost+found" if readable else toy_repository)
    process = start("-m", "worker", before=WITHOUT_RIGHTS)
    if readable:
        log = read_until(process.stderr, "waiting for redis")
        assert log.count("lost+found is not a model") == 1
    else:
        _, log = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "There is no PixelRNN in" in log
        assert "The model repository cannot be read: Permission denied." in log
    assert "Traceback" not in log


async def test_a_redis_that_may_lose_jobs_is_refused(start: Start, own_redis: PrivateRedis) -> None:
    async with connect(own_redis.url) as redis:
        await redis.config_set("maxmemory-policy", "allkeys-lru")  # given a Redis that evicts
    process = start(SMALTI_REDIS_URL=own_redis.url)
    _, log = process.communicate(timeout=60)
    assert (process.returncode, "set maxmemory-policy to noeviction" in log) == (1, True)


def test_a_worker_waits_for_redis_and_stops_on_sigterm(start: Start, own_redis: PrivateRedis) -> None:
    own_redis.kill()
    process = start(SMALTI_REDIS_URL=own_redis.url)
    read_until(process.stderr, "waiting for redis")
    own_redis.start()
    read_until(process.stderr, "worker ready")
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=60)
    assert (process.returncode, "worker stopped" in log) == (0, True)


def test_a_worker_that_waits_for_redis_stops_on_sigterm(start: Start) -> None:
    process = start()
    read_until(process.stderr, "waiting for redis")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0


HANGING = """
import time
import worker.runner
from worker.__main__ import main
worker.runner.Runner.draw_row = lambda self, lanes: time.sleep(3600)
main()
"""


async def test_a_hung_engine_ends_the_process_with_one_line(
    start: Start, own_redis: PrivateRedis, toy: Model
) -> None:
    manifest, _ = toy
    process = start("-c", HANGING, SMALTI_REDIS_URL=own_redis.url, SMALTI_LEASE_SECONDS="0.3")
    async with connect(own_redis.url) as redis:
        await queues_on(redis).clients.submit(a_request(manifest))
    log = await asyncio.to_thread(process.communicate, timeout=60)
    assert process.returncode == 1
    assert "gives up its samples and stops" in log[1]
    assert "Traceback" not in log[1]


SLOW = """
import time
import worker.runner
from worker.__main__ import main
draw_row = worker.runner.Runner.draw_row
def slow(self, lanes):
    for _ in range(20):  # so that SIGSTOP comes in the middle, as in a computation
        time.sleep(0.005)
    return draw_row(self, lanes)
worker.runner.Runner.draw_row = slow
main()
"""


async def test_a_worker_that_was_stopped_for_many_leases_goes_on_when_it_wakes(
    start: Start, own_redis: PrivateRedis, toy: Model, until: Until
) -> None:
    manifest, _ = toy
    process = start("-c", SLOW, SMALTI_REDIS_URL=own_redis.url, SMALTI_LEASE_SECONDS="0.3", SMALTI_SLOTS="2")
    async with connect(own_redis.url) as redis:
        queue = queues_on(redis, lease_seconds=0.3)
        job = await queue.clients.submit(a_request(manifest, count=3))
        await until(lambda: _first_row_of(queue, job), seconds=30)
        process.send_signal(signal.SIGSTOP)
        await until(lambda: _all_given_back(queue))
        await asyncio.sleep(1.0)  # three leases: it has no condition to wait for, as it is stopped
        process.send_signal(signal.SIGCONT)
        await until(ended(queue, job))  # by this worker, for there is no other
        await assert_undisturbed(queue, job, toy)
        process.send_signal(signal.SIGTERM)
        _, log = await asyncio.to_thread(process.communicate, timeout=60)
    assert (process.returncode, "worker stopped" in log) == (0, True)


async def _first_row_of(queue: Queues, job: Job) -> bool:
    return bool(await queue.watchers.rows(job, {}))


async def _all_given_back(queue: Queues) -> bool:
    await queue.upkeep.recover()
    return (await queue.upkeep.depth()).running_samples == 0


FAILING = """
import worker.runner
from worker.__main__ import main
from worker.device_runner import DeviceFailed
def fail(runner, lanes):
    raise DeviceFailed("The GPU failed in a tick of toy-pixel-rnn, so this worker gives up its samples and stops: 700")
worker.runner.Runner.draw_row = fail
main()
"""


async def test_a_gpu_that_fails_ends_the_process_with_one_line(
    start: Start, own_redis: PrivateRedis, toy: Model
) -> None:
    manifest, _ = toy
    process = start("-c", FAILING, SMALTI_REDIS_URL=own_redis.url)
    async with connect(own_redis.url) as redis:
        queue = queues_on(redis)
        job = await queue.clients.submit(a_request(manifest))
        log = await asyncio.to_thread(process.communicate, timeout=60)
        assert (
            await queue.clients.get(job.id)
        ).running == 4  # they wait for the lease to run out, as after a kill
    assert process.returncode == 1
    assert log[1].count("The GPU failed in a tick of toy-pixel-rnn") == 1
    assert "Traceback" not in log[1]
