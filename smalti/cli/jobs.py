"""Commands for jobs: submit, watch, wait, results, pause, resume, cancel, delete, jobs."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import click
from rich.console import Console

from smalti.cli import inputs, many, options
from smalti.cli.connecting import connected
from smalti.cli.endings import code_of_all, require_success
from smalti.cli.exit_codes import INTERRUPTED
from smalti.cli.output import (
    plain,
    print_json,
    print_table,
    say,
    say_colour_change,
)
from smalti.cli.progress import REASONS
from smalti.cli.streams import OutputLost
from smalti.cli.terminal import moves_pictures
from smalti.cli.watching import JsonView, LineView, LiveView, View, follow
from smalti.client import Client, Job
from smalti.client.failures import Patience
from smalti.errors import Busy, DeadlinePassed, InvalidRequest, ModelNotFound, Unavailable
from smalti.jobs.job import JobClass, JobState
from smalti.pictures.fitting import Fit
from smalti.printable import printable

Answer = TypeVar("Answer")
_JOB = click.argument("job")


@click.command()
@click.argument("model")
@click.option(
    "--count",
    type=click.IntRange(1),
    default=None,
    show_default="1",
    metavar="N",
    help="Samples to draw.",
)
@options.seed
@options.first_index
@options.temperature
@click.option(
    "--complete",
    "pictures",
    type=options.PictureFile(),
    multiple=True,
    metavar="PATH",
    help="Complete this picture in every sample, with --rows or --mask. A folder, a zip, a .jsonl file that lists "
    "pictures, or several of these options: sample i completes picture i.",
)
@options.rows
@options.mask
@options.fit
@click.option(
    "--keep-seconds",
    type=options.Number(1),
    metavar="S",
    help="How long results are kept after the job has ended.",
)
@click.option(
    "--deadline",
    "deadline_seconds",
    type=options.Number(0.001),
    metavar="S",
    help="Stop the job, as failed, if it has not ended after so long. Finished samples stay.",
)
@click.option(
    "--webhook", default="", metavar="URL", help="Where to tell of the job's end, if the server may."
)
@click.option("--name", default="", help="A name to find the job again.")
@click.option(
    "--label", "labels", type=options.Label(), multiple=True, help="A label, such as run=7; may be repeated."
)
@click.option(
    "--class",
    "job_class",
    type=click.Choice([str(name) for name in JobClass]),
    default=str(JobClass.STANDARD),
    show_default=True,
    help="Interactive, standard and batch samples share workers as 16 : 4 : 1; others make way for interactive ones.",
)
@click.option("--request-id", help="A second submit with the same id gives the same job.")
@click.option("--watch", "watching", is_flag=True, help="Follow the job until it ends.")
@options.patience
@options.version
@options.as_json
@connected
def submit(
    client: Client,
    model: str,
    count: int | None,
    seed: int | None,
    first_index: int,
    temperature: float,
    pictures: tuple[Path, ...],
    rows: int | None,
    mask: Path | None,
    how: Fit | None,
    keep_seconds: float | None,
    deadline_seconds: float | None,
    webhook: str,
    name: str,
    labels: Sequence[tuple[str, str]],
    job_class: str,
    request_id: str | None,
    watching: bool,
    patience: float,
    version: int,
    as_json: bool,
) -> None:
    """Queue a job for a PixelRNN and print its id."""
    given = None
    if many.is_many(pictures):
        _refuse_count(count)
        described = client.model(model, version=version).model
        given = many.read(described, pictures, many.Keeping(rows, mask), how)
        queue = partial(client.submit_completions, model, given.completions, picture_names=given.names)
    else:
        completion = options.completion(client, model, version, *pictures, rows=rows, mask=mask, how=how)
        queue = partial(client.submit, model, count=count or 1, completion=completion)
    ask = partial(
        queue,
        seed=seed,
        first_index=first_index,
        temperature=temperature,
        retention_seconds=keep_seconds,
        deadline_seconds=deadline_seconds,
        webhook=webhook,
        name=name,
        labels=dict(labels),
        request_id=request_id or uuid4().hex,  # the same for every try, so that the job is queued once
        job_class=JobClass(job_class),
        patience_seconds=0,
        version=version,
    )
    job = _patiently(ask, patience)
    with _naming(job):
        if as_json:
            described_job = plain(job) | _pictures(given)
            print_json({"job": described_job} if watching else described_job)  # like the events that follow
        else:
            click.echo(job.id)
    if not as_json:
        say_colour_change(job.colour_change)
    if watching:
        _watch(client, job, as_json=as_json, patience=patience)
    if given:
        inputs.report_skipped(given.report)


@click.command()
@_JOB
@options.patience
@options.as_json
@connected
def watch(client: Client, job: str, patience: float, as_json: bool) -> None:
    """Follow a job until it ends.

    A terminal shows the samples while they are drawn; other outputs get a line now and then. With --json each event
    is one line of JSON. Ctrl-C stops watching, not the job. The exit code is 0 only if the job succeeded.
    """
    _watch(client, _patiently(partial(client.get_job, job), patience), as_json=as_json, patience=patience)


@click.command()
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True)
@click.option(
    "--timeout",
    type=options.Number(0),
    metavar="S",
    help="Stop waiting after so long, with exit code 8. Default: wait for ever.",
)
@options.patience
@options.as_json
@connected
def wait(client: Client, jobs: Sequence[str], timeout: float | None, patience: float, as_json: bool) -> None:
    """Wait until all of these jobs have ended, and print a line for each.

    \b
    The exit code says how they ended; the first that is true for one of them:
      8  it has not ended within --timeout
      1  it failed
      7  it was stopped at its deadline
      6  it was cancelled
      0  all succeeded
    """
    found = [
        _patiently(partial(client.get_job, job), patience) for job in jobs
    ]  # an unknown one ends this at once
    end = None if timeout is None else time.monotonic() + timeout
    ended = []
    for job in found:
        ended.append(_wait(client, job, end, patience))
        if as_json:
            print_json(ended[-1])
        else:
            click.echo(_ending(ended[-1]))
    raise SystemExit(code_of_all(ended))


@click.command()
@_JOB
@options.as_json
@connected
def cancel(client: Client, job: str, as_json: bool) -> None:
    """Stop a job; its finished samples stay."""
    cancelled = client.cancel(job)
    if as_json:
        print_json(cancelled)
    elif cancelled.state in (JobState.CANCELLED, JobState.CANCELLING):
        click.echo(f"Job {job} is {cancelled.state} after {cancelled.done} of {cancelled.count} samples.")
    else:
        click.echo(f"Job {job} had already {cancelled.state}.")


@click.command()
@_JOB
@options.as_json
@connected
def pause(client: Client, job: str, as_json: bool) -> None:
    """Draw no more of a job until it is resumed.

    Samples that are being drawn go back to the queue after their row. Nothing is lost, also if everything is restarted.
    """
    paused = client.pause(job)
    if as_json:
        print_json(paused)
    else:
        click.echo(f"Job {job} is {paused.state} after {paused.done} of {paused.count} samples.")


@click.command()
@_JOB
@options.as_json
@connected
def resume(client: Client, job: str, as_json: bool) -> None:
    """Go on with a paused job."""
    resumed = client.resume(job)
    if as_json:
        print_json(resumed)
    else:
        click.echo(f"Job {job} is {resumed.state}.")


@click.command("webhook-key")
@options.as_json
@connected
def webhook_key(client: Client, as_json: bool) -> None:
    """Print the key with which your webhooks are signed. Keep it secret."""
    key = client.webhook_key()
    if as_json:
        print_json({"key": key})
    else:
        click.echo(key)


@click.command()
@_JOB
@options.as_json
@connected
def delete(client: Client, job: str, as_json: bool) -> None:
    """Delete a job that has ended, and its results."""
    client.delete(job)
    if as_json:
        print_json({"deleted": job})
    else:
        click.echo(f"Deleted job {job}.")


@click.command()
@click.option(
    "--limit", type=click.IntRange(1, 1_000_000), default=20, show_default=True, help="Number of jobs."
)
@click.option("--client", "owner", metavar="NAME", help="Only jobs of this client; for admins.")
@click.option(
    "--state",
    "states",
    type=click.Choice([str(state) for state in JobState], case_sensitive=False),
    multiple=True,
    help="Only jobs in this state; may be repeated for others.",
)
@click.option("--model", default="", metavar="NAME", help="Only jobs for this model.")
@click.option("--name", default="", help="Only jobs of this name.")
@click.option(
    "--label",
    "labels",
    type=options.Label(),
    multiple=True,
    help="Only jobs with this label; may be repeated: they have all.",
)
@options.as_json
@connected
def jobs(
    client: Client,
    limit: int,
    owner: str | None,
    states: Sequence[str],
    model: str,
    name: str,
    labels: Sequence[tuple[str, str]],
    as_json: bool,
) -> None:
    """List jobs, newest first: your own, or as an admin those of all clients."""
    listed = client.jobs(
        client=owner,
        states=states,
        model=model,
        name=name,
        labels=dict(labels),
        page_size=min(limit, 500),
    )
    newest = list(islice(listed, limit))
    if as_json:
        print_json(newest)
    else:
        print_table(_table(newest))
        for reason in sorted({job.reason for job in newest} & REASONS.keys()):
            say(f"{reason}: {REASONS[reason]}.")


def _refuse_count(count: int | None) -> None:
    if count is not None:
        raise InvalidRequest("--count is for one picture: a job of many has one sample for each.")


def _pictures(given: many.Many | None) -> dict[str, Any]:
    """For --json: which picture is completed in which sample, and those that were skipped."""
    return {"pictures": list(given.names), **inputs.skipped(given.report)} if given else {}


@contextmanager
def _naming(job: Job) -> Iterator[None]:
    """Print the id of the queued job on standard error if standard output cannot be written."""
    try:
        yield
    except (OutputLost, click.exceptions.Exit):
        say(f"Job {job.id} is queued.")
        raise


def _patiently(ask: Callable[[], Answer], patience_seconds: float) -> Answer:
    """Ask until there is an answer; say why it takes long while the server is away or busy."""
    patience, said = Patience(patience_seconds), ""
    while True:
        try:
            return ask()
        except (Busy, Unavailable) as error:
            delay = patience.delay_after(error)
            if str(error) != said:
                limit = f" for up to {patience_seconds:g} s" if isfinite(patience_seconds) else ""
                say(f"{error} Trying again{limit}.")
            said = str(error)
            time.sleep(delay)


def _wait(client: Client, job: Job, end: float | None, patience: float) -> Job:
    """The job when it has ended, or as it is when there is no more time."""
    left = None if end is None else max(0.0, end - time.monotonic())
    try:
        return client.wait(job, patience_seconds=patience, timeout_seconds=left)
    except DeadlinePassed:
        return client.get_job(job)


def _ending(job: Job) -> str:
    reason = f" {job.reason}" if job.reason else ""
    return f"{job.id} {job.state} {job.done}/{job.count}{reason}"


def _watch(client: Client, job: Job, *, as_json: bool, patience: float) -> None:
    try:
        view = _patiently(partial(_view, client, job, as_json=as_json), patience)
        ended = follow(client, job, view, patience_seconds=patience)
    except KeyboardInterrupt:
        say(
            f"\nStopped watching; job {job.id} goes on. "
            f"smalti watch {job.id} follows it again, smalti cancel {job.id} stops it."
        )
        raise SystemExit(INTERRUPTED) from None
    require_success(ended)


def _view(client: Client, job: Job, *, as_json: bool) -> View:
    console = Console(stderr=True)
    if as_json:
        return JsonView()
    if moves_pictures(console):
        with suppress(ModelNotFound):  # without the model its colours are unknown
            return LiveView(client, job, console)
    return LineView(console)


def _table(listed: Sequence[Job]) -> Sequence[Sequence[str]]:
    """A line for each job. Clients, names and labels have columns if there are any."""
    columns: dict[str, Callable[[Job], str]] = {
        "CLIENT": lambda job: printable(job.client),
        "JOB": lambda job: job.id,
        "MODEL": lambda job: job.model.name,
        "STATE": lambda job: job.state,
        "SAMPLES": lambda job: f"{job.done}/{job.count}",
        "SUBMITTED": _submitted,
        "REASON": lambda job: job.reason,
        "NAME": lambda job: printable(job.name),
        "LABELS": lambda job: " ".join(f"{key}={printable(job.labels[key])}" for key in sorted(job.labels)),
    }
    for title in ("CLIENT", "NAME", "LABELS"):
        if not any(map(columns[title], listed)):
            del columns[title]
    return [tuple(columns), *(tuple(read(job) for read in columns.values()) for job in listed)]


def _submitted(job: Job) -> str:
    return job.created.astimezone().strftime("%Y-%m-%d %H:%M:%S") if job.created else ""
