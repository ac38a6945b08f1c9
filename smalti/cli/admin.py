"""The group `smalti admin`: commands for those who run the queue."""

import click

from smalti.cli import weights


@click.group()
def admin() -> None:
    """Run the queue; the token needs the group admin."""


admin.add_command(weights.weights)
