"""Runs a whole smalti on this machine, without Docker: Redis, a server and workers as processes."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Self

from local.keeping import Keeper, Part
from local.latencies import page_of
from local.private_redis import PrivateRedis
from server.health import ask
from smalti.errors import SettingsInvalid, SmaltiError, Unavailable
from smalti.jobs.connection import connect, unavailable_when_away
from smalti.runtime.settings import ServerSettings, WorkerSettings, read_settings
from smalti.runtime.stopping import ignoring_ctrl_c

_ROOT = Path(__file__).resolve().parent.parent
_START_SECONDS = 120.0  # a server loads and warms every model first
_LOOK_SECONDS = 0.5  # between two looks at whether all parts run
_STOP_SECONDS = 20.0  # longer than a process' own grace
_TAIL_LINES = 15  # of a process' log, kept for the case that it dies
_HOST = "127.0.0.1"

Say = Callable[[str], None]


class ProcessDied(SmaltiError):
    """A process of the system ended by itself; the message has its last words."""


class PortTaken(SettingsInvalid):
    """Something else listens on a port that the system wants."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where the processes listen, all on the loopback interface."""

    server: int
    server_metrics: int
    worker_metrics: tuple[int, ...]
    redis: int = 0

    def taken(self) -> Iterator[tuple[int, str]]:
        """Those on which another process listens already, and what each is for."""
        wanted = {self.server: "the server", self.server_metrics: "the server's metrics", self.redis: "Redis"}
        wanted |= {
            port: f"the metrics of worker {number}"
            for number, port in enumerate(self.worker_metrics, start=1)
        }
        return ((port, part) for port, part in wanted.items() if port and not _is_free(port))


def chosen_redis() -> str | None:
    """SMALTI_REDIS_URL, None where it is not set.

    Raises SettingsInvalid where it, or any other setting of server and worker, is one that they would refuse.
    """
    read_settings(ServerSettings)
    settings = read_settings(WorkerSettings)
    return settings.redis_url if "redis_url" in settings.model_fields_set else None


def free_ports(workers: int) -> Ports:
    """Ports that are free now."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(workers + 2)]
        for probe in probes:
            probe.bind((_HOST, 0))
        server, metrics, *others = (probe.getsockname()[1] for probe in probes)
    return Ports(server=server, server_metrics=metrics, worker_metrics=tuple(others))


class Process:
    """One `python -m MODULE`, its log read line by line and its end kept for the case that it dies.

    It has a session of its own: Ctrl-C reaches whoever runs the system, who then stops it in order.
    """

    def __init__(self, name: str, module: str, settings: Mapping[str, str], log: Say | None) -> None:
        self.name = name
        self._module = module
        self._settings = settings
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._log = log
        self.restart()

    def restart(self) -> None:
        """Start it, for the first time or after it ended."""
        self._tail.clear()
        self._child = subprocess.Popen(
            [sys.executable, "-m", self._module],
            cwd=_ROOT,
            env={**os.environ, **self._settings, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._child.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._child.poll() is None

    def check(self) -> None:
        """Raise ProcessDied, with the end of its log, if it runs no more."""
        if not self.is_running:
            raise ProcessDied(self.ending())

    def ending(self) -> str:
        """How it ended, with the end of its log."""
        self._reader.join(1)
        return f"The {self.name} ended with exit code {self._child.returncode}; it {self.last_words()}"

    def last_words(self) -> str:
        """The end of its log."""
        lines = "".join(f"\n  {line}" for line in list(self._tail))
        return f"said last:{lines}" if lines else "said nothing."

    def stop(self) -> None:
        """SIGTERM, and SIGKILL where that is not enough."""
        self._child.terminate()
        try:
            self._child.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._reader.join(1)

    def _read(self) -> None:
        assert self._child.stdout is not None
        with self._child.stdout as lines:
            for line in lines:
                self._tail.append(line.rstrip())
                if self._log is not None:
                    self._log(f"{self.name:8} | {line.rstrip()}")


class OwnRedis:
    """The private Redis as a part of the system that may end by itself."""

    def __init__(self, redis: PrivateRedis) -> None:
        self._redis = redis

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._redis.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._redis.is_running

    def ending(self) -> str:
        """That it ended."""
        return "The private Redis ended by itself; what it acknowledged is in its append-only file."

    def restart(self) -> None:
        """Start it on the same port and data."""
        self._redis.start()


class System:
    """Redis, a server and workers; a context that starts them and stops what it started.

    `redis_url` names a Redis that is there already; without it a private one is started, whose data stay in
    `redis_folder` if that is given. `settings` are further SMALTI_* variables for all processes.
    """

    def __init__(
        self,
        ports: Ports,
        *,
        redis_url: str | None,
        redis_folder: Path | None = None,
        settings: Mapping[str, str] | None = None,
        say: Say,
        log: Say | None = None,
    ) -> None:
        self.ports = ports
        self._redis_url = redis_url
        self._redis_folder = redis_folder
        self._settings = dict(settings or {})
        self._say = say
        self._log = log
        self._started = ExitStack()
        self._processes: list[Process] = []
        self._own_redis: OwnRedis | None = None
        self._kept_enough = Event()

    @property
    def address(self) -> str:
        """Of the server."""
        return f"{_HOST}:{self.ports.server}"

    @property
    def metrics_urls(self) -> dict[str, str]:
        """Where Prometheus would scrape each process, by its name."""
        names = ["server", *(f"worker {number + 1}" for number in range(len(self.ports.worker_metrics)))]
        ports = [self.ports.server_metrics, *self.ports.worker_metrics]
        return {name: f"http://{_HOST}:{port}/metrics" for name, port in zip(names, ports, strict=True)}

    @property
    def pids(self) -> dict[str, int]:
        """Of the server, the workers and a Redis of its own, by name."""
        parts = {process.name: process.pid for process in self._processes}
        return parts | ({"redis": self._own_redis.pid} if self._own_redis else {})

    def __enter__(self) -> Self:
        with ExitStack() as started:  # stops what runs already if a later part does not start
            self._start(started)
            self._started = started.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with ignoring_ctrl_c():  # an impatient second one would leave processes behind
            self._started.close()

    def check(self) -> None:
        """Raise ProcessDied if a process has ended."""
        for process in self._processes:
            process.check()

    def keep(self) -> None:
        """Start again what ends by itself, until interrupted or told to stop."""
        parts: list[Part] = [*([self._own_redis] if self._own_redis else []), *self._processes]
        keepers = [Keeper(part, say=self._say) for part in parts]
        while not self._kept_enough.wait(_LOOK_SECONDS):
            for keeper in keepers:
                keeper.look()

    def stop_keeping(self) -> None:
        """Have `keep` return, from another thread."""
        self._kept_enough.set()

    def _start(self, started: ExitStack) -> None:
        for port, part in self.ports.taken():
            raise PortTaken(
                f"Port {port} of {_HOST} is taken, which is for {part}: stop what listens there, or use another."
            )
        shared = {**self._settings, "SMALTI_REDIS_URL": self._redis(started)}
        server = {
            "SMALTI_LISTEN": self.address,
            "SMALTI_METRICS_PORT": str(self.ports.server_metrics),
        }
        self._say(f"Starting the server on {self.address}.")
        self._run(started, "server", "server", {**shared, **server})
        workers = list(self.ports.worker_metrics)
        self._say(f"Starting {len(workers)} worker{'s' if len(workers) > 1 else ''}.")
        for number, port in enumerate(workers, start=1):
            name = "worker" if len(workers) == 1 else f"worker {number}"
            self._run(started, name, "worker", {**shared, "SMALTI_METRICS_PORT": str(port)})
        self._await_ready()

    def _redis(self, started: ExitStack) -> str:
        if self._redis_url:
            _require_redis(self._redis_url)
            self._say("Using the Redis of SMALTI_REDIS_URL.")
            return self._redis_url
        redis = started.enter_context(PrivateRedis(self._redis_folder, port=self.ports.redis))
        self._own_redis = OwnRedis(redis)
        self._say(f"Started a private Redis on port {redis.port}.")
        return redis.url

    def _run(self, started: ExitStack, name: str, module: str, settings: Mapping[str, str]) -> None:
        process = Process(name, module, settings, self._log)
        started.callback(process.stop)
        self._processes.append(process)

    def _await_ready(self) -> None:
        self._say("Waiting until the models are loaded and warm.")
        deadline = time.monotonic() + _START_SECONDS
        while not self._is_ready():
            self.check()
            if time.monotonic() > deadline:
                words = "".join(f"\nThe {process.name} {process.last_words()}" for process in self._processes)
                raise ProcessDied(f"Not everything is ready after {_START_SECONDS:.0f} s.{words}")
            time.sleep(0.1)

    def _is_ready(self) -> bool:
        return ask(self.address) == "SERVING" and all(map(_answers, self.metrics_urls.values()))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT can be used
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True


def _require_redis(url: str) -> None:
    try:
        asyncio.run(_ping(url))
    except Unavailable as error:
        raise Unavailable(f"The Redis of SMALTI_REDIS_URL cannot be used: {error}") from error


async def _ping(url: str) -> None:
    """Whether it is fit is for server and worker to say."""
    async with connect(url, allow_volatile=True) as redis:
        with unavailable_when_away():
            await redis.ping()


def _answers(url: str) -> bool:
    try:
        page_of(url)
    except OSError:
        return False
    return True
