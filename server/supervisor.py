"""Runs several processes on one port: starts them, starts those again that end, stops all. It imports no gRPC."""

import asyncio
import os
import signal
import socket
import sys
import tempfile
from asyncio.subprocess import Process
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic

import structlog
from prometheus_client.multiprocess import mark_process_dead

from server.address import listening_address
from server.hub import Hub
from server.reserving import reserve
from smalti.address import Address
from smalti.errors import SettingsInvalid, SmaltiError
from smalti.runtime.metrics import FOLDER_PREFIX, FOLDER_VARIABLE, MetricsServer, joined
from smalti.runtime.settings import ServerSettings
from smalti.runtime.stopping import stop_event

log = structlog.get_logger()
_SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 30.0  # before a process is started again
_HEALTHY_SECONDS = 60.0  # after so long, the next pause is a short one again
_HUNG_SECONDS = 60.0  # a process that is silent for so long is killed; loading models may hold one up
_IN_ORDER = "exit code 0"  # somebody renews the processes one by one
_STOP_SECONDS = 5.0  # beyond the grace, for all that is not a request


class GaveUp(SmaltiError):
    """A process ended with a sentence for a person, and no other process serves."""


async def supervise(settings: ServerSettings) -> None:
    """Serve with several processes until a signal; raises errors that a person must repair."""
    stopping = stop_event()
    address = listening_address(settings.listen)
    reserved = reserve(address)
    try:
        with _metrics(settings) as folder:
            supervisor = Supervisor(settings, replace(address, port=reserved.port), folder)
            await supervisor.run(stopping)
    finally:
        reserved.close()


@contextmanager
def _metrics(settings: ServerSettings) -> Iterator[Path]:
    """Serve the metrics of all processes; they write them into the folder."""
    with _new_folder() as name:
        metrics = MetricsServer(
            settings.metrics_host,
            settings.metrics_port,
            joined(Path(name)),
            token_file=settings.metrics_token_file,
        )
        log.info("metrics served", host=settings.metrics_host, port=metrics.port)
        try:
            yield Path(name)
        finally:
            metrics.close()


def _new_folder() -> "tempfile.TemporaryDirectory[str]":
    try:
        return tempfile.TemporaryDirectory(None, FOLDER_PREFIX, ignore_cleanup_errors=True)
    except OSError as error:
        raise SettingsInvalid(
            "SMALTI_SERVER_PROCESSES: several processes join their metrics in a temporary folder, and none can be made "
            f"({error.strerror}): make /tmp writable, or set TMPDIR to a folder that is."
        ) from error


class Supervisor:
    """Keeps the processes running. They watch their line to it, so they stop if it is killed."""

    def __init__(self, settings: ServerSettings, address: Address, folder: Path) -> None:
        self._settings = settings
        self._address = address
        self._folder = folder
        self._numbers = range(1, settings.server_processes + 1)
        self._hub = Hub(self._numbers)
        self._running: dict[int, Process] = {}
        self._is_stopping = False

    async def run(self, stopping: asyncio.Event) -> None:
        """Serve until `stopping` is set; raises GaveUp."""
        stopped = asyncio.create_task(stopping.wait())
        told = asyncio.create_task(self._tell_when_started())
        keepers = [asyncio.create_task(self._keep(number)) for number in self._numbers]
        try:
            await asyncio.wait([stopped, *keepers], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            told.cancel()
            await self._stop(keepers)
        for keeper in keepers:
            if not keeper.cancelled():
                keeper.result()

    async def _tell_when_started(self) -> None:
        await self._hub.wait_until_started()
        serving, port = len(self._hub.serving), self._address.port
        if serving == len(self._numbers):
            log.info("all processes started", port=port, processes=serving)
        else:
            log.warning("not all processes started", port=port, processes=serving)

    async def _keep(self, number: int) -> None:
        """Run a process, again and again, until the server stops; raises GaveUp."""
        pause = _SHORTEST_PAUSE_SECONDS
        while True:
            started = monotonic()
            ending = await self._run(number)
            if self._is_stopping:
                return
            if ending == _IN_ORDER:
                log.info("process ended in order, started again", process=number)
                continue
            reason = self._hub.reasons.get(number, "")
            if reason and not self._hub.serving:
                raise GaveUp(reason)
            if monotonic() - started > _HEALTHY_SECONDS:
                pause = _SHORTEST_PAUSE_SECONDS
            log.warning(
                "process ended, started again soon", process=number, seconds=pause, reason=reason or ending
            )
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def _run(self, number: int) -> str:
        """Run a process once; returns how it ended."""
        with ExitStack() as stack:
            try:
                own, other = map(stack.enter_context, socket.socketpair())
                process = await self._start(number, other)
            except OSError as error:
                return f"it cannot be started: {error.strerror}"
            other.close()  # otherwise the line would never end
            return await self._accompany(number, process, own)

    async def _accompany(self, number: int, process: Process, own: socket.socket) -> str:
        self._running[number] = process
        if self._is_stopping:
            process.terminate()
        looking = asyncio.create_task(self._kill_if_hung(number, process))
        try:
            await self._hub.connect(number, own)
            code = await process.wait()
        finally:
            looking.cancel()
            del self._running[number]
            mark_process_dead(process.pid, str(self._folder))  # type: ignore[no-untyped-call]
        return self._ending(code)

    async def _kill_if_hung(self, number: int, process: Process) -> None:
        await self._hub.wait_until_hung(number, seconds=_HUNG_SECONDS)
        log.error("process killed: it is silent", process=number, seconds=_HUNG_SECONDS)
        process.kill()

    def _ending(self, code: int) -> str:
        if code == -signal.SIGBUS:  # a file that is mapped into memory could not grow
            return f"signal {-code}: is the folder of the metrics full? It is {self._folder}"
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    async def _start(self, number: int, channel: socket.socket) -> Process:
        self._folder.mkdir(mode=0o700, exist_ok=True)  # a cleaner of temporary folders may have removed it
        words = ["--number", str(number), "--listen", self._address.text, "--channel", str(channel.fileno())]
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "server.process",
            *words,
            pass_fds=[channel.fileno()],
            env={**os.environ, FOLDER_VARIABLE: str(self._folder)},
            process_group=0,  # Ctrl-C in a terminal reaches only the supervisor, which stops them in order
        )

    async def _stop(self, keepers: list["asyncio.Task[None]"]) -> None:
        """Let each process finish its requests; kill those that are not done long after the grace."""
        self._is_stopping = True
        log.info("stopping", grace_seconds=self._settings.grace_seconds, processes=len(self._running))
        for process in self._running.values():
            process.terminate()
        idle = [
            keeper
            for number, keeper in zip(self._numbers, keepers, strict=True)
            if number not in self._running
        ]
        for keeper in idle:
            keeper.cancel()  # it waits to start a process
        _, late = await asyncio.wait(keepers, timeout=self._settings.grace_seconds + _STOP_SECONDS)
        for number, process in self._running.items():
            log.warning("process killed: it did not stop", process=number)
            process.kill()
        await asyncio.gather(*late, return_exceptions=True)
        log.info("stopped")
