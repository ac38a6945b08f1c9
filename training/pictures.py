"""Draws a training's pictures: a sheet of images, and the curve of its figures."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from smalti import palette as colours
from training.checkpoint import Point, written
from training.images import Pixels

COLUMNS = 16
SCALE = 4  # width and height of an image's pixel, in pixels of the picture
GAP = 1  # pixels between images


def save_sheet(images: Pixels, palette: Sequence[str], file: Path) -> None:
    """Write images (count, height, width) side by side as a PNG."""
    painted = colours.paint(_grid(images), colours.parse(palette))
    large = painted.repeat(SCALE, axis=0).repeat(SCALE, axis=1)
    stream = io.BytesIO()
    Image.fromarray(large).save(stream, "PNG")
    _replace(file, stream.getvalue())


def save_curve(curve: Sequence[Point], unit: str, file: Path) -> None:
    """Write the training and validation figures over the steps as a PNG."""
    from matplotlib.figure import Figure  # slow to import; without pyplot it keeps no global state

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel=unit)
    axes.plot([point.step for point in curve], [point.train for point in curve], label="train")
    validated = [(point.step, point.valid) for point in curve if point.valid is not None]
    if validated:
        axes.plot(*zip(*validated, strict=True), label="valid")
    axes.legend()
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=120)
    _replace(file, stream.getvalue())


def _grid(images: Pixels) -> Pixels:
    count, height, width = images.shape
    lines = -(-count // COLUMNS)
    grid = np.zeros((lines * (height + GAP) - GAP, COLUMNS * (width + GAP) - GAP), dtype=images.dtype)
    for number, image in enumerate(images):
        line, column = divmod(number, COLUMNS)
        top, left = line * (height + GAP), column * (width + GAP)
        grid[top : top + height, left : left + width] = image
    return grid


def _replace(file: Path, content: bytes) -> None:
    """Write atomically, so that a viewer always sees a complete file."""
    with written(file) as stream:
        stream.write(content)
