"""`python -m server`: reads the settings, and serves until SIGTERM or Ctrl-C, in one process or in several."""

import asyncio
import os
import sys

import click
import structlog

from smalti.errors import SmaltiError
from smalti.runtime import logs, open_files
from smalti.runtime.settings import ServerSettings, read_settings, strange_variables

log = structlog.get_logger()


async def run(settings: ServerSettings) -> None:
    """Serve until a signal; raises errors that a person must repair."""
    # Imported here, because a supervisor needs neither gRPC nor onnxruntime: it stays small, and may start processes.
    if settings.server_processes == 1:
        from server.process import run_alone

        await run_alone(settings)
    else:
        from server.supervisor import supervise

        await supervise(settings)


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
        open_files.allow_many()
        asyncio.run(run(settings))
    except SmaltiError as error:
        log.error("server gives up", reason=str(error))
        sys.exit(1)


if __name__ == "__main__":
    main(prog_name="python -m server")
