"""`python -m export.int8 MODEL`: writes an int8 variant of an exported PixelRNN, as a model of its own."""

import sys
from pathlib import Path

import click
import numpy as np
import onnx

from evaluation import drawing
from evaluation.graphs import Graphs
from export import graphs, int8_score
from export.errors import ExportRefused
from export.publishing import digests, publish, seal
from export.quantise import quantise
from export.writing import what_next
from smalti.errors import SmaltiError
from smalti.runtime.draw_row import GRAPH
from smalti.runtime.manifest import Manifest, Parity, Quantisation
from smalti.runtime.repository import Model, ModelRepository, read
from training import arguments

SUFFIX = "-int8"
# variant: the weights to quantise, and the largest absolute value that is multiplied with each. The hidden state of an
# LSTM is a sigmoid times a tanh, so 1. The diagonal network is missing: its products are too small to become faster
# (docs/experiments).
BOUNDS = {"lecture": {**{f"recurrent.{gate}": 1.0 for gate in range(4)}, "output": 1.0}}
LARGEST_LOSS = 0.01  # nats per pixel
IMAGES = 128  # drawn by the original; both models are compared on them
SEED = 0


@click.command()
@click.argument("model")
@click.option("--version", type=click.IntRange(1), help="Version of MODEL; the latest by default.")
@arguments.repository
def main(model: str, version: int | None, root: Path) -> None:
    """Write the model MODEL-int8 with MODEL's version, and say how much likelihood it loses."""
    try:
        folder = export_int8(ModelRepository(root).load(model, version), root)
    except SmaltiError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{folder}: {_described(read(folder).manifest)}")
    click.echo(what_next(folder))


def export_int8(original: Model, root: Path) -> Path:
    """Write the int8 variant of a model under `root`; returns its folder.

    Raises ExportRefused if the model can have no variant, if the variant loses too much, or if another model is in
    its place. The repository then stays as it was.
    """
    [folder] = publish(lambda place: [_write(original, place)], root)
    return folder


def _write(original: Model, place: Path) -> Path:
    manifest = original.manifest
    bounds = _bounds(manifest)
    folder = place / f"{manifest.name}{SUFFIX}" / str(manifest.version)
    folder.mkdir(parents=True)
    draw_row = quantise(onnx.load(original.path(GRAPH)), bounds)
    score = int8_score.score_graph(draw_row, manifest.states, height=manifest.height, width=manifest.width)
    written = graphs.save({GRAPH: draw_row, "score": score}, folder)
    variant = Manifest.model_validate(
        manifest.model_dump()
        | {
            "name": f"{manifest.name}{SUFFIX}",
            "graphs": written,
            "files": digests(folder),
            "figures": {},  # the original's figures are not the variant's
            "evaluation": None,
        }
    )
    seal(folder, measured(original, Model(folder, variant)))
    return folder


def _bounds(manifest: Manifest) -> dict[str, float]:
    manifest.require_images()
    if manifest.quantisation:
        raise ExportRefused(f"{manifest.name} is int8 already.")
    if not manifest.draws_rows or manifest.variant not in BOUNDS:
        raise ExportRefused(
            f"{manifest.name} ({manifest.family}, {manifest.variant}) would not be faster as int8; there are int8 "
            f"variants of PixelRNNs of the variant {', '.join(BOUNDS)}."
        )
    return BOUNDS[manifest.variant]


def measured(original: Model, variant: Model) -> Manifest:
    """The variant's manifest with its loss of likelihood; raises ExportRefused if that is too large.

    Both models score images that the original drew, so the mean difference estimates the KL divergence.
    """
    one, other = (Graphs(model, threads=1) for model in (original, variant))
    drawn = drawing.draw(one, IMAGES, SEED)
    expected, found = (graph.run("score", {"pixels": drawn}, ["logp"])[0] for graph in (one, other))
    lost = float((expected - found).mean(dtype=np.float64))
    if not lost < LARGEST_LOSS:
        raise ExportRefused(
            f"{variant.manifest.name} would lose {lost:.4f} nats per pixel, more than {LARGEST_LOSS}: "
            f"use {original.manifest.name} as it is."
        )
    source = original.manifest
    return variant.manifest.model_copy(
        update={
            "parity": Parity(
                max_difference=graphs.largest_difference(expected, found),
                images=IMAGES,
                pixels_equal=bool((drawing.draw(other, IMAGES, SEED) == drawn).all()),
            ),
            "quantisation": Quantisation(
                name=source.name,
                version=source.version,
                digest=source.digest,
                lost_nats_per_pixel=lost,
                images=IMAGES,
            ),
        }
    )


def _described(manifest: Manifest) -> str:
    cost = manifest.quantisation
    assert cost is not None, "it was just measured"
    return (
        f"loses {cost.lost_nats_per_pixel:.5f} nats per pixel over {cost.images} images that "
        f"{cost.name} version {cost.version} drew"
    )


if __name__ == "__main__":
    sys.exit(main())
