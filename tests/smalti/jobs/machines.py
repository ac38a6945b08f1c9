"""What the state machines have in common that play everybody at once on a real Redis, and how Hypothesis runs them."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from local.private_redis import PrivateRedis
from smalti.jobs.connection import connect

Answer = TypeVar("Answer")


class MachineOnRedis(RuleBasedStateMachine):
    """A machine with an empty Redis and an event loop of its own."""

    server: PrivateRedis

    def __init__(self) -> None:
        super().__init__()
        self.server.flush()
        self.runner = asyncio.Runner()
        self.redis = self._run(_connected(self.server.url))

    def teardown(self) -> None:
        self._run(self.redis.aclose())
        self.runner.close()

    def _run(self, call: Coroutine[Any, Any, Answer]) -> Answer:
        return self.runner.run(call)


async def _connected(url: str) -> Any:
    return connect(url)


def run_on(server: PrivateRedis, machine: type[MachineOnRedis], *suppressed: HealthCheck) -> None:
    """Run many examples of a machine on this Redis."""
    run_state_machine_as_test(
        type("Machine", (machine,), {"server": server}),
        settings=settings(
            max_examples=30,
            stateful_step_count=40,
            deadline=None,  # a shared machine and an fsync for each write
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, *suppressed],
        ),
    )
