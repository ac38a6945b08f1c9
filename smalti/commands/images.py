"""One-shot commands: draw, sweep, encode, reconstruct, interpolate, score."""

from dataclasses import replace
from pathlib import Path

import click

from smalti.client import Client
from smalti.commands import options
from smalti.commands.output import (
    deliver,
    described,
    plain,
    print_json,
    require_place,
    save,
    say,
    say_colour_change,
)
from smalti.commands.places import Place
from smalti.errors import InvalidRequest
from smalti.values import Images, ScoreKind

_PICTURES = click.argument("pictures", nargs=-1, required=True, type=click.Path(path_type=Path))
_UNITS = {
    ScoreKind.LOG_LIKELIHOOD: "log-likelihood, nats",
    ScoreKind.ELBO: "lower bound of the log-likelihood, nats",
    ScoreKind.REAL_PROBABILITY: "P(real)",
}


@click.command()
@click.argument("model")
@click.option("--count", type=click.IntRange(1), default=1, show_default=True, metavar="N")
@options.seed
@options.first_index
@options.version
@options.output
@options.scale
@options.as_json
@options.connected
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

    Into a file one image is written enlarged, several as a sheet. A PixelRNN draws by a job: smalti submit.
    """
    require_place(output, as_json=as_json)
    drawn = client.draw(model, count=count, seed=seed, first_index=first_index, version=version)
    _hand_over(drawn, output, as_json=as_json, scale=scale)
    if not as_json:
        say(f"Drawn with seed {drawn.seed}.")


@click.command()
@click.argument("model")
@click.option("--image", type=click.Path(path_type=Path), help="Whose latent fixes the other dimensions.")
@click.option("--dims", default="0,1", show_default=True, help="The two dimensions: row,column.")
@click.option(
    "--steps",
    type=click.IntRange(2),
    default=8,
    show_default=True,
    metavar="N",
    help="Images along each side.",
)
@click.option("--low", type=float, help="Where the dimensions start; −3 without it.")
@click.option("--high", type=float, help="Where they end; 3 without it.")
@options.version
@options.output
@options.scale
@options.as_json
@options.connected
def sweep(
    client: Client,
    model: str,
    image: Path | None,
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

    A grid of images, one dimension down and one to the right.
    """
    require_place(output, as_json=as_json)
    swept = client.sweep(
        model, _dimensions(dims), image=image, steps=steps, low=low, high=high, version=version
    )
    _hand_over(swept, output, as_json=as_json, scale=scale, columns=swept.steps)


@click.command()
@click.argument("model")
@_PICTURES
@options.version
@options.as_json
@options.connected
def encode(client: Client, model: str, pictures: tuple[Path, ...], version: int, as_json: bool) -> None:
    """Print the latents of pictures.

    For a VAE or auto-encoder; one line for each picture.
    """
    encoded = client.encode(model, pictures, version=version)
    if as_json:
        print_json(encoded)
        return
    say_colour_change(encoded.colour_change)
    for picture, mean in zip(pictures, encoded.means, strict=True):
        click.echo(f"{picture}: " + " ".join(f"{value:.4f}" for value in mean))


@click.command()
@click.argument("model")
@_PICTURES
@options.version
@options.output
@options.scale
@options.as_json
@options.connected
def reconstruct(
    client: Client,
    model: str,
    pictures: tuple[Path, ...],
    version: int,
    output: Place | None,
    scale: int | None,
    as_json: bool,
) -> None:
    """Send pictures through the latent and back.

    For a VAE or auto-encoder.
    """
    require_place(output, as_json=as_json)
    reconstructed = client.reconstruct(model, pictures, version=version)
    _hand_over(reconstructed, output, as_json=as_json, scale=scale)


@click.command()
@click.argument("model")
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("last", type=click.Path(path_type=Path))
@click.option(
    "--steps", type=click.IntRange(2), default=8, show_default=True, metavar="N", help="Images in all."
)
@options.version
@options.output
@options.scale
@options.as_json
@options.connected
def interpolate(
    client: Client,
    model: str,
    first: Path,
    last: Path,
    steps: int,
    version: int,
    output: Place | None,
    scale: int | None,
    as_json: bool,
) -> None:
    """Go from one picture to another.

    By even steps between their latents, for a VAE or auto-encoder.
    """
    require_place(output, as_json=as_json)
    between = client.interpolate(model, first, last, steps=steps, version=version)
    _hand_over(between, output, as_json=as_json, scale=scale, columns=steps)


@click.command()
@click.argument("model")
@_PICTURES
@click.option("--seed", type=click.IntRange(0, 2**64 - 1), help="Of the noise of a VAE's bound.")
@options.version
@options.as_json
@options.connected
def score(
    client: Client, model: str, pictures: tuple[Path, ...], seed: int | None, version: int, as_json: bool
) -> None:
    """Print how likely or real pictures are.

    The log-likelihood by a PixelRNN, its lower bound by a VAE, P(real) by a GAN; one line for each picture.
    """
    scores = client.score(model, pictures, seed=seed, version=version)
    if as_json:
        print_json(scores)
        return
    say_colour_change(scores.colour_change)
    for picture, value in zip(pictures, scores.scores, strict=True):
        click.echo(f"{picture}: {value:.4f} ({_UNITS[scores.kind]})")


def _dimensions(text: str) -> tuple[int, int]:
    try:
        row, column = (int(part) for part in text.split(","))
    except ValueError:
        row = column = -1
    if min(row, column) < 0 or max(row, column) >= 2**32:
        raise InvalidRequest(f"--dims is '{text}'; write two numbers, such as 2,7.", field="dims")
    return row, column


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
