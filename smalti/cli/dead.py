"""The commands `smalti admin dead` and `smalti admin retry`: samples that failed."""

from collections.abc import Sequence

import click

from smalti.cli import options
from smalti.cli.connecting import connected
from smalti.cli.output import print_json, print_table
from smalti.client import Client, DeadSample, Job
from smalti.errors import SmaltiError
from smalti.printable import printable

_INDEX = click.IntRange(0, 2**64 - 1)


@click.command()
@click.argument("job", required=False)
@click.argument("index", type=_INDEX, required=False)
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Number of samples."
)
@options.as_json
@connected
def dead(client: Client, job: str | None, index: int | None, limit: int, as_json: bool) -> None:
    """List samples that failed, the newest first: of JOB, or of all jobs. With INDEX, show all about that sample."""
    if job is not None and index is not None:
        _inspect(client, job, index, as_json=as_json)
        return
    found = client.dead_samples(job, limit=limit)
    if as_json:
        print_json(found)
    else:
        print_table([("JOB", "INDEX", "CLIENT", "FAILED", "ROWS", "ERROR"), *map(_row, found)])


@click.command()
@click.argument("job")
@click.argument("index", type=_INDEX)
@options.as_json
@connected
def retry(client: Client, job: str, index: int, as_json: bool) -> None:
    """Draw sample INDEX of JOB, which failed, once more.

    It becomes a new job of the same client, with the same seed. JOB stays as it is. Asking again makes no other.
    """
    again = client.retry_sample(job, index)
    if as_json:
        print_json(again)
    else:
        click.echo(again.id)


def _inspect(client: Client, job_id: str, index: int, *, as_json: bool) -> None:
    sample = next((each for each in client.dead_samples(job_id, limit=1000) if each.index == index), None)
    if sample is None:
        raise SmaltiError(f"The queue remembers no failure of sample {index} of job {printable(job_id)}.")
    job = client.get_job(job_id)
    if as_json:
        print_json({"sample": sample, "job": job})
    else:
        print_table(_details(sample, job))


def _details(sample: DeadSample, job: Job) -> Sequence[Sequence[str]]:
    return [
        ("job", f"{job.id} ({job.state})"),
        ("client", printable(sample.client)),
        ("model", f"{job.model.name} version {job.model.version}"),
        ("image", f"{job.first_index + sample.index} of seed {job.seed}"),
        ("temperature", f"{job.temperature:g}"),
        ("rows drawn", f"{sample.rows} of {job.height}"),
        ("failed", _time(sample)),
        ("error", printable(sample.error)),
    ]


def _row(sample: DeadSample) -> Sequence[str]:
    error = printable(sample.error)
    return sample.job, str(sample.index), printable(sample.client), _time(sample), str(sample.rows), error


def _time(sample: DeadSample) -> str:
    return sample.failed.astimezone().strftime("%Y-%m-%d %H:%M:%S")
