"""`python -m server`: reads the settings, builds the server, and runs it until SIGTERM or Ctrl-C."""

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import click
import structlog

from server.application import Application, make_store
from smalti.errors import SmaltiError
from smalti.jobs.connection import connect
from smalti.runtime import logs
from smalti.runtime.metrics import MetricsServer
from smalti.runtime.settings import ServerSettings, read_settings, strange_variables
from smalti.runtime.stopping import stop_event

log = structlog.get_logger()


async def run(settings: ServerSettings) -> None:
    """Build everything, and serve until a signal; raises errors that a person must repair."""
    stopping = stop_event()
    metrics = MetricsServer(settings.metrics_host, settings.metrics_port)
    try:
        with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="compute") as pool:
            async with connect(settings.redis_url, allow_volatile=settings.allow_volatile_redis) as redis:
                application = Application(settings, make_store(redis, settings), pool)
                log.info("metrics served", host=settings.metrics_host, port=metrics.port)
                await _run_until_stopped(application, stopping)
    finally:
        metrics.close()


async def _run_until_stopped(application: Application, stopping: asyncio.Event) -> None:
    serving = asyncio.create_task(application.serve())
    stopped = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait([serving, stopped], return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            await serving
    finally:
        serving.cancel()
        stopped.cancel()
        await asyncio.gather(serving, stopped, return_exceptions=True)
        await application.stop()


@click.command()
def main() -> None:
    """Serve models by gRPC until SIGTERM or Ctrl-C.

    There are no arguments: all settings are variables SMALTI_*, and .env.example lists them. Exits with 0 after an
    orderly stop, or with 1 and one sentence that says what is wrong.
    """
    logs.configure(level="info", form="text")  # until the settings say how
    try:
        settings = read_settings(ServerSettings)
        logs.configure(level=settings.log_level, form=settings.log_format)
        for sentence in strange_variables(os.environ):
            log.warning(sentence)
        asyncio.run(run(settings))
    except SmaltiError as error:
        log.error("server gives up", reason=str(error))
        sys.exit(1)


if __name__ == "__main__":
    main(prog_name="python -m server")
