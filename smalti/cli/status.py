"""The command `smalti admin status`: what is in the queue, and who has it."""

from collections.abc import Sequence

import click

from smalti.cli import options
from smalti.cli.connecting import connected
from smalti.cli.output import print_json, print_table
from smalti.client import Client, ClientStatus, QueueStatistics, WorkerStatus
from smalti.printable import printable


@click.command()
@options.as_json
@connected
def status(client: Client, as_json: bool) -> None:
    """Show what is in the queue, and what each worker and each client has."""
    found = client.statistics()
    if as_json:
        print_json(found)
        return
    print_table(_summary(found))
    if found.workers:
        print_table([("WORKER", "HELD", "SLOTS", "LEASE", "STATE"), *map(_worker, found.workers)])
    if found.clients:
        headings = ("CLIENT", "JOBS", "READY", "RUNNING", "PIXELS", "BYTES", "WEIGHT")
        print_table([headings, *map(_client, found.clients)])


def _summary(found: QueueStatistics) -> Sequence[Sequence[str]]:
    return [
        ("POOL", "QUEUED", "RUNNING", "PAUSED", "READY SAMPLES", "RUNNING SAMPLES", "DEAD", "OLDEST"),
        (
            "paused" if found.paused else "open",
            str(found.queued_jobs),
            str(found.running_jobs),
            str(found.paused_jobs),
            str(found.ready_samples),
            str(found.running_samples),
            str(found.dead_samples),
            f"{found.oldest_seconds:.0f} s",
        ),
    ]


def _worker(worker: WorkerStatus) -> Sequence[str]:
    state = "draining" if worker.draining else ""
    return printable(worker.name), str(worker.held), str(worker.slots), f"{worker.lease_seconds:.1f} s", state


def _client(client: ClientStatus) -> Sequence[str]:
    numbers = (client.jobs, client.ready, client.running, client.pixels, client.bytes)
    return printable(client.name), *map(str, numbers), f"{client.weight:g}"
