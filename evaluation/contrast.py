"""Compares a VAE with an auto-encoder at latents that belong to no image: between images, and far from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from evaluation import abilities, places
from evaluation.graphs import Graphs
from evaluation.places import Cloud, Latents
from evaluation.resemblance import density_and_coverage
from smalti.runtime.manifest import Manifest
from training.errors import EvaluationRefused
from training.images import ImageSet, Pixels
from training.measures.distances import SCALE, Features, Yardstick, kernel_distance

Value = TypeVar("Value", bound=np.generic)
COMPARED = 2000  # images of each kind, at most: all pairs are compared
PLACES = {  # the latents that are decoded, in words
    "images": "latents of test images",
    "between": "halfway between two",
    "swept": "swept, two at a time",
    "fitted": "normal, fitted to the images' latents",
    "prior": "N(0, 1)",
}


@dataclass(frozen=True, slots=True)
class Likeness:
    """How much images resemble real ones, as a whole and one by one."""

    # Kernel distance to the test images, in thousandths. It grows if one kind of image is drawn too often.
    distance: float
    # How often they lie near training images; about 1 for real images. It stays the same if one kind is too frequent.
    density: float

    def figures(self) -> dict[str, float]:
        """Plain values."""
        return {"kernel_distance": round(self.distance, 1), "density": round(self.density, 3)}


@dataclass(frozen=True, slots=True)
class Decoded:
    """What one model decodes from places in its latent space."""

    manifest: Manifest
    cloud: Cloud  # of the test images' latents
    dimensions: tuple[int, int]  # of the sweep: row, column
    likeness: dict[str, Likeness]  # by place
    sweep: Pixels  # (steps², height, width)
    plane: Pixels  # the same
    drawn: Pixels  # from N(0, 1)

    def figures(self) -> dict[str, Any]:
        """Plain values; the deviations say how far the latents are from N(0, 1)."""
        deviations = self.cloud.deviations
        return {
            "decoded_from": {name: found.figures() for name, found in self.likeness.items()},
            "latent_deviation": {
                "least": round(float(deviations.min()), 2),
                "most": round(float(deviations.max()), 2),
            },
            "swept_dimensions": list(self.dimensions),
        }


@dataclass(frozen=True, slots=True)
class Contrast:
    """All models, with the figures of real images for comparison."""

    images: ImageSet
    corners: Pixels  # the four test images between which the plane lies: (4, height, width)
    models: tuple[Decoded, ...]
    floor: Likeness  # real images: distance from training to test images, density of test images

    def figures(self) -> dict[str, Any]:
        """All figures, for programs."""
        found = {model.manifest.name: model.figures() for model in self.models}
        return {"real_images": self.floor.figures(), "test_images": len(self.images.test), "models": found}


def measure(
    models: Sequence[Graphs], images: ImageSet, *, seed: int, count: int, steps: int, drawn: int
) -> Contrast:
    """Decode the same places in each model's latent space: `count` of each kind, and grids of `steps` a side.

    Raises EvaluationRefused for a model without an encoder, or one that was not trained on these images.
    """
    for graphs in models:
        _refuse_foreign(graphs.manifest, images)
    ruler = _Ruler.of(images, seed)
    chosen = np.random.default_rng([seed, 4]).permutation(len(images.test))[:4]
    corners = images.test[chosen]
    explored = tuple(
        _explore(graphs, images.test, ruler, corners, seed, count, steps, drawn) for graphs in models
    )
    return Contrast(images, corners, explored, ruler.floor())


@dataclass(frozen=True, slots=True)
class _Ruler:
    """Features of real images: (images, features)."""

    yardstick: Yardstick
    train: Features
    test: Features

    @classmethod
    def of(cls, images: ImageSet, seed: int) -> "_Ruler":
        yardstick = Yardstick(images.train, images.palette)
        train, test = (yardstick.features(_some(part, seed)) for part in (images.train, images.test))
        return cls(yardstick, train, test)

    def likeness(self, pixels: Pixels) -> Likeness:
        features = self.yardstick.features(pixels)
        density, _ = density_and_coverage(self.train, features)
        return Likeness(kernel_distance(features, self.test) * SCALE, density)

    def floor(self) -> Likeness:
        density, _ = density_and_coverage(self.train, self.test)
        return Likeness(kernel_distance(self.train, self.test) * SCALE, density)


def _explore(
    graphs: Graphs,
    test: Pixels,
    ruler: _Ruler,
    corners: Pixels,
    seed: int,
    count: int,
    steps: int,
    drawn: int,
) -> Decoded:
    means = encode(graphs, test)
    cloud = Cloud.of(means)
    found = {name: decode(graphs, latent) for name, latent in _latents(means, cloud, seed, count).items()}
    dimensions = cloud.widest()
    return Decoded(
        manifest=graphs.manifest,
        cloud=cloud,
        dimensions=dimensions,
        likeness={name: ruler.likeness(pixels) for name, pixels in found.items()},
        sweep=decode(graphs, places.sweep(cloud, dimensions, steps)),
        plane=decode(graphs, places.plane(encode(graphs, corners), steps)),
        drawn=found["prior"][:drawn],
    )


def _latents(means: Latents, cloud: Cloud, seed: int, count: int) -> dict[str, Latents]:
    """Latents for each of PLACES; with the same seed, every model gets the same pairs and directions."""
    rngs = {name: np.random.default_rng([seed, number]) for number, name in enumerate(PLACES)}
    return {
        "images": _some(means, seed),
        "between": places.between(means, count, rngs["between"]),
        "swept": places.swept(cloud, count, rngs["swept"]),
        "fitted": places.fitted(cloud, count, rngs["fitted"]),
        "prior": places.prior(means.shape[1], count, rngs["prior"]),
    }


def encode(graphs: Graphs, pixels: Pixels) -> Latents:
    """The means of the images' latents: (images, height, width) → (images, latents)."""
    [means] = graphs.run("encode", {"pixels": pixels}, ["mean"])
    return np.asarray(means)


def decode(graphs: Graphs, latent: Latents) -> Pixels:
    """The most likely images: (images, latents) → (images, height, width)."""
    [pixels] = graphs.run("decode", {"latent": latent}, ["pixels"])
    return np.asarray(pixels)


def _some(values: NDArray[Value], seed: int) -> NDArray[Value]:
    """At most COMPARED of the values, spread over all: neighbours are often of one class."""
    return values[np.sort(np.random.default_rng([seed, 9]).permutation(len(values))[:COMPARED])]


def _refuse_foreign(manifest: Manifest, images: ImageSet) -> None:
    if not abilities.encodes(manifest):
        raise EvaluationRefused(
            f"{manifest.name} is {manifest.kind} and has no encoder: give a VAE and an auto-encoder."
        )
    if manifest.data.digest != images.about.digest or manifest.palette != images.palette:
        raise EvaluationRefused(
            f"{manifest.name} was trained on other images ({manifest.data.name}), or with another palette: "
            "give models and --data that belong together."
        )
    if len(images.test) < 4:
        raise EvaluationRefused("A grid needs four test images at its corners; there are fewer.")
