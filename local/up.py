"""`make up`: the whole system on this machine until Ctrl-C; its Redis keeps the jobs until the next start."""

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from local.ports import Ports, PortTaken
from local.system import System, chosen_redis
from smalti.client.credentials import channel_credentials
from smalti.client.health import ask
from smalti.errors import SettingsInvalid, SmaltiError
from smalti.runtime.certificates import Certificates
from smalti.runtime.settings import ServerSettings, read_settings
from smalti.runtime.stopping import interrupting

_PORT = 50051
_REDIS_FOLDER = Path(".cache/redis")
_STEP = 10  # between the ports of two systems on one machine
_HIGHEST = 65535
_FILE = click.Path(path_type=Path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The ports that a user wants; the workers' metrics follow the server's."""

    workers: int
    port: int
    metrics_port: int
    redis_port: int

    @property
    def ports(self) -> Ports:
        """The ports of each process; raises SettingsInvalid if one is too high or two are the same."""
        metrics = range(self.metrics_port, self.metrics_port + self.workers + 1)
        if metrics[-1] > _HIGHEST:
            raise SettingsInvalid(
                f"The metrics need ports {metrics[0]} to {metrics[-1]}: choose a lower --metrics-port."
            )
        if self.port in metrics or self.redis_port in metrics or self.port == self.redis_port:
            raise SettingsInvalid(
                "Two parts cannot share a port (--port, --metrics-port, --redis-port): "
                f"the metrics take {metrics[0]} to {metrics[-1]}, the server {self.port}"
                + (f", Redis {self.redis_port}." if self.redis_port else ".")
            )
        return Ports(
            server=self.port,
            server_metrics=metrics[0],
            worker_metrics=tuple(metrics[1:]),
            redis=self.redis_port,
        )

    @property
    def redis_folder(self) -> Path:
        """The folder of the private Redis: one for each server port, because two servers would damage it."""
        return _REDIS_FOLDER if self.port == _PORT else _REDIS_FOLDER.with_name(f"redis-{self.port}")

    def elsewhere(self) -> "Wanted | None":
        """The same on higher ports that are all free, or None if there are none."""
        for step in range(_STEP, _HIGHEST, _STEP):
            moved = replace(
                self,
                port=self.port + step,
                metrics_port=self.metrics_port + step,
                redis_port=self.redis_port and self.redis_port + step,
            )
            with suppress(SettingsInvalid):
                if max(moved.port, moved.redis_port) <= _HIGHEST and not any(moved.ports.taken()):
                    return moved
        return None

    def command(self) -> str:
        """The command to type for these ports."""
        words = ["make up", f"WORKERS={self.workers}" if self.workers > 1 else ""]
        words += [f"PORT={self.port}", f"METRICS_PORT={self.metrics_port}"]
        words.append(f"REDIS_PORT={self.redis_port}" if self.redis_port else "")
        return " ".join(word for word in words if word)


class Port(click.IntRange):
    """A port to listen on; a wrong one is refused in plain words."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            usual = f"take {self.min} to {self.max}, or leave it out"
            self.fail(f"{value} is not a port to listen on: {usual}.", param, ctx)


@click.command()
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True)
@click.option(
    "--port",
    type=Port(1, _HIGHEST),
    default=_PORT,
    show_default=True,
    help="Port of the server (make up PORT=...).",
)
@click.option(
    "--metrics-port",
    type=Port(1, _HIGHEST),
    help="Port of the server's metrics; the workers' follow it (make up METRICS_PORT=...). "
    "Default: SMALTI_METRICS_PORT, else 9401.",
)
@click.option(
    "--redis-port",
    type=Port(0, _HIGHEST),
    default=0,
    help="Port of the private Redis (make up REDIS_PORT=...). Default: any free one.",
)
@click.option("--ca", type=_FILE, envvar="SMALTI_CA", hidden=True)
@click.option("--cert", type=_FILE, envvar="SMALTI_CERT", hidden=True)
@click.option("--key", type=_FILE, envvar="SMALTI_KEY", hidden=True)
def main(
    workers: int, port: int, metrics_port: int | None, redis_port: int, **client_files: Path | None
) -> None:
    """Run Redis, a server and workers on this machine until Ctrl-C.

    The Redis is the one of SMALTI_REDIS_URL. Without that, a private one is started, with its data in .cache/redis
    (.cache/redis-PORT for another port than 50051). A process that ends by itself is started again.

    Over TLS it asks the server whether it is ready as `python -m server.health` does, with SMALTI_CA, SMALTI_CERT and
    SMALTI_KEY if they are set.
    """
    try:
        with interrupting():
            metrics_port = metrics_port or _first_metrics_port()
            _run(
                Wanted(workers=workers, port=port, metrics_port=metrics_port, redis_port=redis_port),
                client_files,
            )
    except KeyboardInterrupt:
        click.echo("Stopped; queued and running jobs go on when it is started again.")
    except PortTaken as error:  # nothing was started
        click.echo(str(error), err=True)
        sys.exit(1)
    except SmaltiError as error:
        click.echo(f"{error}\nStopped the rest.", err=True)
        sys.exit(1)


def _first_metrics_port() -> int:
    """SMALTI_METRICS_PORT, else the server's default."""
    return read_settings(ServerSettings).metrics_port or ServerSettings.model_fields["metrics_port"].default


def _health(client_files: Mapping[str, Path | None]) -> Callable[[str], str]:
    """What asks the server whether it is ready: over TLS it trusts the server's own certificate, or what is given."""
    certificates = Certificates.of(read_settings(ServerSettings))
    if certificates is None:
        return ask
    if client_files["ca"]:
        return partial(ask, credentials=channel_credentials(**client_files))
    credentials, name = certificates.for_probe()
    return partial(ask, credentials=credentials, host=name)


def _run(wanted: Wanted, client_files: Mapping[str, Path | None]) -> None:
    system = System(
        wanted.ports,
        redis_url=chosen_redis(),
        redis_folder=wanted.redis_folder.resolve(),
        say=click.echo,
        log=click.echo,
        health=_health(client_files),
    )
    try:
        with system:
            hint = "" if wanted.port == _PORT else f" --server {system.address}"
            click.echo(f"Ready on {system.address}; try: smalti models{hint}. Ctrl-C stops everything.")
            system.keep()
    except PortTaken as error:
        other = wanted.elsewhere()
        hint = f" To have both, type: {other.command()}" if other else ""
        raise PortTaken(f"{error}{hint}") from error


if __name__ == "__main__":
    main()
