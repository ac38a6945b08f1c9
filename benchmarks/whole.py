"""The whole system for a benchmark: started, asked over gRPC, and looked at from outside."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from urllib.request import urlopen

import click
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from deploy.system import System, free_ports
from smalti.client import Client
from smalti.jobs.job import JobState
from smalti.private_redis import PrivateRedis


@dataclass(frozen=True, slots=True)
class Whole:
    """A running system, a client of it, and its Redis."""

    system: System
    client: Client
    redis: Redis
    slots: int

    def workers(self, metric: str, **labels: str) -> float:
        """A metric of all workers, added up."""
        urls = {name: url for name, url in self.system.metrics_urls.items() if name.startswith("worker")}
        return sum(_metric(url, metric, labels) for url in urls.values())

    def redis_seconds(self) -> float:
        """Of the processor, since it started."""
        used = self.redis.info("cpu")
        return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])

    def draw(self, model: str, count: int, *, seed: int = 7) -> float:
        """Draw a job of so many samples; the seconds from submit to its end."""
        started = perf_counter()
        job = self.client.submit(model, count=count, seed=seed)
        for _ in self.client.watch(job.id):
            pass
        ended = self.client.get_job(job.id)
        if ended.state is not JobState.SUCCEEDED:
            raise click.ClickException(f"The job ended {ended.state}: {ended.reason}")
        return perf_counter() - started


@contextmanager
def running(
    repository: Path, models: str, *, workers: int = 1, slots: int = 32, **settings: str
) -> Iterator[Whole]:
    """Redis, a server and workers that serve these models, ready."""
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
            yield Whole(system, client, redis, slots)


def resident_megabytes(pid: int) -> float:
    """What a process has in memory; Linux only."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise click.ClickException(f"/proc/{pid}/status does not tell what the process has in memory.")


def _metric(url: str, name: str, labels: Mapping[str, str]) -> float:
    with urlopen(url, timeout=5) as response:
        page = response.read().decode()
    return sum(
        sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def _nothing(_: str) -> None:
    pass
