"""How many workers, jobs and watchers one Redis carries: `python -m benchmarks.capacity`.

Toy workers commit a row of every slot at each tick, as real ones do, but draw nothing. Their number is doubled until
the p99 of a commit is longer than a tick: then rows come faster than they are stored. Watchers read a job as a server
does when something happened to it.

With more than one shard, each has a Redis, jobs, workers and watchers of its own. All workers and watchers of a shard
are in one process. If that uses a whole core before Redis does, it is the limit that was found, not Redis.
"""

import asyncio
import multiprocessing
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter, process_time

import click

from benchmarks import machine
from benchmarks.command import Benchmark
from benchmarks.quantiles import milliseconds
from benchmarks.running_server import cpu_seconds
from benchmarks.toy_worker import ToyWorker
from local.private_redis import PrivateRedis
from smalti.jobs.clients import ClientJobs, ClientQueue
from smalti.jobs.connection import connect
from smalti.jobs.job import Job, JobRequest
from smalti.jobs.limits import EVERYBODY, QueueLimits
from smalti.jobs.store import QueueStore
from smalti.jobs.watchers import WatcherQueue
from smalti.jobs.workers import WorkerQueue

DIGEST = "d" * 64
_SIDE = 20  # rows and columns of an image
_BETWEEN_LOOKS_SECONDS = 0.03  # as in the server
_FULL = 0.7  # the part of a core up to which one lets a Redis work
_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What one Redis has to carry."""

    workers: int
    slots: int
    tick_seconds: float
    jobs: int  # queued, each of 10,000 samples
    watchers: int  # each of another job; a server reads a job once for all who watch it
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """How one Redis carried it."""

    workers: int
    commit_p50_milliseconds: float
    commit_p99_milliseconds: float
    rows_per_second: float
    commits_per_second: float
    looks_per_second: float  # of watchers
    redis_cores: float
    load_cores: float  # of the process with the workers and watchers

    @property
    def redis_microseconds(self) -> float:
        """Redis' processor time for each commit, with claims and watchers."""
        return 1e6 * self.redis_cores / self.commits_per_second if self.commits_per_second else float("nan")

    def __str__(self) -> str:
        return (
            f"{self.workers:7} {self.commit_p50_milliseconds:9.1f} {self.commit_p99_milliseconds:9.1f}"
            f" {self.commits_per_second:10.0f} {self.rows_per_second:9.0f} {self.looks_per_second:8.0f}"
            f" {self.redis_cores:8.2f} {self.load_cores:8.2f}"
        )


@click.command(cls=Benchmark)
@click.option("--slots", type=click.IntRange(1, 4096), default=32, show_default=True)
@click.option("--tick", default=10.0, show_default=True, help="Milliseconds that a worker draws at a row.")
@click.option("--jobs", type=click.IntRange(1), default=1000, show_default=True, help="Jobs that wait.")
@click.option("--watchers", type=click.IntRange(0), default=50, show_default=True, help="Jobs watched.")
@click.option("--most-workers", type=click.IntRange(1), default=256, show_default=True)
@click.option("--seconds", default=5.0, show_default=True, help="For each number of workers.")
@click.option("--shards", type=click.IntRange(1), default=1, show_default=True)
@click.option(
    "--fsync",
    type=click.Choice(["always", "everysec", "no"]),
    multiple=True,
    default=("always", "everysec"),
    show_default=True,
)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(
    slots: int,
    tick: float,
    jobs: int,
    watchers: int,
    most_workers: int,
    seconds: float,
    shards: int,
    fsync: Sequence[str],
    file: Path | None,
) -> None:
    """Double the workers of each Redis until a commit's p99 is longer than a tick."""
    click.echo(f"{slots} slots, a tick of {tick:.0f} ms, {jobs} jobs, {watchers} of them watched")
    click.echo(machine.headline())
    found: dict[str, list[Carried]] = {}
    for setting in fsync:
        click.echo(f"\nappendfsync {setting}, {shards} Redis; workers and watchers are those of each")
        click.echo("workers  commit p50       p99  commits/s    rows/s  looks/s    Redis     load   (cores)")
        found[setting] = []
        workers = 1
        while workers <= most_workers:
            load = Load(
                workers=workers,
                slots=slots,
                tick_seconds=tick / 1000,
                jobs=jobs,
                watchers=watchers,
                seconds=seconds,
            )
            carried = carry(load, fsync=setting, shards=shards)
            click.echo(str(carried))
            found[setting].append(carried)
            if carried.commit_p99_milliseconds > tick:
                break
            workers *= 2
        click.echo(_conclusion(found[setting], tick))
    machine.write(file, {name: [asdict(each) for each in rows] for name, rows in found.items()})


def _conclusion(found: Sequence[Carried], tick: float) -> str:
    carried = max((each.workers for each in found if each.commit_p99_milliseconds <= tick), default=0)
    last = found[-1]
    a_worker = last.redis_microseconds / (1000 * tick)  # the part of a core that a worker takes
    return (
        f"p99 within a tick up to {carried} workers; a commit takes {last.redis_microseconds:.0f} μs of Redis, so on"
        f" paper 1000 workers need {1000 * a_worker:.1f} cores: {max(1, round(1000 * a_worker / _FULL + 0.5))} Redis"
        f" at {_FULL:.0%} of a core each"
    )


def carry(load: Load, *, fsync: str, shards: int) -> Carried:
    """Put the load on each of so many new Redis; returns the latencies of the slowest, and sums of the rest."""
    with ExitStack() as stack:
        servers = [stack.enter_context(PrivateRedis(maxmemory="2gb")) for _ in range(shards)]
        running = [stack.enter_context(_process(server, load, fsync)) for server in servers]
        found = [connection.recv() for connection in running]
    return Carried(
        workers=load.workers,
        commit_p50_milliseconds=max(each.commit_p50_milliseconds for each in found),
        commit_p99_milliseconds=max(each.commit_p99_milliseconds for each in found),
        rows_per_second=sum(each.rows_per_second for each in found),
        commits_per_second=sum(each.commits_per_second for each in found),
        looks_per_second=sum(each.looks_per_second for each in found),
        redis_cores=sum(each.redis_cores for each in found),
        load_cores=sum(each.load_cores for each in found),
    )


@contextmanager
def _process(server: PrivateRedis, load: Load, fsync: str) -> Iterator[Connection]:
    """The workers and watchers of one Redis in a process of their own, which sends what it found."""
    here, there = _SPAWN.Pipe()
    process = _SPAWN.Process(target=_run, args=(there, server.url, server.pid, load, fsync), daemon=True)
    process.start()
    there.close()  # if the process ends early, reading ends with it
    try:
        yield here
    finally:
        process.join(10)
        process.kill()


def _run(answer: Connection, url: str, pid: int, load: Load, fsync: str) -> None:
    answer.send(asyncio.run(measure(url, pid, load, fsync)))


async def measure(url: str, pid: int, load: Load, fsync: str) -> Carried:
    """Carry the load on one Redis."""
    async with connect(url, connections=load.workers + load.watchers + 8) as redis:
        await redis.config_set("appendfsync", fsync)
        store = QueueStore(redis, lease_seconds=600)
        clients = ClientQueue(store, limits=QueueLimits(jobs=10**9, pixels=10**15, result_bytes=10**15))
        jobs = [await clients.of(EVERYBODY).submit(_request(seed)) for seed in range(load.jobs)]
        crew = [_Worker(store, f"worker-{number}", load) for number in range(load.workers)]
        for worker in crew:
            await worker.begin()
        watching = _Watching(store, clients.of(EVERYBODY), jobs[: load.watchers])
        async with _side_by_side(watching):
            used, own, started = cpu_seconds(pid), process_time(), perf_counter()
            await asyncio.gather(*(worker.run(started + load.seconds) for worker in crew))
            seconds, used = perf_counter() - started, cpu_seconds(pid) - used
            own = process_time() - own
    latencies = [each for worker in crew for each in worker.latencies]
    return Carried(
        workers=load.workers,
        commit_p50_milliseconds=milliseconds(latencies, 0.5),
        commit_p99_milliseconds=milliseconds(latencies, 0.99),
        rows_per_second=sum(worker.rows for worker in crew) / seconds,
        commits_per_second=len(latencies) / seconds,
        looks_per_second=watching.looks / seconds,
        redis_cores=used / seconds,
        load_cores=own / seconds,
    )


def _request(seed: int) -> JobRequest:
    return JobRequest(
        model="benchmark",
        version=1,
        digest=DIGEST,
        rows=_SIDE,
        columns=_SIDE,
        colours=167,
        count=10_000,
        seed=seed,
    )


class _Worker:
    """A toy worker with a tick."""

    def __init__(self, store: QueueStore, name: str, load: Load) -> None:
        self._toy = ToyWorker(WorkerQueue(store), name, digest=DIGEST, slots=load.slots)
        self._tick_seconds = load.tick_seconds
        self.latencies: list[float] = []
        self.rows = 0

    async def begin(self) -> None:
        """Fill all slots."""
        await self._toy.fill()

    async def run(self, end: float) -> None:
        """Commit at each tick. While a commit lasts, rows gather, and the next commit has all of them."""
        told = start = perf_counter()
        while (now := perf_counter()) < end:
            ticks = int((now - start) / self._tick_seconds) - int((told - start) / self._tick_seconds)
            if not ticks:
                await asyncio.sleep(self._tick_seconds - (now - start) % self._tick_seconds)
                continue
            told = now
            self.rows += await self._toy.commit(ticks)
            self.latencies.append(perf_counter() - now)
            if self._toy.room:
                await self._toy.fill()


class _Watching:
    """Looks at jobs when something happened to them, as a server does that has watchers of each."""

    def __init__(self, store: QueueStore, clients: ClientJobs, jobs: Sequence[Job]) -> None:
        self._queue = WatcherQueue(store)
        self._clients = clients
        self._jobs = {job.id: job for job in jobs}
        self._rung = {job.id: asyncio.Event() for job in jobs}
        self.looks = 0

    async def listen(self) -> None:
        """Wake those whose jobs have changed."""
        async for changed in self._queue.events():
            for job_id in changed & self._rung.keys():
                self._rung[job_id].set()

    async def watch(self, job: Job) -> None:
        """Read a job and its new rows and ends whenever it has changed, but not more often than a person can see."""
        rows: dict[int, int] = {}
        ended = 0
        while True:
            await self._rung[job.id].wait()
            self._rung[job.id].clear()
            await self._clients.refresh(job)
            for each in await self._queue.rows(job, rows):
                rows[each.index] = each.first_row + len(each.pixels) // job.request.row_bytes
            ended += len(await self._queue.ended(job, known=ended))
            self.looks += 1
            await asyncio.sleep(_BETWEEN_LOOKS_SECONDS)

    async def run(self) -> None:
        """Do both for all jobs."""
        await asyncio.gather(self.listen(), *map(self.watch, self._jobs.values()))


@asynccontextmanager
async def _side_by_side(watching: _Watching) -> AsyncIterator[None]:
    """Watch until the block ends."""
    task = asyncio.create_task(watching.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


if __name__ == "__main__":
    main()
