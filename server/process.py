"""Runs one process of the server: the only one, or one of several (`python -m server.process`, for the supervisor)."""

import asyncio
import gc
import os
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager

import click
import structlog

from server.application import Application
from server.peer import Peer, PeerGone
from server.siblings import Sibling, Siblings
from server.stores import open_stores
from smalti.errors import SmaltiError
from smalti.runtime import logs, tracing
from smalti.runtime.metrics import MetricsServer
from smalti.runtime.settings import ServerSettings, read_settings
from smalti.runtime.stopping import stop_event

log = structlog.get_logger()
_FEWEST_THREADS = 2  # so that requests go on while a model is loaded


async def run_alone(settings: ServerSettings) -> None:
    """Serve until a signal, with /metrics; raises errors that a person must repair."""
    stopping = stop_event()
    metrics = MetricsServer(
        settings.metrics_host, settings.metrics_port, token_file=settings.metrics_token_file
    )
    try:
        log.info("metrics served", host=settings.metrics_host, port=metrics.port)
        async with _tracing(settings):
            await _serve(settings, stopping, None)
    finally:
        metrics.close()


async def run_as_sibling(settings: ServerSettings, channel: socket.socket, number: int) -> None:
    """Serve until a signal, or until the supervisor ends; raises errors that a person must repair."""
    stopping = stop_event()
    sibling = Sibling()
    hub = await Peer.over(channel, sibling.run)
    sibling.connect(hub)
    listening = asyncio.create_task(hub.run())
    listening.add_done_callback(lambda _: stopping.set())
    try:
        async with _tracing(settings, number):
            await _serve(settings, stopping, sibling)
    except PeerGone:
        log.error("the supervisor is gone")
    except SmaltiError as error:
        await hub.ask("gives_up", str(error))
        raise
    finally:
        listening.cancel()


def _tracing(settings: ServerSettings, process: int | None = None) -> AbstractAsyncContextManager[None]:
    return tracing.exporting(
        settings.otlp_endpoint,
        service="smalti-server",
        grace_seconds=settings.grace_seconds,
        process=process,
    )


async def _serve(settings: ServerSettings, stopping: asyncio.Event, siblings: Siblings | None) -> None:
    with ThreadPoolExecutor(_threads(settings), thread_name_prefix="compute") as pool:
        async with open_stores(settings) as stores:
            application = Application(settings, stores, pool, siblings)
            await _run_until_stopped(application, stopping)


def _threads(settings: ServerSettings) -> int:
    """This process's part of the cores."""
    cores = os.cpu_count() or 1
    return (
        cores if settings.server_processes == 1 else max(_FEWEST_THREADS, cores // settings.server_processes)
    )


async def _run_until_stopped(application: Application, stopping: asyncio.Event) -> None:
    serving = asyncio.create_task(application.serve())
    stopped = asyncio.create_task(stopping.wait())
    sparing = asyncio.create_task(_spare_what_stays(application))
    try:
        await asyncio.wait([serving, stopped], return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            await serving
    finally:
        tasks = (serving, stopped, sparing)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await application.stop()


async def _spare_what_stays(application: Application) -> None:
    """When the models are loaded, let the garbage collector look only at what is made from now on.

    Otherwise it looks at all modules and models again and again: under load, every request waited 50 ms once a second.
    """
    await application.has_loaded.wait()
    gc.collect()
    gc.freeze()


@click.command()
@click.option("--number", type=int, required=True, help="Names this process in the log.")
@click.option("--listen", required=True, help="The reserved address, with its port.")
@click.option("--channel", type=int, required=True, help="File descriptor of the socket to the supervisor.")
def main(number: int, listen: str, channel: int) -> None:
    """Serve as one process of several. `python -m server` starts it; the other settings are variables SMALTI_*."""
    settings = read_settings(ServerSettings).model_copy(update={"listen": listen})
    logs.configure(level=settings.log_level, form=settings.log_format, process=number)
    try:
        asyncio.run(run_as_sibling(settings, socket.socket(fileno=channel), number))
    except SmaltiError:
        sys.exit(1)  # the supervisor knows why


if __name__ == "__main__":
    main(prog_name="python -m server.process")
