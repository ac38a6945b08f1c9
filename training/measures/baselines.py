"""Counting baselines: what one can predict by counting; a worse network has learned less than counting.

Every baseline predicts a pixel from counts over the training images. A context that was seldom seen falls back on
shorter ones by Witten and Bell's rule (1991): a context seen n times with t different colours gives its own counts the
weight n/(n + t).
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from training.images import ImageSet, Pixels

Probabilities = NDArray[np.float32]  # of every actual pixel: (images, height, width)
Nats = NDArray[np.float32]  # the cost of every actual pixel: (images, height, width)
Weights = NDArray[np.float32]  # of the mixture: (kinds of neighbourhood, predictors)
MIXTURE = "mixture_with_cache"  # the best of them
EM_ROUNDS = 30
KINDS = 8  # kinds of neighbourhoods, by which of the neighbours are equal
COPY = 0.999  # the probability that a predictor gives to a neighbour's colour; the mixture decides its weight
CHUNK = 256  # images predicted at once: the colour cache needs their pixels one-hot
COUNTED = 4096  # images counted at once
FITTED = 2048  # images used to fit the mixture, at most: it has only some 70 weights
LEAST = 1e-30  # the smallest probability, so that its logarithm is finite


def nats_per_image(images: ImageSet) -> dict[str, NDArray[np.float64]]:
    """Negative log-likelihood of every test image under each baseline: (images,)."""
    return {name: found.sum((1, 2), dtype=np.float64) for name, found in nats_per_pixel(images).items()}


def nats_per_pixel(images: ImageSet) -> dict[str, Nats]:
    """Negative log-likelihood of every test pixel under each baseline: (images, height, width)."""
    counts = Counts(images.train, images.colours)
    weights = _fit_mixture(counts, images.valid)
    parts = [_nats(counts, weights, part) for part in _chunks(images.test, CHUNK)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _nats(counts: "Counts", weights: Weights, pixels: Pixels) -> dict[str, Nats]:
    found = counts.predict(pixels)
    kinds = _agreement(pixels, counts.colours)
    baselines = {
        "uniform": np.full(pixels.shape, 1.0 / counts.colours, dtype=np.float32),
        "colour_frequencies": found["frequency"],
        "left": found["left"],
        "left_up": found["left_up"],
        MIXTURE: (np.stack(list(found.values()), -1) * weights[kinds]).sum(-1),
    }
    return {name: -np.log(np.maximum(chances, LEAST)) for name, chances in baselines.items()}


class Counts:
    """How often each colour followed each context in the training images."""

    def __init__(self, train: Pixels, colours: int) -> None:
        self.colours = colours
        base = colours + 1  # the last symbol is for positions outside the image
        self.of_colour = _Table(1, colours)
        self.after_left, self.after_up = _Table(base, colours), _Table(base, colours)
        self.after_both = _Table(base * base, colours)
        for part in _chunks(train, COUNTED):
            left, up = _neighbour(part, colours, 0, 1), _neighbour(part, colours, 1, 0)
            self.of_colour.add(np.zeros_like(part), part)
            self.after_left.add(left, part)
            self.after_up.add(up, part)
            self.after_both.add(left * base + up, part)

    def predict(self, pixels: Pixels) -> dict[str, Probabilities]:
        """Each predictor's probability of every pixel."""
        base = self.colours + 1
        left, up = _neighbour(pixels, self.colours, 0, 1), _neighbour(pixels, self.colours, 1, 0)
        even: Probabilities = np.full(pixels.shape, 1.0 / self.colours, dtype=np.float32)
        frequency = self.of_colour.blend(np.zeros_like(pixels), pixels, even)
        after_left = self.after_left.blend(left, pixels, frequency)
        after_up = self.after_up.blend(up, pixels, frequency)
        shorter = np.float32(0.5) * (after_left + after_up)
        return {
            "frequency": frequency,
            "left": after_left,
            "up": after_up,
            "left_up": self.after_both.blend(left * base + up, pixels, shorter),
            "cache": _cache(pixels, self.colours),
        } | _copies(pixels, self.colours)


class _Table:
    """How often each colour followed each context."""

    def __init__(self, contexts: int, colours: int) -> None:
        self.counts = np.zeros((contexts, colours), dtype=np.int32)
        self.total = np.zeros(contexts, dtype=np.int64)  # how often each context was seen
        self.kinds = np.zeros(contexts, dtype=np.int64)  # how many different colours followed it

    def add(self, context: Pixels, pixels: Pixels) -> None:
        """Count the pixels of more images."""
        flat = context.ravel() * self.counts.shape[1] + pixels.ravel()
        found = np.bincount(flat, minlength=self.counts.size).reshape(self.counts.shape)
        self.counts += found.astype(np.int32)
        self.total, self.kinds = self.counts.sum(1), (self.counts > 0).sum(1)

    def blend(self, context: Pixels, pixels: Pixels, shorter: Probabilities) -> Probabilities:
        """The pixels' probabilities, blended with those by shorter contexts."""
        total, kinds = self.total[context], self.kinds[context]
        blended = (self.counts[context, pixels] + kinds * shorter) / np.maximum(total + kinds, 1)
        return np.where(total > 0, blended, shorter).astype(np.float32)


def _fit_mixture(counts: Counts, valid: Pixels) -> Weights:
    """The weight of each predictor, for each kind of neighbourhood."""
    if len(valid) > FITTED:
        valid = valid[np.random.default_rng(0).permutation(len(valid))[:FITTED]]
    parts = [np.stack(list(counts.predict(part).values()), -1) for part in _chunks(valid, CHUNK)]
    stacked, kinds = np.concatenate(parts), _agreement(valid, counts.colours)
    return np.stack([_fit(stacked[kinds == kind]) for kind in range(KINDS)])


def _fit(probabilities: Probabilities) -> Weights:
    """The mixture weights (predictors,) that make (pixels, predictors) most likely, by expectation-maximisation."""
    weights = np.full(probabilities.shape[-1], 1.0 / probabilities.shape[-1], dtype=np.float32)
    for _ in range(EM_ROUNDS):
        shares = probabilities * weights
        shares = shares / np.maximum(shares.sum(-1, keepdims=True), LEAST)
        # One pixel in addition, shared by all predictors: with few pixels, no weight may become zero.
        weights = (shares.sum(0) + 1.0 / len(weights)) / (len(shares) + 1.0)
    return weights.astype(np.float32)


def _agreement(pixels: Pixels, colours: int) -> Pixels:
    """Which of the left, upper, upper left and upper right neighbours are equal: a number 0 … 7."""
    left, up = _neighbour(pixels, colours, 0, 1), _neighbour(pixels, colours, 1, 0)
    corner, right = _neighbour(pixels, colours, 1, 1), _neighbour(pixels, colours, 1, -1)
    equal = np.stack([left == up, corner == up, right == up], axis=-1)
    return np.asarray(equal @ np.array([1, 2, 4]))


def _copies(pixels: Pixels, colours: int) -> dict[str, Probabilities]:
    """Predictors that almost always copy a neighbour; outside the image there is nothing to copy."""
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
    flat = pixels.reshape(len(pixels), -1)
    one_hot = np.eye(colours, dtype=np.float32)[flat]  # (images, positions, colours)
    before = one_hot.cumsum(1) - one_hot
    own = np.take_along_axis(before, flat[..., None], 2)[..., 0]
    seen = np.arange(flat.shape[1], dtype=np.float32)
    return np.asarray(((own + 1.0 / colours) / (seen + 1.0)).reshape(pixels.shape), dtype=np.float32)


def _chunks(pixels: Pixels, size: int) -> Iterator[Pixels]:
    for start in range(0, len(pixels), size):
        yield pixels[start : start + size]


def _neighbour(pixels: Pixels, colours: int, rows: int, columns: int) -> Pixels:
    """For every pixel the one `rows` above and `columns` to the left, or `colours` outside the image."""
    outside = np.pad(pixels, ((0, 0), (1, 0), (1, 1)), constant_values=colours)
    height, width = pixels.shape[1:]
    top, side = 1 - rows, 1 - columns
    return outside[:, top : top + height, side : side + width]
