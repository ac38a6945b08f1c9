"""What all benchmarks have in common as commands: errors told in one sentence, and the model to measure."""

from pathlib import Path
from typing import Any

import click
import grpc

from smalti.client import failures
from smalti.errors import SmaltiError
from smalti.runtime.repository import Model, ModelRepository


class Benchmark(click.Command):
    """A command whose expected errors end it with one sentence and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it."""
        try:
            return super().invoke(ctx)
        except SmaltiError as error:
            raise click.ClickException(str(error)) from error
        except grpc.RpcError as error:
            raise click.ClickException(
                str(failures.from_rpc(error, "the benchmark's own address"))
            ) from error


def drawing_model(repository: Path, name: str) -> Model:
    """The model, if it draws row by row; otherwise raises ClickException or SmaltiError."""
    model = ModelRepository(repository).load(name)
    if not model.manifest.draws_rows:
        raise click.ClickException(f"{name} does not draw row by row: name a model that does.")
    return model


def latent_model(repository: Path, name: str) -> Model:
    """The model, if it makes images from latents; otherwise raises ClickException or SmaltiError."""
    model = ModelRepository(repository).load(name)
    if model.manifest.latent_graph is None:
        raise click.ClickException(f"{name} makes no images from latents: name a model that does.")
    return model
