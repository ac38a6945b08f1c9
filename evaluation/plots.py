"""Draws the findings as PNG files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.bound import Bound
from evaluation.likelihood import Likelihood
from evaluation.measure import Findings
from evaluation.memorisation import training_image
from smalti import palette as colours
from training.errors import EvaluationRefused
from training.images import ImageSet, Pixels

PAIRS = 12  # samples shown with their nearest training image
SHOWN_COLOURS = 40  # the most frequent colours of the palette


def save(findings: Findings, folder: Path) -> list[Path]:
    """Write all pictures that the findings allow; returns their paths."""
    made: dict[str, Callable[[Findings], Figure]] = {
        "nearest": _nearest,
        "pairs": _pairs,
        "colours": _colours,
    }
    if isinstance(findings.cost, Likelihood):
        made |= {"images": _images, "positions": _positions}
    if isinstance(findings.cost, Bound) and findings.cost.divergence is not None:
        made |= {"images": _images}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, make in made.items():
            make(findings).savefig(folder / f"{name}.png", dpi=120)
    except OSError as error:
        raise EvaluationRefused(f"{folder} cannot be written to: {error.strerror}.") from error
    return [folder / f"{name}.png" for name in made]


def _images(findings: Findings) -> Figure:
    """One point per test image: its cost under the model against its cost by counting."""
    assert findings.cost is not None, "this picture is made only if there is a likelihood"
    what = "−ELBO" if isinstance(findings.cost, Bound) else "negative log-likelihood"
    counted, nats = findings.cost.mixture_nats, findings.cost.nats
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot(xlabel="counting mixture, nats/image", ylabel=f"{what}, nats/image")
    ends = [min(counted.min(), nats.min()), max(counted.max(), nats.max())]
    axes.plot(ends, ends, color="grey", linewidth=1)
    axes.scatter(counted, nats, s=12 if len(nats) < 1000 else 2, alpha=0.7)
    below = float((nats < counted).mean())
    axes.set_title(f"{_name(findings)}: {below:.0%} of {len(nats)} images below the line", fontsize=9)
    return figure


def _positions(findings: Findings) -> Figure:
    """The mean nats of every position: under the model, by counting, and the difference."""
    assert isinstance(findings.cost, Likelihood)
    model = findings.cost.model.mean(axis=0)
    counted = findings.cost.counted["mixture_with_cache"].mean(axis=0)
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    top = max(model.max(), counted.max())
    _map(figure, left, model, "model, nats/pixel", (0, top), "viridis")
    _map(figure, middle, counted, "counting mixture", (0, top), "viridis")
    reach = float(np.abs(model - counted).max())
    _map(figure, right, model - counted, "model − mixture", (-reach, reach), "RdBu_r")
    figure.suptitle(_name(findings), fontsize=9)
    return figure


def _map(
    figure: Figure,
    axes: Axes,
    values: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    title: str,
    limits: tuple[float, float],
    shades: str,
) -> None:
    shown = axes.imshow(values, vmin=limits[0], vmax=limits[1], cmap=shades)
    axes.set_title(title, fontsize=9)
    axes.set_axis_off()
    figure.colorbar(shown, ax=axes)


def _nearest(findings: Findings) -> Figure:
    """How near samples come to training images, compared with test images."""
    found = findings.memorisation
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot(
        xlabel="distance of the nearest training image, CIELAB a pixel", ylabel="images nearer"
    )
    kinds = {
        f"{len(findings.drawn)} samples": found.drawn,
        "test images": found.test,
        "training images (the nearest other one)": found.train,
    }
    for label, nearest in kinds.items():
        axes.ecdf(nearest.distance, label=label)
    axes.axvline(float(np.quantile(found.test.distance, 0.05)), color="grey", linewidth=1, linestyle=":")
    axes.axhline(0.05, color="grey", linewidth=1, linestyle=":")
    axes.legend(fontsize=8)
    axes.set_title(_name(findings), fontsize=9)
    return figure


def _pairs(findings: Findings) -> Figure:
    """The samples that are nearest to a training image, each above that image."""
    found, images = findings.memorisation.drawn, findings.images
    closest = np.argsort(found.distance, kind="stable")[:PAIRS]
    figure = Figure(figsize=(len(closest), 2.6), layout="constrained")
    grid = figure.subplots(2, len(closest), squeeze=False)
    for column, sample in enumerate(closest):
        _picture(grid[0, column], findings.drawn[sample], images, f"{found.distance[sample]:.1f}")
        _picture(grid[1, column], training_image(images, int(found.index[sample])), images, "")
    title = f"{_name(findings)}: the samples nearest to a training image, above it, and their distance"
    figure.suptitle(title, fontsize=9)
    return figure


def _picture(axes: Axes, pixels: Pixels, images: ImageSet, title: str) -> None:
    axes.imshow(colours.paint(pixels, colours.parse(images.palette)), interpolation="nearest")
    axes.set_axis_off()
    axes.set_title(title, fontsize=8)


def _colours(findings: Findings) -> Figure:
    """The shares of the most frequent colours: test images upwards, samples downwards, each in its own colour."""
    drawn, test = findings.colouring.drawn.shares, findings.colouring.test.shares
    shown = np.argsort(-(drawn + test), kind="stable")[:SHOWN_COLOURS]
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.add_subplot(ylabel="share of pixels: test images up, samples down")
    painted = [findings.images.palette[colour] for colour in shown]
    places = np.arange(len(shown))
    axes.bar(places, test[shown], color=painted, edgecolor="grey", linewidth=0.5)
    axes.bar(places, -drawn[shown], color=painted, edgecolor="grey", linewidth=0.5)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_yscale("symlog", linthresh=0.01)
    axes.set_xticks([])
    axes.set_title(f"{_name(findings)}: the {len(shown)} most frequent colours", fontsize=9)
    return figure


def _name(findings: Findings) -> str:
    return f"{findings.manifest.name} version {findings.manifest.version}"
