"""`make up`: the whole system on this machine until Ctrl-C; its Redis keeps the jobs for the next time."""

import os
import sys
from pathlib import Path

import click

from deploy.system import Ports, System, stopping_on_signals
from smalti.errors import SmaltiError

_SERVER_METRICS = 9401
_FIRST_WORKER_METRICS = 9402
_REDIS_FOLDER = Path(".cache/redis")


@click.command()
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True)
@click.option(
    "--port", type=click.IntRange(1, 65535), default=50051, show_default=True, help="Of the server."
)
def main(workers: int, port: int) -> None:
    """Run Redis, a server and workers on this machine until Ctrl-C.

    Redis is the one of SMALTI_REDIS_URL, else a private one whose data stay in .cache/redis. Metrics are on port
    9401 (server), 9402, 9403 … (workers).
    """
    ports = Ports(
        server=port,
        server_metrics=_SERVER_METRICS,
        worker_metrics=tuple(range(_FIRST_WORKER_METRICS, _FIRST_WORKER_METRICS + workers)),
    )
    try:
        with stopping_on_signals():
            _run(ports)
    except KeyboardInterrupt:
        click.echo("Stopped; queued and running jobs go on when it is started again.")
    except SmaltiError as error:
        click.echo(f"{error}\nStopped the rest.", err=True)
        sys.exit(1)


def _run(ports: Ports) -> None:
    system = System(
        ports,
        redis_url=os.environ.get("SMALTI_REDIS_URL"),
        redis_folder=_REDIS_FOLDER.resolve(),
        say=click.echo,
        log=click.echo,
    )
    with system:
        click.echo(f"Ready on {system.address}; try: smalti models. Ctrl-C stops everything.")
        system.wait()


if __name__ == "__main__":
    main()
