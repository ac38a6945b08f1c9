"""Draws a contrast as one PNG: a line for each model, with its figures and its three grids."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.contrast import PLACES, Contrast, Decoded, Likeness
from evaluation.places import REACH
from smalti import palette as colours
from training.errors import EvaluationRefused
from training.images import ImageSet, Pixels

GAP = 1  # pixels between images
SIDE = 4.6  # of one grid, inches
LINEAR = 10.0  # distances up to here are drawn as they are, larger ones by their logarithm


def save(contrast: Contrast, file: Path) -> None:
    """Write the picture; raises EvaluationRefused where the file cannot be written."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        figure(contrast).savefig(file, dpi=110)
    except OSError as error:
        raise EvaluationRefused(f"{file} cannot be written: {error.strerror}.") from error


def figure(contrast: Contrast) -> Figure:
    """For each model: its distances as bars, its sweep, its plane and its draws."""
    rows = len(contrast.models)
    made = Figure(figsize=(SIDE * 4.1, (SIDE + 0.4) * rows + 0.4), layout="constrained")
    for row, model in zip(made.subplots(rows, 4, squeeze=False), contrast.models, strict=True):
        _bars(row[0], model, contrast)
        for axes, (pixels, title) in zip(row[1:], _grids(model), strict=True):
            _show(axes, pixels, contrast.images, title)
    made.suptitle(
        f"{contrast.images.about.name}: images decoded from latents of no image.  d: kernel distance to "
        f"{len(contrast.images.test)} test images, in thousandths;  p: density among training images.  "
        f"Real images: {_words(contrast.floor)}",
        fontsize=12,
    )
    return made


def _bars(axes: Axes, model: Decoded, contrast: Contrast) -> None:
    distances = [model.likeness[name].distance for name in PLACES]
    most = max(found.distance for other in contrast.models for found in other.likeness.values())
    axes.barh(range(len(PLACES)), distances, color="#4c72b0")
    axes.axvline(contrast.floor.distance, color="black", linewidth=1, linestyle=":")
    axes.set_yticks(
        range(len(PLACES)), [f"{words}\n{_words(model.likeness[name])}" for name, words in PLACES.items()]
    )
    axes.invert_yaxis()
    axes.set_xscale("symlog", linthresh=LINEAR)
    axes.set_xlim(0, most * 1.2)
    axes.set_xlabel("d (dotted: training images)")
    deviations = model.cloud.deviations
    axes.set_title(
        f"{model.manifest.name}\nits latents deviate by {deviations.min():.2g} to {deviations.max():.2g}",
        fontsize=11,
    )


def _grids(model: Decoded) -> list[tuple[Pixels, str]]:
    row, column = model.dimensions
    likeness = {name: _words(found) for name, found in model.likeness.items()}
    return [
        (
            model.sweep,
            f"latents {row} (down) and {column} over ±{REACH:g} deviations\nsweeps: {likeness['swept']}",
        ),
        (model.plane, f"between the latents of four test images\nhalfway between two: {likeness['between']}"),
        (model.drawn, f"latents from N(0, 1)\n{likeness['prior']}"),
    ]


def _words(found: Likeness) -> str:
    return f"d {found.distance:.0f}, p {found.density:.2f}"


def _show(axes: Axes, pixels: Pixels, images: ImageSet, title: str) -> None:
    painted = colours.paint(pixels, colours.parse(images.palette))
    axes.imshow(_sheet(painted, columns=round(len(pixels) ** 0.5)), interpolation="nearest")
    axes.set_axis_off()
    axes.set_title(title, fontsize=11)


def _sheet(
    painted: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], columns: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """(images, height, width, 3) → one picture, grey lines between."""
    count, height, width, _ = painted.shape
    rows = -(-count // columns)
    sheet = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, 3), 128, dtype=np.uint8)
    for number, image in enumerate(painted):
        top, left = (
            GAP + place * (side + GAP)
            for place, side in zip(divmod(number, columns), (height, width), strict=True)
        )
        sheet[top : top + height, left : left + width] = image
    return sheet
