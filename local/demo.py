"""`make demo`: starts everything, draws with three models, and prints the latencies."""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import click
from redis import Redis, RedisError
from rich.console import Console
from rich.table import Table

from local.latencies import QUANTILES, Latency, merge, read
from local.ports import free_ports
from local.system import System, chosen_redis, without_protection
from smalti import media
from smalti.cli.terminal import shows_pictures
from smalti.cli.watching import LineView, LiveView, View, follow
from smalti.client import Client, Image, Job, Model
from smalti.errors import ModelNotFound, SmaltiError
from smalti.jobs.job import JobState
from smalti.jobs.keys import Keys
from smalti.runtime.stopping import interrupting
from smalti.v1 import images_pb2, jobs_pb2

_SHOWN = {  # the first one of each family that is served
    "pixel_rnn": ("sprites-pixel-rnn", "digits-pixel-rnn"),
    "vae": ("sprites-vae", "digits-vae"),
    "gan": ("sprites-gan", "digits-gan"),
}
_SHEET_COLUMNS = 12
_SHEET_SCALE = 4
_SHEET_SAMPLES = 48  # the first samples of the job
_REQUESTS = 60  # requests to each model, enough for a 99th percentile
_INTERRUPTED = 130
_SLOTS = 4  # few, so that one can watch rows appear
_WIDTH_OF_A_FILE = 120  # columns where the output is no terminal
_LATENCIES = {
    "smalti_rpc_seconds": "RPC",
    "smalti_batch_wait_seconds": "wait for a batch",
    "smalti_batch_compute_seconds": "run of a batch",
    "smalti_queue_wait_seconds": "wait in the queue",
    "smalti_time_to_first_row_seconds": "time to first row",
    "smalti_tick_seconds": "tick",
    "smalti_commit_seconds": "commit",
    "smalti_job_seconds": "job",
}
_SERVICES = {
    service.full_name: service
    for file in (images_pb2, jobs_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
}


@click.command()
@click.option(
    "--samples", type=click.IntRange(1, 500), default=200, show_default=True, help="Samples of the job."
)
@click.option("--seed", type=click.IntRange(0, 2**64 - 1), default=7, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path("out/demo.png"), show_default=True)
def main(samples: int, seed: int, output: Path) -> None:
    """Start Redis, a server and a worker; draw with a PixelRNN, a VAE and a GAN; stop everything again."""
    console = _console()
    try:
        with interrupting():
            _run(console, samples=samples, seed=seed, output=output)
    except KeyboardInterrupt:
        console.print("Stopped by Ctrl-C; everything that was started is stopped.")
        sys.exit(_INTERRUPTED)
    except SmaltiError as error:
        console.print(f"The demo failed: {error}", soft_wrap=True)
        sys.exit(1)


def _console() -> Console:
    plain = Console(highlight=False, markup=False)
    return plain if plain.is_terminal else Console(highlight=False, markup=False, width=_WIDTH_OF_A_FILE)


def _run(console: Console, *, samples: int, seed: int, output: Path) -> None:
    began = time.monotonic()
    redis_url = chosen_redis()
    pool = f"demo-{os.getpid()}"  # a queue of its own, in case others use this Redis
    settings = {"SMALTI_POOL": pool, "SMALTI_SLOTS": str(_SLOTS), **without_protection(console.print)}
    with (
        _cleaned(redis_url, pool),
        System(free_ports(1), redis_url=redis_url, settings=settings, say=console.print) as system,
    ):
        with Client(system.address) as client:
            console.print(f"Everything is ready after {time.monotonic() - began:.1f} s.")
            _draw(console, client, samples=samples, seed=seed, output=output)
        system.check()
        _print_latencies(console, system)
        console.print("Stopping what was started.")
    console.print(f"The pictures are in {output}; the demo took {time.monotonic() - began:.1f} s.")


@contextmanager
def _cleaned(redis_url: str | None, pool: str) -> Iterator[None]:
    """Delete the pool from the Redis at the end, unless the Redis is private."""
    try:
        yield
    finally:
        if redis_url:
            with suppress(RedisError), Redis.from_url(redis_url, socket_timeout=5) as redis:
                for key in redis.scan_iter(f"{Keys(pool).prefix}*"):
                    redis.delete(key)


def _draw(console: Console, client: Client, *, samples: int, seed: int, output: Path) -> None:
    models = choose(client.models())
    job = _draw_job(console, client, models["pixel_rnn"], samples=samples, seed=seed)
    drawn = client.results(job.id, limit=_SHEET_SAMPLES)
    rows = {models["pixel_rnn"].name: [result.image for result in drawn if result.image]}
    for family in ("vae", "gan"):
        rows[models[family].name] = _draw_at_once(console, client, models[family], seed=seed)
    write_sheet(output, rows)


def choose(models: Sequence[Model]) -> dict[str, Model]:
    """The latest model of each family; raises ModelNotFound if the repository has none."""
    latest = {model.name: model for model in sorted(models, key=lambda model: model.version)}
    chosen = {}
    for family, names in _SHOWN.items():
        found = next((latest[name] for name in names if name in latest), None)
        if found is None:
            raise ModelNotFound(f"The model repository has none of {', '.join(names)}; the demo needs one.")
        chosen[family] = found
    return chosen


def _draw_job(console: Console, client: Client, model: Model, *, samples: int, seed: int) -> Job:
    console.print(
        f"Submitting a job: {samples} samples of {model.name}, seed {seed}. They are drawn row by row:"
    )
    job = client.submit(model.name, count=samples, seed=seed)
    view: View = LiveView(client, job, console) if shows_pictures(console) else LineView(console)
    ended = follow(client, job, view, patience_seconds=10)
    if ended.state is not JobState.SUCCEEDED:
        raise SmaltiError(f"The job ended {ended.state}: {ended.failed} of {ended.count} samples failed.")
    return ended


def _draw_at_once(console: Console, client: Client, model: Model, *, seed: int) -> list[Image]:
    """Send one-shot requests; the images of the first one go on the sheet."""
    console.print(f"Sending {_REQUESTS} one-shot requests to {model.name}.")
    images = client.draw(model.name, count=_SHEET_COLUMNS, seed=seed).images
    for index in range(_REQUESTS - 1):
        client.draw(model.name, seed=seed, first_index=index)
    return list(images)


def write_sheet(output: Path, rows: dict[str, list[Image]]) -> None:
    """A PNG with the images of each model under its name."""
    sheets = [
        (name, media.sheet([image.picture() for image in images], columns=_SHEET_COLUMNS, scale=_SHEET_SCALE))
        for name, images in rows.items()
    ]
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(media.encode(media.labelled(sheets)))


def _print_latencies(console: Console, system: System) -> None:
    console.print("Latencies in milliseconds, from the histograms that Prometheus would scrape:")
    for name, url in system.metrics_urls.items():
        console.print(f"  {name}: {url}")
    found = [latency for url in system.metrics_urls.values() for latency in read(url, list(_LATENCIES))]
    console.print(latency_table([latency for latency in merge(found) if not is_stream(latency)]))
    console.print(
        "(Interpolated within histogram buckets, as Prometheus' histogram_quantile does; "
        "with few observations only the bucket is exact.)",
        soft_wrap=True,
    )


def is_stream(latency: Latency) -> bool:
    """Whether it is of an RPC that streams: that lasts as long as the job, and its buckets are wide."""
    labels = dict(latency.labels)
    service = _SERVICES.get(labels.get("service", ""))
    return service is not None and service.methods_by_name[labels["method"]].server_streaming


def latency_table(latencies: Sequence[Latency]) -> Table:
    """Counts and quantiles, a line for each histogram."""
    table = Table(box=None, pad_edge=False)
    table.add_column("what", no_wrap=True)
    table.add_column("of", no_wrap=True)
    for heading in ("count", *(f"p{round(share * 100)}" for share in QUANTILES)):
        table.add_column(heading, justify="right")
    for latency in latencies:
        quantiles = (f"{latency.quantile(share) * 1000:.2f}" for share in QUANTILES)
        table.add_row(_LATENCIES[latency.metric], _of(latency), str(latency.count), *quantiles)
    return table


def _of(latency: Latency) -> str:
    labels = dict(latency.labels)
    if latency.metric == "smalti_rpc_seconds":
        outcome = "" if labels["code"] == "OK" else f" {labels['code']}"
        return f"{labels['service'].removeprefix('smalti.v1.')}/{labels['method']}{outcome}"
    return " ".join(labels.values())


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        main()
