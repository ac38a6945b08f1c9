"""`python -m worker`: reads the settings, builds the worker, and runs it until SIGTERM or Ctrl-C."""

import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

import click
import structlog

from smalti.errors import SmaltiError, Unavailable
from smalti.jobs.housekeeping import Depths
from smalti.jobs.shards import open_shards
from smalti.jobs.upkeep import QueueUpkeep
from smalti.jobs.workers import WorkerQueue
from smalti.runtime import logs, open_files, tracing
from smalti.runtime.metrics import MetricsServer
from smalti.runtime.repository import ModelRepository
from smalti.runtime.session import fingerprint
from smalti.runtime.settings import WorkerSettings, read_settings, strange_variables
from smalti.runtime.stopping import stop_event
from worker.device_runner import DeviceFailed
from worker.engine import Engine
from worker.lease import EngineHung
from worker.recovery import Recovery
from worker.waiting import wait_until
from worker.worker import Worker

log = structlog.get_logger()

# How long a thread may hold the interpreter while another one waits for it. With Python's default of 5 ms, the engine
# waits for the event loop for half a tick (docs/experiments/0007-profile.md).
_SWITCH_SECONDS = 1e-4
_CONNECTIONS = 32  # to each Redis; further calls wait for one
_REDIS_LOOK_SECONDS = 1.0
_LOOKS_PER_LOG_LINE = 5


async def run(settings: WorkerSettings) -> None:
    """Build everything, and draw until told to stop."""
    stopping = stop_event()
    metrics = MetricsServer(
        settings.metrics_host, settings.metrics_port, token_file=settings.metrics_token_file
    )
    engine = _engine(settings)
    try:
        async with _tracing(settings):
            await _draw(settings, engine, stopping, metrics)
    finally:
        engine.close()
        metrics.close()


async def _draw(
    settings: WorkerSettings, engine: Engine, stopping: asyncio.Event, metrics: MetricsServer
) -> None:
    async with open_shards(settings, _CONNECTIONS) as [shards]:
        upkeeps = [QueueUpkeep(store) for store in shards.all]
        await engine.load()
        engine.require()
        if await _redis_is_fit(upkeeps, stopping):
            log.info("metrics served", host=settings.metrics_host, port=metrics.port)
            worker = _worker(settings, [WorkerQueue(store) for store in shards.all], engine)
            depths = Depths()
            recoveries = [Recovery(upkeep, depths) for upkeep in upkeeps]
            await _run_until_stopped(worker, recoveries, stopping)


def _tracing(settings: WorkerSettings) -> AbstractAsyncContextManager[None]:
    return tracing.exporting(
        settings.otlp_endpoint, service="smalti-worker", grace_seconds=settings.grace_seconds
    )


def _engine(settings: WorkerSettings) -> Engine:
    names = [name.strip() for name in settings.models.split(",") if name.strip()]
    repository = ModelRepository(settings.model_repository)
    return Engine(
        repository,
        slots=settings.slots,
        models=names,
        provider=settings.provider,
        gpu_batches=settings.gpu_batches,
    )


def _worker(settings: WorkerSettings, queues: Sequence[WorkerQueue], engine: Engine) -> Worker:
    return Worker(
        queues,
        engine,
        slots=settings.slots,
        fingerprint=fingerprint(settings.providers, batches=settings.gpu_batches),
        lease_seconds=settings.lease_seconds,
        interactive_share=settings.interactive_share,
        grace_seconds=settings.grace_seconds,
    )


async def _run_until_stopped(worker: Worker, recoveries: Sequence[Recovery], stopping: asyncio.Event) -> None:
    """Run all; if one fails, the others are cancelled: a worker never goes on alone without recovery."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(worker.run(stopping))
        for recovery in recoveries:
            tasks.create_task(recovery.run(stopping))


async def _redis_is_fit(queues: Sequence[QueueUpkeep], stopping: asyncio.Event) -> bool:
    """Wait until Redis answers, for any part of the queue. Return False if the worker is told to stop first.

    Raises RedisUnfit.
    """
    looks = 0
    while not stopping.is_set():
        found = await asyncio.gather(*(_why_away(queue) for queue in queues))
        reasons = [reason for reason in found if reason]
        if reasons and looks % _LOOKS_PER_LOG_LINE == 0:
            log.warning("waiting for redis", reason=reasons[0])
        if len(reasons) < len(queues):
            return True
        looks += 1
        await wait_until(stopping, seconds=_REDIS_LOOK_SECONDS)
    return False


async def _why_away(queue: QueueUpkeep) -> str:
    """Why Redis does not answer; empty if it does."""
    try:
        await queue.check()
    except Unavailable as error:
        return str(error)
    return ""


@click.command()
def main() -> None:
    """Draw the samples of jobs until SIGTERM or Ctrl-C.

    There are no arguments: all settings are variables SMALTI_*, and .env.example lists them. Exits with 0 after an
    orderly stop, or with 1 and one sentence that says what is wrong.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)
    logs.configure(level="info", form="text")  # until the settings are known
    try:
        settings = read_settings(WorkerSettings)
        logs.configure(level=settings.log_level, form=settings.log_format)
        for sentence in strange_variables(os.environ):
            log.warning(sentence)
        open_files.allow_many()
        asyncio.run(run(settings))
    except* (EngineHung, DeviceFailed) as group:
        _say(group)
        sys.stderr.flush()
        # A normal exit would wait for the engine's thread, which never ends, or free memory that the GPU has lost.
        os._exit(1)
    except* SmaltiError as group:
        _say(group)
        sys.exit(1)


def _say(group: BaseExceptionGroup[SmaltiError]) -> None:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            _say(error)
        else:
            log.error("worker gives up", reason=str(error))


if __name__ == "__main__":
    main(prog_name="python -m worker")
