"""`python -m tests.system.soak`: faults at random for minutes or hours, while jobs are drawn; writes a report.

Three workers and two servers share a Redis. Every quarter of a second dice decide whether Redis, a worker or a server
is killed, a worker is stopped past its lease, Redis forgets its scripts, a job is cancelled, or a job comes with a
sample that crashes its workers. Jobs draw with a toy model whose next pixel is a hash of all before it; every finished
image is compared with one that was drawn alone.
"""

import asyncio
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import click
from redis import RedisError

from benchmarks.quantiles import milliseconds
from local.ports import free_ports
from smalti.client import Client, Job, SampleResult
from smalti.errors import Busy, JobNotFound, SmaltiError, Unavailable
from smalti.jobs.connection import connect
from smalti.jobs.job import JobState
from smalti.runtime.stopping import interrupting
from tests.queues import queues_on
from tests.smalti.jobs.audit import audit_pool
from tests.system.cluster import Cluster, Sample, Served
from tests.toy_model import Toy, write_toy_model
from tests.worker.story import drawn_alone, open_runner

TOY = Toy(name="toy-pixel-rnn", height=64, width=6)
WORKERS, SERVERS, SLOTS = 3, 2, 4
DICE_SECONDS, STEP_SECONDS = 0.25, 0.03
SEEDS = range(1, 30)
DEADLY_SEED, DEADLY_INDEX, DEADLY_ROW = 666, 2, 9  # this row of this image crashes every worker
WORKER = ("tests.system.deadly_worker", str(DEADLY_SEED), str(DEADLY_INDEX), str(DEADLY_ROW))
MOST_JOBS = 5  # that have not ended
END_SECONDS = 120.0  # for all jobs to end after the last fault


Chances = tuple[tuple[int, Callable[[], None]], ...]  # per cent, and what is done then


@dataclass
class Report:
    """What happened."""

    seconds: float
    seed: int
    lease_seconds: float
    faults: "Counter[str]" = field(default_factory=Counter)
    jobs: "Counter[str]" = field(default_factory=Counter)  # by state
    samples: int = 0  # finished, and compared with images that were drawn alone
    recoveries: list[float] = field(default_factory=list)  # seconds from a kill to a new row of a lost sample
    cancels: list[float] = field(default_factory=list)  # seconds from the call to the end of the job
    recovered_samples: int = 0
    fenced_writes: int = 0
    rows_drawn: int = 0
    rows_needed: int = 0  # by the finished samples
    violations: list[str] = field(default_factory=list)

    def text(self) -> str:
        """The report for people."""
        lines = [
            f"# Soak of {self.seconds:.0f} s, lease {self.lease_seconds:g} s, seed {self.seed}",
            "",
            f"- violations: {len(self.violations)}",
            *(f"    - {violation}" for violation in self.violations[:100]),
            f"- faults: {_listed(self.faults)}",
            f"- jobs: {_listed(self.jobs)}; {self.samples} images compared with images drawn alone",
            f"- recoveries after a kill: {_times(self.recoveries)}; {self.recovered_samples} samples taken back",
            f"- cancels of running jobs: {_times(self.cancels)}",
            f"- fenced writes: {self.fenced_writes}",
            f"- rows drawn, as far as is known: {self.rows_drawn}; in finished images: {self.rows_needed}",
        ]
        return "\n".join(lines) + "\n"


def _listed(numbers: "Counter[str]") -> str:
    return ", ".join(f"{number} × {name}" for name, number in sorted(numbers.items())) or "none"


def _times(seconds: Sequence[float]) -> str:
    if not seconds:
        return "none"
    p50, p99 = milliseconds(seconds, 0.5), milliseconds(seconds, 0.99)
    return f"{len(seconds)}, p50 {p50:.0f} ms, p99 {p99:.0f} ms, most {1000 * max(seconds):.0f} ms"


@dataclass
class Loss:
    """A worker that was killed with samples, and how many bytes of each Redis had."""

    at: float
    samples: dict[Sample, int]


class Soak:
    """Plays users and chance."""

    def __init__(self, cluster: Cluster, report: Report, *, repository: Path) -> None:
        self._cluster = cluster
        self._report = report
        self._chance = random.Random(report.seed)
        self._manifest, self._runner = open_runner(repository, TOY.name, slots=1)
        self._images: dict[tuple[int, int], bytes] = {}  # drawn alone, by seed and index
        self._jobs: dict[str, Job] = {}  # that were accepted and not checked yet
        self._cancelled: dict[str, float] = {}  # when
        self._losses: list[Loss] = []
        self._stopped: list[tuple[float, Served]] = []  # when to go on
        self._metrics: dict[str, dict[str, float]] = {}  # of each process, as last read
        self._calm = Event()  # set after the last fault
        self._servers: list[Served] = []
        self._addresses = [f"127.0.0.1:{free_ports(workers=0).server}" for _ in range(SERVERS)]
        self._clients = [Client(address, timeout_seconds=3) for address in self._addresses]

    def run(self) -> None:
        """Disturb the system for the report's seconds, then let it come to rest, and check everything."""
        self._start()
        with ThreadPoolExecutor(1) as threads:
            users = threads.submit(self._be_users)
            try:
                self._disturb_until(time.monotonic() + self._report.seconds, users)
            finally:
                self._calm.set()
                self._go_on()
            while not users.done():
                self._restart_the_dead()
                self._read_metrics()
                time.sleep(STEP_SECONDS)
            users.result()
        self._read_metrics()
        self._check_queue()

    def _disturb_until(self, end: float, users: "Future[None]") -> None:
        rolled = read = time.monotonic()
        while (now := time.monotonic()) < end and not users.done():
            self._restart_the_dead()
            self._wake_the_stopped(now)
            with suppress(RedisError):
                self._look_at_losses()
            if now - rolled >= DICE_SECONDS:
                rolled = now
                self._roll(self._faults)
            if now - read >= 1:
                read = now
                self._read_metrics()
            time.sleep(STEP_SECONDS)

    def _be_users(self) -> None:
        """Submit and cancel jobs, and check those that have ended, until all have after the last fault."""
        rolled, last = time.monotonic(), float("inf")
        while self._jobs or not self._calm.is_set():
            now = time.monotonic()
            self._look_at_jobs()
            if self._calm.is_set():
                last = min(last, now)
                if now > last + END_SECONDS:
                    for job_id in self._jobs:
                        self._violated(f"job {job_id} has not ended {END_SECONDS:.0f} s after the last fault")
                    return
            elif now - rolled >= DICE_SECONDS:
                rolled = now
                self._roll(self._wishes)
                self._submit()
            time.sleep(STEP_SECONDS)

    def close(self) -> None:
        """Close the users' connections."""
        for client in self._clients:
            client.close()

    # The system

    def _start(self) -> None:
        self._cluster.ready_redis()
        for place in range(SERVERS):
            self._servers.append(self._new_server(place))
        for _ in range(WORKERS):
            self._cluster.start_worker(WORKER)
        for worker in self._cluster.workers:
            self._cluster.await_ready(worker)

    def _new_server(self, place: int) -> Served:
        return self._cluster.start_server(self._addresses[place])

    def _restart_the_dead(self) -> None:
        """Start again what ended, as a supervisor would."""
        for place, server in enumerate(self._servers):
            if not server.is_running:
                self._servers[place] = self._new_server(place)
        for worker in [each for each in self._cluster.workers if not each.is_running]:
            self._cluster.workers.remove(worker)
            self._cluster.start_worker(WORKER)

    # Chance

    @property
    def _faults(self) -> Chances:
        return (
            (2, self._restart_redis),
            (8, self._kill_a_worker),
            (3, self._stop_a_worker),
            (2, self._kill_a_server),
            (5, self._forget_scripts),
        )

    @property
    def _wishes(self) -> Chances:
        return ((5, self._submit_poison), (10, self._cancel))

    def _roll(self, chances: Chances) -> None:
        for percent, act in chances:
            if self._chance.random() < percent / 100:
                with suppress(Unavailable, Busy, RedisError):
                    act()

    def _count(self, fault: str) -> None:
        self._report.faults[fault] += 1

    def _restart_redis(self) -> None:
        self._cluster.redis.kill()
        time.sleep(self._chance.random() * 2)
        self._cluster.redis.start()
        self._count("Redis killed and started")
        self._losses.clear()  # the outage is in their times

    def _kill_a_worker(self) -> None:
        worker = self._chance.choice(self._cluster.workers)
        if not worker.is_running or worker in [stopped for _, stopped in self._stopped]:
            return
        self._read_metrics_of(worker)
        worker.kill()
        killed = time.monotonic()
        self._count("worker killed")
        lost = self._cluster.rows_drawn(self._cluster.held_by(worker))
        wanted = {sample: rows for sample, rows in lost.items() if sample[0] not in self._cancelled}
        if wanted:
            self._losses.append(Loss(killed, wanted))

    def _stop_a_worker(self) -> None:
        worker = self._chance.choice(self._cluster.workers)
        if worker.is_running and worker not in [stopped for _, stopped in self._stopped]:
            worker.pause()
            self._stopped.append((time.monotonic() + 3 * self._report.lease_seconds, worker))
            self._count("worker stopped past its lease")

    def _kill_a_server(self) -> None:
        self._chance.choice(self._servers).kill()
        self._count("server killed")

    def _forget_scripts(self) -> None:
        self._cluster.forget_scripts()
        self._count("scripts forgotten")

    # Jobs

    @property
    def _client(self) -> Client:
        return self._chance.choice(self._clients)

    def _submit(self) -> None:
        if len(self._jobs) < MOST_JOBS:
            with suppress(Unavailable, Busy):
                self._take_job(seed=self._chance.choice(SEEDS), count=self._chance.randint(5, 40))

    def _submit_poison(self) -> None:
        self._take_job(seed=DEADLY_SEED, count=6)
        self._count("job with a sample that crashes its workers")

    def _take_job(self, *, seed: int, count: int) -> None:
        job = self._client.submit(TOY.name, count=count, seed=seed, patience_seconds=0)
        self._jobs[job.id] = job

    def _cancel(self) -> None:
        going = [job_id for job_id in self._jobs if job_id not in self._cancelled]
        if not going:
            return
        job_id = self._chance.choice(going)
        began = time.monotonic()
        if self._client.cancel(job_id).state in (JobState.CANCELLING, JobState.CANCELLED):
            self._cancelled[job_id] = began
            self._count("job cancelled")

    # Watching

    def _wake_the_stopped(self, now: float) -> None:
        for due, worker in list(self._stopped):
            if now >= due:
                worker.resume()
                self._stopped.remove((due, worker))

    def _go_on(self) -> None:
        """No more faults: whatever is stopped goes on."""
        self._wake_the_stopped(float("inf"))
        self._cluster.ready_redis()

    def _look_at_jobs(self) -> None:
        for job_id in list(self._jobs):
            with suppress(Unavailable, Busy):
                self._look_at(job_id)

    def _look_at_losses(self) -> None:
        for loss in list(self._losses):
            drawn = self._cluster.rows_drawn(set(loss.samples))
            if any(drawn.get(sample, before + 1) > before for sample, before in loss.samples.items()):
                self._report.recoveries.append(time.monotonic() - loss.at)
                self._losses.remove(loss)

    def _look_at(self, job_id: str) -> None:
        try:
            job = self._client.get_job(job_id)
        except JobNotFound:
            self._violated(f"job {job_id} was accepted and is gone")
            del self._jobs[job_id]
            return
        if not job.is_over:
            return
        now = time.monotonic()
        results = list(self._client.results(job))
        if job.state is JobState.CANCELLED and job_id in self._cancelled:
            self._report.cancels.append(now - self._cancelled[job_id])
        del self._jobs[job_id]
        self._check(job, results)
        self._report.jobs[job.state] += 1
        self._client.delete(job_id)

    def _read_metrics(self) -> None:
        for process in (*self._cluster.workers, *self._servers):
            self._read_metrics_of(process)

    def _read_metrics_of(self, process: Served) -> None:
        if process not in [stopped for _, stopped in self._stopped] and (found := process.metrics()):
            self._metrics[process.name] = found

    # Checking

    def _violated(self, sentence: str) -> None:
        self._report.violations.append(sentence)
        click.echo(f"VIOLATION: {sentence}", err=True)

    def _check(self, job: Job, results: Sequence[SampleResult]) -> None:
        dead = [DEADLY_INDEX] if job.seed == DEADLY_SEED else []
        failed = [result.index for result in results if result.image is None]
        cancelled = job.state is JobState.CANCELLED
        expected = JobState.FAILED if dead else JobState.SUCCEEDED
        if cancelled and job.id not in self._cancelled:
            self._violated(f"job {job.id} is CANCELLED, and nobody cancelled it")
        if not cancelled and (job.state, failed) != (expected, dead):
            self._violated(f"job {job.id} is {job.state}, and samples {failed} failed instead of {dead}")
        if not set(failed) <= set(dead):
            self._violated(
                f"samples {failed} of job {job.id} failed: {[r.error for r in results if r.error]}"
            )
        if not cancelled and len(results) != job.count:
            self._violated(f"job {job.id} has {len(results)} of {job.count} results")
        for result in results:
            if result.image is not None:
                self._compare(job, result.index, result.image.indices)

    def _compare(self, job: Job, index: int, pixels: bytes) -> None:
        key = job.seed, index
        if key not in self._images:
            self._images[key], _ = drawn_alone(self._runner, self._manifest, index, seed=job.seed)
        if pixels != self._images[key]:
            self._violated(f"sample {index} of job {job.id} has other pixels than seed {job.seed} gives")
        self._report.samples += 1
        self._report.rows_needed += TOY.height

    def _check_queue(self) -> None:
        with self._reporting("the queue's invariants do not hold"):
            asyncio.run(_audit(self._cluster.redis.url, self._report))
        for name, number in self._sums().items():
            if name in ("smalti_queue_repairs_total", "smalti_corrupt_commits_total") and number:
                self._violated(f"{name} is {number:.0f}")
        sums = self._sums()
        self._report.fenced_writes = round(sums["smalti_fenced_writes_total"])
        self._report.recovered_samples = round(sums["smalti_recovered_samples_total"])
        self._report.rows_drawn = round(sums["smalti_rows_drawn_total"])

    def _sums(self) -> "Counter[str]":
        sums: Counter[str] = Counter()
        for found in self._metrics.values():
            sums.update(found)
        return sums

    @contextmanager
    def _reporting(self, sentence: str) -> Iterator[None]:
        try:
            yield
        except (AssertionError, SmaltiError) as error:
            self._violated(f"{sentence}: {error}")


async def _audit(url: str, report: Report) -> None:
    """Check all that Redis holds: by the tests' own audit, and by the queue's, which must have nothing to repair."""
    async with connect(url) as redis:
        queue = queues_on(redis)
        repairs = await queue.upkeep.audit(every_seconds=0)
        if repairs:
            report.violations.append(f"an audit at the end repaired {dict(repairs)}")
        await audit_pool(redis)


@click.command()
@click.option("--minutes", type=click.FloatRange(0.05), default=3.0, show_default=True, help="How long.")
@click.option("--lease", type=click.FloatRange(0.2), default=1.0, show_default=True, help="Lease in seconds.")
@click.option("--seed", type=int, help="Of the dice. Default: another one each time.")
@click.option(
    "--report", "folder", type=click.Path(path_type=Path), default=Path("out/soak"), show_default=True
)
def main(minutes: float, lease: float, seed: int | None, folder: Path) -> None:
    """Disturb a whole system at random and write a report; exits with 1 if a promise was broken."""
    report = Report(
        seconds=60 * minutes, seed=random.randrange(10**6) if seed is None else seed, lease_seconds=lease
    )
    scratch = Path(tempfile.mkdtemp(prefix="smalti-soak-"))
    try:
        with interrupting():
            _disturb(report, scratch)
    finally:
        _write(report, folder)
    if report.violations:
        shutil.copytree(scratch, folder / "logs", dirs_exist_ok=True, ignore=_without_models)
        click.echo(f"The logs are in {folder / 'logs'}.", err=True)
    shutil.rmtree(scratch, ignore_errors=True)
    sys.exit(bool(report.violations))


def _disturb(report: Report, scratch: Path) -> None:
    repository = scratch / "model_repository"
    write_toy_model(repository, TOY)
    cluster = Cluster(scratch, repository=repository, slots=SLOTS, lease_seconds=report.lease_seconds)
    with cluster:
        soak = Soak(cluster, report, repository=repository)
        try:
            soak.run()
        finally:
            soak.close()


def _without_models(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name in ("model_repository", "redis")]


def _write(report: Report, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text(report.text())
    (folder / "report.json").write_text(json.dumps(vars(report), indent=1))
    click.echo(report.text())
    click.echo(f"The report is in {folder}.")


if __name__ == "__main__":
    main()
