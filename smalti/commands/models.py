"""Commands for models: which there are."""

from collections.abc import Iterator, Sequence
from itertools import groupby

import click

from smalti.client import Client
from smalti.commands import options
from smalti.commands.output import print_json, print_manifest, print_table
from smalti.values import Model


@click.command()
@click.argument("name", required=False)
@options.version
@options.as_json
@options.connected
def models(client: Client, name: str | None, version: int, as_json: bool) -> None:
    """List models, or print one's manifest."""
    if name is not None:
        print_manifest(client.model(name, version=version).manifest)
    elif as_json:
        print_json(client.models())
    else:
        print_table(_table(client.models()))


def _table(served: list[Model]) -> Sequence[Sequence[str]]:
    headings = ("MODEL", "VERSION", "FAMILY", "VARIANT", "SIZE", "COLOURS", "CAN")
    kinds = [(kind, [model.version for model in versions]) for kind, versions in groupby(served, key=_kind)]
    return [headings, *((name, _ranges(versions), *rest) for (name, *rest), versions in kinds)]


def _kind(model: Model) -> tuple[str, ...]:
    """What is said of a version beside its number: neighbours of which all is the same share a line."""
    size, colours = f"{model.width}×{model.height}", str(len(model.palette))
    return model.name, model.family, model.variant, size, colours, " ".join(model.graphs)


def _ranges(versions: Sequence[int]) -> str:
    """'1–3, 5' for 1, 2, 3 and 5, which ascend."""
    return ", ".join(str(first) if first == last else f"{first}–{last}" for first, last in _runs(versions))


def _runs(versions: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First and last of consecutive numbers."""
    for _, run in groupby(enumerate(versions), key=lambda pair: pair[1] - pair[0]):
        numbers = [number for _, number in run]
        yield numbers[0], numbers[-1]
