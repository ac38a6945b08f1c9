"""Commands for one-shot requests: draw, sweep, encode, reconstruct, interpolate, score."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click

from smalti.cli import inputs, options
from smalti.cli.connecting import connected
from smalti.cli.inputs import Inputs
from smalti.cli.output import (
    Saved,
    deliver,
    described,
    plain,
    print_json,
    require_place,
    require_unmixed,
    save,
    save_each,
    say,
    say_colour_change,
    show,
)
from smalti.cli.places import Place
from smalti.client import Client, Encoded, Image, Images, ImageSource, ScoreKind, Scores
from smalti.errors import InvalidRequest
from smalti.pictures.fitting import Fit

_UNITS = {
    ScoreKind.LOG_LIKELIHOOD: "log-likelihood, nats",
    ScoreKind.ELBO: "lower bound of the log-likelihood, nats",
    ScoreKind.REAL_PROBABILITY: "P(real)",
}


@click.command()
@click.argument("model")
@click.option(
    "--count", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="Images to draw."
)
@options.seed
@options.first_index
@options.version
@options.output
@options.scale
@options.as_json
@connected
def draw(
    client: Client,
    model: str,
    count: int,
    seed: int | None,
    first_index: int,
    version: int,
    output: Place | None,
    scale: int | None,
    as_json: bool,
) -> None:
    """Draw images from a VAE or GAN at once.

    A file gets one image enlarged, or several as a sheet. To draw with a PixelRNN, queue a job: smalti submit.
    """
    require_unmixed(output, as_json=as_json)
    drawn = client.draw(model, count=count, seed=seed, first_index=first_index, version=version)
    require_place(output, as_json=as_json)
    _hand_over(drawn, output, as_json=as_json, scale=scale)
    if not as_json:
        say(f"Drawn with seed {drawn.seed}.")


@click.command()
@click.argument("model")
@click.option("--image", type=options.PictureFile(), help="Picture whose latent gives the other dimensions.")
@options.fit
@click.option("--dims", default="0,1", show_default=True, help="The two dimensions: row,column.")
@click.option(
    "--steps",
    type=click.IntRange(2),
    default=8,
    show_default=True,
    metavar="N",
    help="Images along each side.",
)
@click.option("--low", type=float, help="First value of both dimensions. Default: −3.")
@click.option("--high", type=float, help="Last value of both dimensions. Default: 3.")
@options.version
@options.output
@options.scale
@options.as_json
@connected
def sweep(
    client: Client,
    model: str,
    image: Path | None,
    how: Fit | None,
    dims: str,
    steps: int,
    low: float | None,
    high: float | None,
    version: int,
    output: Place | None,
    scale: int | None,
    as_json: bool,
) -> None:
    """Show what two latent dimensions mean.

    Draws a grid of images: one dimension changes downwards, the other to the right.
    """
    require_unmixed(output, as_json=as_json)
    dimensions = _dimensions(dims)
    centre = _centre(client, model, version, image, how)
    swept = client.sweep(model, dimensions, image=centre, steps=steps, low=low, high=high, version=version)
    require_place(output, as_json=as_json)
    _hand_over(swept, output, as_json=as_json, scale=scale, columns=swept.steps)


@click.command()
@click.argument("model")
@options.pictures
@options.fit
@options.version
@options.as_json
@connected
def encode(
    client: Client, model: str, pictures: tuple[Path, ...], how: Fit | None, version: int, as_json: bool
) -> None:
    """Print the latents of pictures.

    For a VAE or auto-encoder. Prints one line for each picture.

    PICTURES are files, folders or zips. Unusable files in folders and zips are skipped and named (exit code 5).
    """
    found = inputs.read(client.model(model, version=version).model, pictures, how)
    replies = [client.encode(model, images, version=found.model.version) for images in found.portions()]
    _answer(
        found,
        replies,
        [latent for reply in replies for latent in _latents(reply)],
        lambda latent: " ".join(f"{value:.4f}" for value in latent["mean"]),
        as_json=as_json,
    )


@click.command()
@click.argument("model")
@options.pictures
@options.fit
@options.version
@options.output
@options.scale
@options.as_json
@connected
def reconstruct(
    client: Client,
    model: str,
    pictures: tuple[Path, ...],
    how: Fit | None,
    version: int,
    output: Place | None,
    scale: int | None,
    as_json: bool,
) -> None:
    """Encode pictures and decode them again.

    For a VAE or auto-encoder. In a FOLDER each becomes a file NAME-reconstructed.png.

    PICTURES are files, folders or zips. Unusable files in folders and zips are skipped and named (exit code 5).
    """
    found = inputs.read(client.model(model, version=version).model, pictures, how)
    require_place(output, as_json=as_json)
    replies = [client.reconstruct(model, images, version=found.model.version) for images in found.portions()]
    images = [image for reply in replies for image in reply.images]
    saved = None if output is None else _save_named(images, found, output, scale)
    if not as_json:
        show(images) if saved is None else say(f"Wrote {saved.words}.")
    where = {"output": None if output is None else str(output)}
    _answer(found, replies, described(images, saved), as_json=as_json, also=where)


@click.command()
@click.argument("model")
@click.argument("first", type=options.PictureFile())
@click.argument("last", type=options.PictureFile())
@options.fit
@click.option(
    "--steps",
    type=click.IntRange(2),
    default=8,
    show_default=True,
    metavar="N",
    help="Images in all, both ends included.",
)
@options.version
@options.output
@options.scale
@options.as_json
@connected
def interpolate(
    client: Client,
    model: str,
    first: Path,
    last: Path,
    how: Fit | None,
    steps: int,
    version: int,
    output: Place | None,
    scale: int | None,
    as_json: bool,
) -> None:
    """Draw the steps from one picture to another.

    The steps are even in the latent, for a VAE or auto-encoder.
    """
    of = client.model(model, version=version).model
    ends = [inputs.picture(of, end, how) for end in (first, last)]
    require_place(output, as_json=as_json)
    between = client.interpolate(model, *ends, steps=steps, version=of.version)
    _hand_over(between, output, as_json=as_json, scale=scale, columns=steps)


@click.command()
@click.argument("model")
@options.pictures
@options.fit
@click.option("--seed", type=click.IntRange(0, 2**64 - 1), help="Seed of the noise in a VAE's bound.")
@options.version
@options.as_json
@connected
def score(
    client: Client,
    model: str,
    pictures: tuple[Path, ...],
    how: Fit | None,
    seed: int | None,
    version: int,
    as_json: bool,
) -> None:
    """Print how likely or how real pictures are.

    A PixelRNN gives the log-likelihood, a VAE its lower bound, a GAN P(real). Prints one line for each picture.

    PICTURES are files, folders or zips. Unusable files in folders and zips are skipped and named (exit code 5).
    """
    found = inputs.read(client.model(model, version=version).model, pictures, how)
    replies = [
        client.score(model, images, seed=seed, version=found.model.version) for images in found.portions()
    ]
    kind = replies[0].kind
    _answer(
        found,
        replies,
        [{"score": value} for reply in replies for value in reply.scores],
        lambda value: f"{value['score']:.4f} ({_UNITS[kind]})",
        as_json=as_json,
        also={"kind": kind},
    )


def _centre(
    client: Client, model: str, version: int, image: Path | None, how: Fit | None
) -> ImageSource | None:
    """The picture of --image in the model's size, if there is one."""
    if image is not None:
        return inputs.picture(client.model(model, version=version).model, image, how)
    if how is not None:
        raise InvalidRequest("--fit needs a picture: --image PICTURE, which is missing.")
    return None


def _dimensions(text: str) -> tuple[int, int]:
    try:
        row, column = (int(part) for part in text.split(","))
    except ValueError:
        row = column = -1
    if min(row, column) < 0 or max(row, column) >= 2**32:
        raise InvalidRequest(f"--dims is '{text}'; write two numbers, such as 2,7.", field="dims")
    return row, column


def _latents(reply: Encoded) -> list[dict[str, Any]]:
    """A mean for each picture, and a deviation if the model has one."""
    if not reply.log_deviations:
        return [{"mean": mean} for mean in reply.means]
    both = zip(reply.means, reply.log_deviations, strict=True)
    return [{"mean": mean, "log_deviation": deviation} for mean, deviation in both]


def _answer(
    found: Inputs,
    replies: Sequence[Encoded | Images | Scores],
    values: Sequence[dict[str, Any]],
    line: Callable[[dict[str, Any]], str] | None = None,
    *,
    as_json: bool,
    also: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Print a value for each picture: as JSON, or as a line if `line` says how."""
    change = inputs.total(reply.colour_change for reply in replies)
    named = list(zip(found.names, values, strict=True))
    if as_json:
        pictures = [{"name": name} | value for name, value in named]
        answer = {"model": replies[0].model, **also, "colour_change": change, "pictures": pictures}
        print_json(answer | inputs.skipped(found.report))
    else:
        say_colour_change(change)
        if line is not None:
            click.echo("".join(f"{name}: {line(value)}\n" for name, value in named), nl=False)
    inputs.report_skipped(found.report)


def _save_named(images: Sequence[Image], found: Inputs, output: Place, scale: int | None) -> Saved:
    """Save into a folder as one file for each picture, named after it; otherwise as `save` does."""
    if not output.is_folder:
        return save(images, output, scale=scale)
    names = (f"{stem}-reconstructed" for stem in inputs.stems(found.names))
    return save_each(zip(names, images, strict=True), output, scale)


def _hand_over(
    images: Images, output: Place | None, *, as_json: bool, scale: int | None, columns: int | None = None
) -> None:
    if not as_json:
        say_colour_change(images.colour_change)
        deliver(images.images, output, columns=columns, scale=scale)
        return
    saved = None if output is None else save(images.images, output, columns=columns, scale=scale)
    listed = described(images.images, saved)
    where = None if output is None else str(output)
    print_json({**plain(replace(images, images=())), "images": listed, "output": where})
