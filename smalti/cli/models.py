"""Commands for models: list them, and choose which ones the server serves."""

from collections.abc import Iterator, Sequence
from itertools import groupby

import click

from smalti.cli import options
from smalti.cli.connecting import connected
from smalti.cli.output import print_json, print_manifest, print_table, say
from smalti.client import Client, Graph, LeftOut, Model, Tensor


@click.command()
@click.argument("name", required=False)
@options.version
@options.as_json
@connected
def models(client: Client, name: str | None, version: int, as_json: bool) -> None:
    """List models, or print the manifest of one."""
    if name is None and version:
        raise click.UsageError("--version needs the NAME of a model.")
    if name is not None:
        manifest = client.model(name, version=version).manifest
        (print_json if as_json else print_manifest)(manifest)
    elif as_json:
        print_json(client.models())
    else:
        print_table(_table(client.models()))
        for each in client.left_out():
            say(_fault(each))


@click.command()
@click.argument("name")
@options.version
@options.as_json
@connected
def load(client: Client, name: str, version: int, as_json: bool) -> None:
    """Serve a model from the files that are in the repository now.

    The server looks there by itself every few seconds. Use this after smalti unload, or if you do not want to wait.
    """
    model = client.load(name, version=version)
    if as_json:
        print_json(model)
    else:
        click.echo(f"{model.name} version {model.version} is served.")
        for each in [] if version else client.left_out():
            if _is_newer(each.place, model):
                say(_fault(each))


@click.command()
@click.argument("name")
@click.option(
    "--version",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Version of the model. Default: every version.",
)
@options.as_json
@connected
def unload(client: Client, name: str, version: int, as_json: bool) -> None:
    """Stop serving a model.

    Loading it, changing its files or restarting the server serves it again. Workers go on with its jobs.
    """
    client.unload(name, version=version)
    if as_json:
        print_json({"unloaded": {"name": name, "version": version or None}})
    else:
        which = f"version {version}" if version else "every version"
        click.echo(f"{name} is no longer served ({which}); smalti load {name} serves it again.")


def _fault(found: LeftOut) -> str:
    """Why something in the repository is not served as it is now."""
    start = f"{found.place} goes on as before" if found.still_served else "Left out"
    return f"{start}: {found.reason}"


def _is_newer(place: str, model: Model) -> bool:
    name, _, number = place.partition("/")
    return name == model.name and number.isdecimal() and int(number) > model.version


def _table(served: list[Model]) -> Sequence[Sequence[str]]:
    headings = ("MODEL", "VERSION", "FAMILY", "VARIANT", "SIZE", "COLOURS", "CAN")
    kinds = [(kind, [model.version for model in versions]) for kind, versions in groupby(served, key=_kind)]
    return [headings, *((name, _ranges(versions), *rest) for (name, *rest), versions in kinds)]


def _kind(model: Model) -> tuple[str, ...]:
    """The details of a version; adjacent versions with identical details share a line."""
    if model.medium == "tensors":
        return model.name, "ONNX file", "", "", "", " ".join(map(_signature, model.signatures))
    size, colours = f"{model.width}×{model.height}", str(len(model.palette))
    return model.name, model.family, model.variant, size, colours, " ".join(model.graphs)


def _signature(graph: Graph) -> str:
    """'x float32[-1,3] → y float32[-1]'."""
    inputs, outputs = (", ".join(map(_tensor, each)) for each in (graph.inputs, graph.outputs))
    return f"{inputs} → {outputs}"


def _tensor(tensor: Tensor) -> str:
    return f"{tensor.name} {tensor.type}[{','.join(map(str, tensor.shape))}]"


def _ranges(versions: Sequence[int]) -> str:
    """Ascending numbers in short: '1–3, 5' for 1, 2, 3 and 5."""
    return ", ".join(str(first) if first == last else f"{first}–{last}" for first, last in _runs(versions))


def _runs(versions: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The first and last number of each run of consecutive ones."""
    for _, run in groupby(enumerate(versions), key=lambda pair: pair[1] - pair[0]):
        numbers = [number for _, number in run]
        yield numbers[0], numbers[-1]
