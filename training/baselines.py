"""What counting alone achieves: a network that does worse has learned less than counting.

Every baseline predicts a pixel from counts over the training images. Contexts never seen fall back on shorter ones by
Witten and Bell's rule (1991): a context seen n times with t different continuations trusts its own counts n/(n + t).
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from training.data import ImageSet
from training.sources import Pixels

Probabilities = NDArray[np.float32]  # of the pixel that is there: (images, height, width)
EM_ROUNDS = 30
COPY = (
    0.999  # how sure a predictor is that copies a neighbour: the mixture's weights say how far to believe it
)
CHUNK = 256  # images counted at once in the colour cache, which needs their pixels one-hot


def nats_per_image(images: ImageSet) -> dict[str, float]:
    """Mean negative log-likelihood of the test images under each baseline."""
    counts = Counts(images.train, images.colours)
    test, valid = counts.predict(images.test), counts.predict(images.valid)
    uniform = images.height * images.width * float(np.log(images.colours))
    return {
        "uniform": uniform,
        "colour_frequencies": _nats(test["frequency"]),
        "left": _nats(test["left"]),
        "left_up": _nats(test["left_up"]),
        "mixture_with_cache": _nats(_mix(test, valid, images)),
    }


class Counts:
    """How often each colour followed each context in the training images."""

    def __init__(self, train: Pixels, colours: int) -> None:
        self.colours = colours
        left, up = _neighbour(train, colours, 0, 1), _neighbour(train, colours, 1, 0)
        base = colours + 1  # the last symbol stands outside of the image
        self.of_colour = np.bincount(train.ravel(), minlength=colours)
        self.after_left = _table(left, train, base, colours)
        self.after_up = _table(up, train, base, colours)
        self.after_both = _table(left * base + up, train, base * base, colours)

    def predict(self, pixels: Pixels) -> dict[str, Probabilities]:
        """Each predictor's probability of every pixel."""
        base = self.colours + 1
        left, up = _neighbour(pixels, self.colours, 0, 1), _neighbour(pixels, self.colours, 1, 0)
        even: Probabilities = np.full(pixels.shape, 1.0 / self.colours, dtype=np.float32)
        frequency = _blend(self.of_colour[None], np.zeros_like(pixels), pixels, even)
        after_left = _blend(self.after_left, left, pixels, frequency)
        after_up = _blend(self.after_up, up, pixels, frequency)
        after_both = _blend(
            self.after_both, left * base + up, pixels, np.float32(0.5) * (after_left + after_up)
        )
        return {
            "frequency": frequency,
            "left": after_left,
            "up": after_up,
            "left_up": after_both,
            "cache": _cache(pixels, self.colours),
        } | _copies(pixels, self.colours)


def _mix(test: dict[str, Probabilities], valid: dict[str, Probabilities], images: ImageSet) -> Probabilities:
    """A mixture of all predictors; its weights depend on which neighbours agree, and are fitted to the valid images."""
    kinds, test_kinds = _agreement(images.valid, images.colours), _agreement(images.test, images.colours)
    stacked, test_stacked = np.stack(list(valid.values()), -1), np.stack(list(test.values()), -1)
    mixed = np.empty(images.test.shape, dtype=np.float32)
    for kind in np.unique(test_kinds):
        weights = _fit(stacked[kinds == kind])
        mixed[test_kinds == kind] = test_stacked[test_kinds == kind] @ weights
    return mixed


def _fit(probabilities: Probabilities) -> Probabilities:
    """The mixture weights (predictors,) that make (pixels, predictors) most likely, by expectation-maximisation."""
    weights = np.full(probabilities.shape[-1], 1.0 / probabilities.shape[-1], dtype=np.float32)
    for _ in range(EM_ROUNDS):
        shares = probabilities * weights
        shares = shares / np.maximum(shares.sum(-1, keepdims=True), 1e-30)
        # One pixel's worth of doubt for every predictor: none may fall to zero on a few pixels.
        weights = (shares.sum(0) + 1.0 / len(weights)) / (len(shares) + 1.0)
    return weights.astype(np.float32)


def _agreement(pixels: Pixels, colours: int) -> Pixels:
    """Which of the left, upper, upper left and upper right neighbours are equal: a number 0 … 7."""
    left, up = _neighbour(pixels, colours, 0, 1), _neighbour(pixels, colours, 1, 0)
    corner, right = _neighbour(pixels, colours, 1, 1), _neighbour(pixels, colours, 1, -1)
    equal = np.stack([left == up, corner == up, right == up], axis=-1)
    return np.asarray(equal @ np.array([1, 2, 4]))


def _copies(pixels: Pixels, colours: int) -> dict[str, Probabilities]:
    """Copying a neighbour nearly always, any colour else; outside of the image there is nothing to copy."""
    offsets = {"left": (0, 1), "up": (1, 0), "up_left": (1, 1), "up_right": (1, -1)}
    return {
        f"copy_{name}": _copy(_neighbour(pixels, colours, *offset), pixels, colours)
        for name, offset in offsets.items()
    }


def _copy(neighbour: Pixels, pixels: Pixels, colours: int) -> Probabilities:
    sure = np.where(neighbour == colours, 0.0, COPY)
    return np.asarray(sure * (neighbour == pixels) + (1.0 - sure) / colours, dtype=np.float32)


def _cache(pixels: Pixels, colours: int) -> Probabilities:
    """The share of the pixel's colour among the image's pixels so far."""
    parts = np.array_split(pixels, max(1, -(-len(pixels) // CHUNK)))
    return np.concatenate(list(_cache_parts(parts, colours)))


def _cache_parts(parts: list[Pixels], colours: int) -> Iterator[Probabilities]:
    for part in parts:
        flat = part.reshape(len(part), -1)
        one_hot = np.eye(colours, dtype=np.float32)[flat]  # (images, positions, colours)
        before = one_hot.cumsum(1) - one_hot
        own = np.take_along_axis(before, flat[..., None], 2)[..., 0]
        seen = np.arange(flat.shape[1], dtype=np.float32)
        yield ((own + 1.0 / colours) / (seen + 1.0)).reshape(part.shape)


def _neighbour(pixels: Pixels, colours: int, rows: int, columns: int) -> Pixels:
    """The pixel so many rows above and columns to the left of each, or `colours` outside of the image."""
    outside = np.pad(pixels, ((0, 0), (1, 0), (1, 1)), constant_values=colours)
    height, width = pixels.shape[1:]
    top, side = 1 - rows, 1 - columns
    return outside[:, top : top + height, side : side + width]


def _table(context: Pixels, pixels: Pixels, contexts: int, colours: int) -> NDArray[np.int32]:
    flat = context.ravel() * colours + pixels.ravel()
    return np.bincount(flat, minlength=contexts * colours).reshape(contexts, colours).astype(np.int32)


def _blend(
    table: NDArray[np.integer], context: Pixels, pixels: Pixels, shorter: Probabilities
) -> Probabilities:
    total, kinds = table.sum(1)[context], (table > 0).sum(1)[context]
    blended = (table[context, pixels] + kinds * shorter) / np.maximum(total + kinds, 1)
    return np.where(total > 0, blended, shorter).astype(np.float32)


def _nats(probabilities: Probabilities) -> float:
    return float(-np.log(np.maximum(probabilities, 1e-30), dtype=np.float64).sum((1, 2)).mean())
