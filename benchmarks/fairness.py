"""How evenly clients and classes share the workers, and what sharing costs: `python -m benchmarks.fairness`.

The scripts and the Redis are real. The workers commit rows without drawing them.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from redis.asyncio import Redis

from benchmarks import machine
from benchmarks.command import Benchmark
from local.private_redis import PrivateRedis
from smalti.jobs.clients import ClientQueue
from smalti.jobs.connection import connect
from smalti.jobs.job import Claim, Finished, JobClass, JobRequest, Progress
from smalti.jobs.limits import UNSAID, ClientLimits, QueueLimits
from smalti.jobs.sharing import ClientWeights
from smalti.jobs.store import QueueStore
from smalti.jobs.workers import WorkerQueue

SIDE = 20  # rows and columns of a usual image
PLENTY = 100_000  # samples: more than anybody draws here


@dataclass(frozen=True, slots=True)
class Sharer:
    """Somebody who shares: a client, or a class of jobs."""

    name: str
    jobs: Sequence[int] = (PLENTY,)  # their counts
    weight: float = 1.0
    side: int = SIDE
    job_class: JobClass = JobClass.STANDARD
    sees_all: bool = False
    limits: ClientLimits = UNSAID

    @property
    def requests(self) -> Sequence[JobRequest]:
        return [
            JobRequest(
                model="toy",
                version=1,
                digest="d" * 64,
                rows=self.side,
                columns=self.side,
                colours=16,
                count=count,
                seed=7,
                job_class=self.job_class,
            )
            for count in self.jobs
        ]


SCENES: Mapping[str, Sequence[Sharer]] = {
    "four clients of equal weight": [
        Sharer("one large job"),
        Sharer("fifty jobs of ten", jobs=[10] * 50),
        Sharer("single samples", jobs=[1] * 300),
        Sharer("two jobs", jobs=[PLENTY, 200]),
    ],
    "weights 4 : 2 : 1 : 1": [
        Sharer("four", weight=4),
        Sharer("two", jobs=[10] * 50, weight=2),
        Sharer("one", jobs=[1] * 300),
        Sharer("another one"),
    ],
    "images of 10×10, 20×20 and 28×28": [
        Sharer("small", side=10),
        Sharer("usual"),
        Sharer("large", side=28),
    ],
    "classes 16 : 4 : 1": [
        Sharer(str(job_class), job_class=job_class, weight=job_class.weight) for job_class in JobClass
    ],
}


class ToyWorker:
    """Claims, commits a row of every sample at each tick, and claims again."""

    def __init__(self, queue: WorkerQueue, name: str, slots: int) -> None:
        self._queue = queue
        self._name = name
        self._slots = slots
        self._held: list[tuple[Claim, int]] = []  # samples and their next rows
        self._sequence = 0

    async def tick(self, most: int) -> Sequence[Claim]:
        """Fill free slots with up to `most` samples, and draw a row of each; returns the new samples."""
        room = min(most, self._slots - len(self._held))
        claims = await self.claim(room) if room else []
        self._held += [(claim, 0) for claim in claims]
        if self._held:
            await self._queue.commit(self._name, [_row(claim, row) for claim, row in self._held])
        self._held = [(claim, row + 1) for claim, row in self._held if row + 1 < claim.request.rows]
        return claims

    async def claim(self, room: int) -> Sequence[Claim]:
        """Take up to so many samples; no class comes first."""
        self._sequence += 1
        return await self._queue.claim(
            self._name,
            sequence=self._sequence,
            digests=["d" * 64],
            fingerprint="cpu",
            limit=room,
            interactive=0,
        )


def _row(claim: Claim, row: int) -> Progress:
    request = claim.request
    return Progress(
        job=claim.job,
        index=claim.index,
        token=claim.token,
        first_row=row,
        pixels=bytes(request.row_bytes),
        outcome=Finished(-1.0) if row == request.rows - 1 else None,
    )


async def submit_all(store: QueueStore, sharers: Sequence[Sharer]) -> dict[str, str]:
    """Queue the jobs of all; returns whose they are."""
    queue, weights = ClientQueue(store, limits=QueueLimits(pixels=10**12)), ClientWeights(store)
    owners = {}
    for sharer in sharers:
        if len({each.job_class for each in sharers}) == 1:
            await weights.set(sharer.name, sharer.weight)
        for request in sharer.requests:
            owners[(await queue.of(sharer).submit(request)).id] = sharer.name
    return owners


async def share(redis: Redis, sharers: Sequence[Sharer], *, workers: int, samples: int) -> dict[str, float]:
    """Draw so many samples; returns how far each one's pixels are from its due, in per cent of the due."""
    await redis.flushdb()
    store, pixels, left = QueueStore(redis), Counter[str](), samples
    owners = await submit_all(store, sharers)
    crew = [ToyWorker(WorkerQueue(store), f"worker-{number}", slots=8) for number in range(workers)]
    while left:
        for worker in crew:
            claims = await worker.tick(left)
            left -= len(claims)
            for claim in claims:
                pixels[owners[claim.job]] += claim.request.rows * claim.request.columns
    weights = sum(sharer.weight for sharer in sharers)
    dues = {sharer.name: pixels.total() * sharer.weight / weights for sharer in sharers}
    return {name: 100 * (pixels[name] / due - 1) for name, due in dues.items()}


async def ticks_to_first_row(redis: Redis, phase: int) -> int:
    """Ticks until a client of one sample has a row, beside one of 100,000 that has all slots of a worker."""
    await redis.flushdb()
    store = QueueStore(redis)
    await submit_all(store, [Sharer("large")])
    worker = ToyWorker(WorkerQueue(store), "worker", slots=8)
    for _ in range(phase):
        await worker.tick(PLENTY)
    small = await submit_all(store, [Sharer("small", jobs=[1])])
    for tick in range(1, 10 * SIDE):
        if any(claim.job in small for claim in await worker.tick(PLENTY)):
            return tick
    return 10 * SIDE


async def claim_microseconds(redis: Redis, clients: int, jobs: int, repetitions: int) -> float:
    """Redis' time for a claim of one sample beside so many clients, each with so many jobs."""
    await redis.flushdb()
    store = QueueStore(redis)
    await submit_all(
        store, [Sharer(f"client-{number}", jobs=[PLENTY // 100] * jobs) for number in range(clients)]
    )
    worker = ToyWorker(WorkerQueue(store), "worker", slots=PLENTY)
    await redis.config_resetstat()
    for _ in range(repetitions):
        await worker.claim(1)
    used = await redis.info("commandstats")
    return (
        float(sum(used.get(f"cmdstat_{name}", {"usec": 0})["usec"] for name in ("eval", "evalsha")))
        / repetitions
    )


@click.command(cls=Benchmark)
@click.option(
    "--samples", type=click.IntRange(1), default=200, show_default=True, help="Drawn in each scene."
)
@click.option("--clients", type=click.IntRange(1), default=1000, show_default=True, help="Most clients.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(samples: int, clients: int, file: Path | None) -> None:
    """Measure how far clients and classes are from their dues, and what a claim costs among many."""
    click.echo(machine.headline())
    figures = asyncio.run(_measure(samples, clients))
    machine.write(file, figures)


async def _measure(samples: int, clients: int) -> dict[str, object]:
    with PrivateRedis() as server:
        async with connect(server.url) as redis:
            return {
                "off_percent": await _scenes(redis, samples),
                "first_row_samples": await _first_rows(redis),
                "claim_microseconds": await _claims(redis, clients),
            }


async def _scenes(redis: Redis, samples: int) -> dict[str, dict[str, float]]:
    found = {}
    for name, sharers in SCENES.items():
        # A class may be due a twenty-first: only among 2100 samples is one of them less than five per cent of its due.
        number = samples if len({each.job_class for each in sharers}) == 1 else 21 * samples // 2
        for workers in (1, 4):
            off = await share(redis, sharers, workers=workers, samples=number)
            found[f"{name}, {workers} workers"] = off
            listed = ", ".join(f"{sharer} {percent:+.1f}" for sharer, percent in off.items())
            click.echo(f"{name}, {number} samples, {workers} workers: % from the due: {listed}")
    return found


async def _first_rows(redis: Redis) -> float:
    worst = max([await ticks_to_first_row(redis, phase) for phase in range(1, SIDE + 1)])
    click.echo(f"1 sample beside 100,000 of another client: first row within {worst / SIDE:.2f} sample times")
    return worst / SIDE


async def _claims(redis: Redis, clients: int) -> dict[str, float]:
    found = {}
    for number, jobs in ((1, 1), (clients // 10, 1), (clients, 1), (1, clients)):
        if number:
            found[f"{number} clients, {jobs} jobs each"] = spent = await claim_microseconds(
                redis, number, jobs, 100
            )
            click.echo(f"a claim beside {number} clients with {jobs} jobs each: {spent:.0f} µs in Redis")
    return found


if __name__ == "__main__":
    main()
