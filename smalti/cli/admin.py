"""The group `smalti admin`: commands for those who run the queue."""

import click

from smalti.cli import audit, dead, drain, pausing, status, weights


@click.group()
def admin() -> None:
    """Run the queue; the token needs the group admin."""


for _command in (
    status.status,
    pausing.pause,
    pausing.resume,
    drain.drain,
    dead.dead,
    dead.retry,
    weights.weights,
    audit.audit,
):
    admin.add_command(_command)
