"""Runs a whole smalti on this machine, without Docker: processes for Redis, a server and workers."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Self
from urllib.error import HTTPError

from local.keeping import Keeper, Part
from local.latencies import page_of
from local.ports import HOST, Ports, PortTaken
from local.private_redis import PrivateRedis
from local.processes import OwnRedis, Process, ProcessDied, Say
from smalti.client.health import ask
from smalti.errors import Unavailable
from smalti.jobs.connection import connect, unavailable_when_away
from smalti.runtime.settings import ServerSettings, WorkerSettings, read_settings
from smalti.runtime.stopping import ignoring_ctrl_c

_PROTECTION = ("tokens_file", "tls_cert_file", "tls_key_file", "tls_client_ca_file", "metrics_token_file")
_START_SECONDS = 120.0  # a server loads and warms every model first
_NO_TOKEN = 401
_LOOK_SECONDS = 0.5  # between two checks that all parts run


def chosen_redis() -> str | None:
    """SMALTI_REDIS_URL, or None if it is not set.

    Raises SettingsInvalid if server or worker would refuse one of their settings.
    """
    read_settings(ServerSettings)
    settings = read_settings(WorkerSettings)
    return settings.redis_url if "redis_url" in settings.model_fields_set else None


def without_protection(say: Say) -> Mapping[str, str]:
    """Settings for a server without tokens and TLS, which clients without settings can call; says so if it had some."""
    variables = {
        f"SMALTI_{name.upper()}": getattr(read_settings(ServerSettings), name) for name in _PROTECTION
    }
    if ignored := [variable for variable, file in variables.items() if file]:
        say(
            f"Without {', '.join(ignored)}: what starts here listens on this machine only, and only for a while."
        )
    return dict.fromkeys(variables, "")


class System:
    """Redis, a server and workers; a context that starts them and stops them at its end.

    `redis_url` names a Redis that runs already. Without it a private one is started; it keeps its data if
    `redis_folder` is given. `settings` are further SMALTI_* variables for all processes. `health` asks the server at an
    address, as `smalti.client.health.ask` does; one over TLS needs another one.
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
        health: Callable[[str], str] = ask,
    ) -> None:
        self.ports = ports
        self._redis_url = redis_url
        self._redis_folder = redis_folder
        self._settings = dict(settings or {})
        self._say = say
        self._log = log
        self._health = health
        self._started = ExitStack()
        self._processes: list[Process] = []
        self._own_redis: OwnRedis | None = None
        self._keeping_is_over = Event()

    @property
    def address(self) -> str:
        """The address of the server."""
        return f"{HOST}:{self.ports.server}"

    @property
    def metrics_urls(self) -> dict[str, str]:
        """The address of the /metrics page of each process, by name."""
        names = ["server", *(f"worker {number + 1}" for number in range(len(self.ports.worker_metrics)))]
        ports = [self.ports.server_metrics, *self.ports.worker_metrics]
        return {name: f"http://{HOST}:{port}/metrics" for name, port in zip(names, ports, strict=True)}

    @property
    def pids(self) -> dict[str, int]:
        """The process ids of the server, the workers and the private Redis, by name."""
        parts = {process.name: process.pid for process in self._processes}
        return parts | ({"redis": self._own_redis.pid} if self._own_redis else {})

    def __enter__(self) -> Self:
        with ExitStack() as started:  # if a later part does not start, this stops the others
            self._start(started)
            self._started = started.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with ignoring_ctrl_c():  # a second Ctrl-C would leave processes behind
            self._started.close()

    def check(self) -> None:
        """Raise ProcessDied if a process has ended."""
        for process in self._processes:
            process.check()

    def keep(self) -> None:
        """Start processes again that end by themselves, until Ctrl-C or `stop_keeping`."""
        parts: list[Part] = [*([self._own_redis] if self._own_redis else []), *self._processes]
        keepers = [Keeper(part, say=self._say) for part in parts]
        while not self._keeping_is_over.wait(_LOOK_SECONDS):
            for keeper in keepers:
                keeper.look()

    def stop_keeping(self) -> None:
        """Make `keep` return; called from another thread."""
        self._keeping_is_over.set()

    def _start(self, started: ExitStack) -> None:
        for port, part in self.ports.taken():
            raise PortTaken(
                f"Port {port} of {HOST} is taken, which is for {part}: stop what listens there, or use another port."
            )
        shared = {**self._settings, "SMALTI_REDIS_URL": self._redis(started), "SMALTI_REDIS_URL_FILE": ""}
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
        return self._health(self.address) == "SERVING" and all(map(_answers, self.metrics_urls.values()))


def _require_redis(url: str) -> None:
    try:
        asyncio.run(_ping(url))
    except Unavailable as error:
        raise Unavailable(f"The Redis of SMALTI_REDIS_URL cannot be used: {error}") from error


async def _ping(url: str) -> None:
    """Raise Unavailable if it does not answer; server and worker check whether it is fit."""
    async with connect(url, allow_volatile=True) as redis:
        with unavailable_when_away():
            await redis.ping()


def _answers(url: str) -> bool:
    try:
        page_of(url)
    except HTTPError as error:
        return error.code == _NO_TOKEN
    except OSError:
        return False
    return True
