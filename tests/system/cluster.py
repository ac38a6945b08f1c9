"""Runs Redis, a server and workers as real processes that tests may kill, pause and restart."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from local.latencies import page_of
from local.ports import free_ports
from local.private_redis import PrivateRedis
from smalti.client import Client, Job
from smalti.client.health import ask
from smalti.errors import Busy, Unavailable
from smalti.jobs.job import JobState
from smalti.jobs.keys import Keys

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 60.0  # far more than anything takes, so that no test fails on a busy machine
STEP_SECONDS = 0.005  # between two checks of a condition
Value = TypeVar("Value")
Sample = tuple[str, int]  # job and index


def until(
    condition: Callable[[], Value], *, seconds: float = PATIENCE_SECONDS, what: str | None = None
) -> Value:
    """Wait for the first true value of a condition and return it; fail the test if it takes too long."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"this did not become true in {seconds} s: {what or condition}"
        time.sleep(STEP_SECONDS)
    return value


class Process:
    """One `python -m MODULE` with a log of its own."""

    def __init__(
        self, name: str, arguments: Sequence[str], *, settings: Mapping[str, str], folder: Path
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("SMALTI_")}
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                cwd=ROOT,
                env={**inherited, **settings, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def is_running(self) -> bool:
        return self._child.poll() is None

    def kill(self) -> None:
        """Send SIGKILL, so that it cannot clean up."""
        self._child.kill()
        self._child.wait()

    def pause(self) -> None:
        """Send SIGSTOP, and wait until the process is stopped."""
        self._child.send_signal(signal.SIGSTOP)
        until(
            lambda: self._kernel_state in ("T", "Z"), what=f"{self.name} is stopped"
        )  # Z: it has just ended

    def resume(self) -> None:
        """Send SIGCONT."""
        self._child.send_signal(signal.SIGCONT)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._child.terminate()

    def wait(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Wait for its exit code; raises TimeoutExpired."""
        return self._child.wait(seconds)

    def end(self) -> None:
        """End it, whatever state it is in."""
        if self.is_running:
            self.resume()
            self.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(10)
        self.kill()

    def said(self) -> str:
        """Its log."""
        return self.log.read_text(errors="replace")

    @property
    def _kernel_state(self) -> str:
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]


class Served(Process):
    """A process with a /metrics page."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        metrics_port: int,
        settings: Mapping[str, str],
        folder: Path,
    ) -> None:
        self.metrics_url = f"http://127.0.0.1:{metrics_port}/metrics"
        super().__init__(
            name, arguments, settings={**settings, "SMALTI_METRICS_PORT": str(metrics_port)}, folder=folder
        )

    def metric(self, name: str, **labels: str) -> float:
        """The sum of all samples with this name and these labels; 0 if there is none."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.metrics_page())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def metrics(self) -> dict[str, float]:
        """The sum of all samples of each name; empty while it does not answer."""
        sums: Counter[str] = Counter()
        for family in text_string_to_metric_families(self.metrics_page()):
            for sample in family.samples:
                sums[sample.name] += sample.value  # type: ignore[assignment]  # a Counter adds any numbers
        return dict(sums)

    def metrics_page(self) -> str:
        """The text of its /metrics page; empty while it does not answer."""
        try:
            return page_of(self.metrics_url)
        except OSError:
            return ""


class Cluster:
    """A whole smalti for the tests of a module: Redis, a server, workers and a client."""

    def __init__(
        self,
        folder: Path,
        *,
        repository: Path,
        slots: int = 4,
        lease_seconds: float = 1.0,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.lease_seconds = lease_seconds
        self._folder = folder
        self._shared = {
            "SMALTI_MODEL_REPOSITORY": str(repository),
            "SMALTI_LEASE_SECONDS": str(lease_seconds),
            "SMALTI_SLOTS": str(slots),
            **(settings or {}),
        }
        ports = free_ports(workers=0)
        self.address = f"127.0.0.1:{ports.server}"
        self._server_metrics = ports.server_metrics
        self.redis = PrivateRedis(folder / "redis")
        self.server: Served | None = None
        self.workers: list[Served] = []
        self.client = Client(self.address)
        self._processes: list[Served] = []

    # Starting and stopping

    def ready(self, *, workers: int) -> None:
        """Make all parts run with exactly this many workers, whatever an earlier test left behind."""
        self.ready_redis()
        self.ready_server()
        alive = [process for process in self._processes if process.is_running and process is not self.server]
        for worker in alive:
            worker.resume()
        self.workers, leaving = alive[:workers], alive[workers:]
        for worker in leaving:
            worker.terminate()
        while len(self.workers) < workers:
            self.start_worker()
        for process in (*self.workers, self.the_server):
            self.await_ready(process)
        for worker in leaving:
            worker.wait()
        until(lambda: self._leases() == workers, what=f"{workers} workers and no others hold a lease")

    def ready_redis(self) -> None:
        """Start Redis unless it runs."""
        with suppress(Unavailable):
            if self.redis.pid:
                return
        self.redis.start()

    def ready_server(self) -> None:
        """Start the server on its port, unless it runs."""
        if self.server is None or not self.server.is_running:
            settings = self._settings(SMALTI_LISTEN=self.address)
            self.server = self._run(["server"], self._server_metrics, settings)

    def start_server(self, address: str) -> Served:
        """Start one more server, at this address."""
        return self._run(
            ["server"], free_ports(workers=0).server_metrics, self._settings(SMALTI_LISTEN=address)
        )

    def start_worker(self, arguments: Sequence[str] = ("worker",), **settings: str) -> Served:
        """Start one more worker; `settings` are SMALTI_* variables for it alone."""
        worker = self._run(arguments, free_ports(workers=0).server_metrics, self._settings(**settings))
        self.workers.append(worker)
        return worker

    def await_ready(self, process: Served) -> None:
        """Wait until a process is ready; fail with its log if it dies."""
        asks = self._server_serves if process is self.server else (lambda: process.metric("smalti_slots") > 0)
        until(lambda: not process.is_running or asks(), what=f"{process.name} is ready")
        assert process.is_running, f"{process.name} ended:\n{process.said()}"

    def _run(self, arguments: Sequence[str], metrics_port: int, settings: Mapping[str, str]) -> Served:
        name = f"{arguments[0]}-{len(self._processes)}"
        process = Served(name, arguments, metrics_port=metrics_port, settings=settings, folder=self._folder)
        self._processes.append(process)
        return process

    def _settings(self, **more: str) -> dict[str, str]:
        return {"SMALTI_REDIS_URL": self.redis.url, **self._shared, **more}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.client.close()
        for process in self._processes:
            process.resume()
            process.terminate()
        for process in self._processes:
            process.end()
        self.redis.stop()

    def logs(self) -> dict[str, str]:
        """The log of every process, by name."""
        return {process.name: process.said() for process in self._processes}

    # For tests

    @property
    def the_server(self) -> Served:
        assert self.server is not None
        return self.server

    def submit(self, model: str, *, count: int, seed: int = 7, **options: Any) -> Job:
        """Queue a job."""
        return self.client.submit(model, count=count, seed=seed, **options)

    def ended(self, job: Job, *, seconds: float = PATIENCE_SECONDS) -> Job:
        """Wait until the job is over."""
        return self.when(job, lambda now: now.is_over, seconds=seconds)

    def when(self, job: Job, condition: Callable[[Job], bool], *, seconds: float = PATIENCE_SECONDS) -> Job:
        """Wait until a condition on the job holds, even if the server is away; fail if the job ends before."""

        def look() -> Job | None:
            with suppress(Unavailable, Busy):
                now = self.client.get_job(job.id)
                if condition(now):
                    return now
                assert not now.is_over, f"the job was {now.state} too early: {now}"
            return None

        found = until(look, seconds=seconds, what=f"job {job.id} is as the test wants it")
        assert found is not None
        return found

    def midway(self, job: Job) -> Job:
        """Wait until some samples are done and some are being drawn; most must still be waiting."""
        job = self.when(job, lambda now: now.done > 0 and now.running > 0)
        assert job.done < job.count / 2, f"too short a job for this test: {job}"
        return job

    def images(self, job: Job) -> dict[int, bytes]:
        """The pixels of every finished sample."""
        return {
            result.index: result.image.indices
            for result in self.client.results(job.id)
            if result.image is not None
        }

    def draw(self, model: str, **options: Any) -> dict[int, bytes]:
        """Run a job and return the pixels of its samples."""
        job = self.ended(self.submit(model, **options))
        assert job.state is JobState.SUCCEEDED, job
        return self.images(job)

    # What only Redis knows

    def held_by(self, worker: Served) -> set[Sample]:
        """The samples that a worker holds; workers register as HOST-PID-RANDOM."""
        with self._redis() as redis:
            held = redis.scan_iter(match=f"{_glob(Keys('default').prefix)}held:*-{worker.pid}-*")
            members = [member for key in held for member in redis.zrange(key, 0, -1)]
        return {(job, int(index)) for job, _, index in (member.partition(":") for member in members)}

    def rows_drawn(self, samples: set[Sample]) -> dict[Sample, int]:
        """Committed bytes of each sample that is still in progress."""
        keys = Keys("default")
        with self._redis() as redis:
            return {
                (job, index): redis.strlen(keys.pixels(job, index))
                for job, index in samples
                if redis.exists(keys.prefix + f"sample:{job}:{index}")
            }

    def forget_scripts(self) -> None:
        """SCRIPT FLUSH."""
        with self._redis() as redis:
            redis.script_flush()

    def _leases(self) -> int:
        with self._redis() as redis:
            return int(redis.zcard(Keys("default").prefix + "workers"))

    def _redis(self) -> Redis:
        return Redis.from_url(self.redis.url, decode_responses=True)

    def _server_serves(self) -> bool:
        return ask(self.address) == "SERVING"


def _glob(text: str) -> str:
    """The text as a pattern that matches only itself."""
    return "".join(f"[{letter}]" if letter in "*?[]^" else letter for letter in text)
