"""The command `smalti results`: writes the finished samples of a job, in one of several forms."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import click

from smalti.cli import options, result_forms
from smalti.cli.connecting import connected
from smalti.cli.downloading import Receiver, download, part_for
from smalti.cli.output import print_json, require_unmixed, say
from smalti.cli.places import Place, PlaceOption
from smalti.client import Client, Job
from smalti.errors import InvalidRequest, SmaltiError


@click.command()
@click.argument("job")
@click.option(
    "-o",
    "--output",
    required=True,
    type=PlaceOption(archives=(result_forms.NPZ, result_forms.ZIP)),
    help="FOLDER/ for one PNG a sample; FILE.zip for the same in a zip; FILE.npz for pixels as numpy arrays; FILE.png "
    "(or .webp, .jpg, .gif, .bmp) or - (standard output) for a sheet.",
)
@click.option(
    "--drawing", is_flag=True, help="With -o FILE.gif: a moving picture in which the rows appear one by one."
)
@options.scale
@click.option("--start", type=click.IntRange(0), default=0, help="Index of the first sample.")
@click.option("--limit", type=click.IntRange(1), help="Number of indices. Default: all.")
@options.patience
@options.as_json
@connected
def results(
    client: Client,
    job: str,
    output: Place,
    drawing: bool,
    scale: int | None,
    start: int,
    limit: int | None,
    patience: float,
    as_json: bool,
) -> None:
    """Write the finished samples of a job.

    It does not wait for the others; smalti watch does. If the download breaks off, the same command goes on from there.
    """
    require_unmixed(output, as_json=as_json)
    known = client.get_job(job)
    wanted = _wanted(known, start, limit)
    result_forms.check(output, known, min(known.done, len(wanted)), scale=scale, drawing=drawing)
    fetch = partial(download, client, known, wanted, patience_seconds=patience)
    if output.is_folder:
        outcome = _received(result_forms.Folder(output, known, wanted, scale), wanted, fetch)
    else:
        with part_for(output, known) as part:
            outcome = _received(part, wanted, fetch)
            if outcome.written:
                write = result_forms.writer_of(output, drawing=drawing)
                write(known, part.results(wanted), output, scale)
    _tell(client.get_job(job), outcome, output, as_json=as_json)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many samples there are now, how many of them an earlier download brought, and how many failed."""

    written: int
    before: int
    failed: int
    first_error: str


def _received(receiver: Receiver, wanted: range, fetch: Callable[[Receiver], None]) -> Outcome:
    """Fetch what the receiver lacks."""
    before = _finished(receiver, wanted)
    fetch(receiver)
    errors = sorted((index, error) for index, error in receiver.errors.items() if index in wanted)
    return Outcome(_finished(receiver, wanted), before, len(errors), errors[0][1] if errors else "")


def _finished(receiver: Receiver, wanted: range) -> int:
    return sum(index in wanted and index not in receiver.errors for index in receiver.arrived)


def _wanted(job: Job, start: int, limit: int | None) -> range:
    if start >= job.count:
        raise InvalidRequest(
            f"Job {job.id} has indices 0 to {job.count - 1}: --start {start} is after the last one."
        )
    return range(start, min(job.count, start + limit) if limit else job.count)


def _tell(job: Job, outcome: Outcome, output: Place, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "job": job.id,
                "written": outcome.written,
                "failed": outcome.failed,
                "output": str(output),
            }
        )
    else:
        _report(job, outcome, output)
    if not outcome.written:
        raise SmaltiError(f"Job {job.id} has no finished sample to write{'' if job.is_over else ' yet'}.")


def _report(job: Job, outcome: Outcome, output: Place) -> None:
    if outcome.written:
        there = f"; {outcome.before} had come before" if outcome.before else ""
        say(f"Wrote {outcome.written} of {job.count} samples to {output}{there}.")
    if outcome.failed:
        say(f"{outcome.failed} failed; the first because: {outcome.first_error}")
    if not job.is_over:
        say(f"The job is {job.state}; the others are still to come.")
