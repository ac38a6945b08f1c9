"""The processes of a system: started, read line by line, stopped, and started again if they end by themselves."""

import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Thread

from local.private_redis import PrivateRedis
from smalti.errors import SmaltiError

_ROOT = Path(__file__).resolve().parent.parent
_STOP_SECONDS = 20.0  # longer than the time that a process gives itself
_TAIL_LINES = 15  # last lines of a process' log, kept in case it dies

Say = Callable[[str], None]


class ProcessDied(SmaltiError):
    """A process of the system ended by itself; the message has the end of its log."""


class Process:
    """One `python -m MODULE` whose log is read line by line.

    It has a session of its own, so Ctrl-C reaches only the process that runs the system and stops everything in order.
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
        """The id of the process."""
        return self._child.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._child.poll() is None

    def check(self) -> None:
        """Raise ProcessDied, with the end of its log, if it has ended."""
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
        """Send SIGTERM, and SIGKILL if the process does not end."""
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
    """The private Redis as a part of the system that is started again."""

    def __init__(self, redis: PrivateRedis) -> None:
        self._redis = redis

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._redis.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._redis.is_running

    def ending(self) -> str:
        """That it ended, in a sentence."""
        return "The private Redis ended by itself; what it acknowledged is in its append-only file."

    def restart(self) -> None:
        """Start it on the same port and data."""
        self._redis.start()
