"""Fixtures for all tests: a private Redis, a toy model, and waiting for a condition."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from redis.asyncio import Redis

from local.private_redis import PrivateRedis
from smalti.jobs.connection import connect
from tests.toy_model import write_toy_model

Condition = Callable[[], Any]
Until = Callable[..., Awaitable[Any]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--calls", type=int, default=2000, help="how many strange calls test_fuzz makes")


@pytest.fixture(scope="session")
def calls(request: pytest.FixtureRequest) -> int:
    """How many strange calls a long test of them makes."""
    return int(request.config.getoption("--calls"))


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
