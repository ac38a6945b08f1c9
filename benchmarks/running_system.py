"""Starts the whole system for a benchmark, and reads its metrics."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, sleep
from typing import Any, NamedTuple

import click
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from local.latencies import page_of
from local.ports import free_ports
from local.private_redis import PrivateRedis
from local.system import System
from smalti.client import Client
from smalti.jobs.job import TERMINAL, JobState

BACKLOG = 100_000  # samples of a job that no benchmark draws to its end
_POLL_SECONDS = 0.05  # between two reads of a job


@dataclass(frozen=True, slots=True)
class RunningSystem:
    """A running system, a client of it, and its Redis."""

    system: System
    client: Client
    redis: Redis
    redis_url: str
    slots: int

    def workers(self, metric: str, **labels: str) -> float:
        """The sum of a metric over all workers."""
        urls = {name: url for name, url in self.system.metrics_urls.items() if name.startswith("worker")}
        return sum(_metric(url, metric, labels) for url in urls.values())

    def draw(self, model: str, count: int, *, seed: int = 7) -> float:
        """Draw a job of `count` samples; return the seconds from submit to its end.

        The job is polled: watching it would use a core that the workers may need.
        """
        started = perf_counter()
        job = self.client.submit(model, count=count, seed=seed)
        while job.state not in TERMINAL:
            sleep(_POLL_SECONDS)
            job = self.client.get_job(job.id)
        if job.state is not JobState.SUCCEEDED:
            raise click.ClickException(f"The job ended {job.state}: {job.reason}")
        return perf_counter() - started

    def drawing(self, model: str, work: Callable[[], object]) -> dict[str, float]:
        """Do `work`, and return how the workers drew with the model during that time."""
        before, started = _Counts.of(self, model), perf_counter()
        work()
        seconds = perf_counter() - started
        after = _Counts.of(self, model)
        spent = _Counts(*(now - then for now, then in zip(after, before, strict=True)))
        if not spent.ticks:
            raise click.ClickException(
                f"No row of {model} was drawn in {seconds:.1f} s, so there is no rate."
            )
        workers = len(self.system.pids) - 1  # one is the server
        return {
            "samples_per_second": spent.samples / seconds,
            "occupancy": spent.rows / spent.ticks / self.slots,
            "share_in_onnxruntime": spent.tick_seconds / seconds / workers,
            "redis_cores_per_worker": spent.redis_seconds / seconds / workers,
        }


class _Counts(NamedTuple):
    """Counters, since the processes started."""

    samples: float
    rows: float
    ticks: float
    tick_seconds: float
    redis_seconds: float

    @classmethod
    def of(cls, running: RunningSystem, model: str) -> "_Counts":
        return cls(
            samples=running.workers("smalti_samples_ended_total", model=model),
            rows=running.workers("smalti_tick_rows_sum", model=model),
            ticks=running.workers("smalti_tick_rows_count", model=model),
            tick_seconds=running.workers("smalti_tick_seconds_sum", model=model),
            redis_seconds=redis_seconds(running.redis),
        )


@contextmanager
def run_system(
    repository: Path, models: str, *, workers: int = 1, slots: int = 32, **settings: str
) -> Iterator[RunningSystem]:
    """Start Redis, a server and workers for these models; yield when they are ready."""
    given = {
        "SMALTI_MODEL_REPOSITORY": str(repository.resolve()),
        "SMALTI_MODELS": models,
        "SMALTI_SLOTS": str(slots),
        "SMALTI_LOG_LEVEL": "warning",
        **settings,
    }
    with PrivateRedis() as private:
        system = System(free_ports(workers), redis_url=private.url, settings=given, say=_nothing)
        with system, Client(system.address) as client, Redis.from_url(private.url) as redis:
            yield RunningSystem(system, client, redis, private.url, slots)


def redis_seconds(redis: Redis) -> float:
    """Processor seconds that Redis has used since it started."""
    used: Any = redis.info("cpu")  # typed as if it might be a coroutine
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


def resident_megabytes(pid: int) -> float:
    """The resident memory of a process; Linux only."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise click.ClickException(
        f"/proc/{pid}/status has no line VmRSS, so the memory of the process is unknown."
    )


def _metric(url: str, name: str, labels: Mapping[str, str]) -> float:
    return sum(
        sample.value
        for family in text_string_to_metric_families(page_of(url))
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def _nothing(_: str) -> None:
    pass
