"""Measures all that a model's graphs allow: likelihood, resemblance, memorisation, colours."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from evaluation import abilities, bound, colouring, drawing, likelihood, memorisation, resemblance
from evaluation.abilities import Cost
from evaluation.bound import Bound
from evaluation.colouring import Colouring
from evaluation.graphs import Graphs
from evaluation.likelihood import Likelihood
from evaluation.memorisation import Memorisation
from evaluation.resemblance import Resemblance
from smalti.runtime.manifest import Manifest
from training.errors import EvaluationRefused
from training.images import ImageSet, Pixels
from training.measures.distances import Yardstick

LEAST_SAMPLES = 20  # fewer say nothing about a distribution


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How many samples to draw, and with which seed."""

    samples: int = 500  # images
    seed: int = 0
    importance_samples: int = 500  # for each image of a VAE
    importance_images: int | None = None  # test images to draw them for; None: as many as take a minute


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What was measured of one model, and the images that its plots show."""

    manifest: Manifest
    images: ImageSet
    drawn: Pixels
    cost: Likelihood | Bound | None  # in nats; None for a model without a likelihood
    resemblance: Resemblance
    memorisation: Memorisation
    colouring: Colouring

    def figures(self) -> dict[str, Any]:
        """The figures by kind: numbers, words and Estimates in nested tables."""
        samples = {
            "resemblance": self.resemblance.figures(),
            "memorisation": self.memorisation.figures(),
            "colours": self.colouring.figures(),
        }
        if self.cost is None:
            return samples
        return {"likelihood" if isinstance(self.cost, Likelihood) else "bound": self.cost.figures()} | samples


def measure(graphs: Graphs, images: ImageSet, effort: Effort, *, say: Callable[[str], None]) -> Findings:
    """Measure a model on the test images of its own data; raises EvaluationRefused. `say` gets each stage's name."""
    _refuse_foreign(graphs.manifest, images)
    say(f"scoring {len(images.test)} test images")
    cost = _cost(graphs, images, effort)
    say(f"drawing {effort.samples} samples")
    drawn = drawing.draw(graphs, effort.samples, effort.seed, say=say)
    say("comparing them with training and test images")
    return Findings(
        manifest=graphs.manifest,
        images=images,
        drawn=drawn,
        cost=cost,
        resemblance=resemblance.measure(Yardstick(images.train, images.palette), drawn, images),
        memorisation=memorisation.measure(drawn, images, mirrored=_mirrored(graphs.manifest)),
        colouring=colouring.measure(drawn, images),
    )


def _cost(graphs: Graphs, images: ImageSet, effort: Effort) -> Likelihood | Bound | None:
    kind = abilities.cost(graphs.manifest)
    if kind is Cost.NONE:
        return None
    if kind is Cost.EXACT:
        return likelihood.measure(graphs, images)
    return bound.measure(
        graphs,
        images,
        seed=effort.seed,
        samples=effort.importance_samples,
        importance_images=effort.importance_images,
    )


def _refuse_foreign(manifest: Manifest, images: ImageSet) -> None:
    if manifest.data.digest != images.about.digest:
        raise EvaluationRefused(
            f"{manifest.name} was trained on {manifest.data.name} (SHA-256 {manifest.data.digest[:12]}…), and these "
            f"are {images.about.name} ({images.about.digest[:12]}…): give the path of its own data with --data."
        )
    size = (manifest.height, manifest.width)
    if size != (images.height, images.width) or manifest.palette != images.palette:
        raise EvaluationRefused(
            f"The data give images of {images.height}×{images.width} in {images.colours} colours and {manifest.name} "
            f"has {size[0]}×{size[1]} in {len(manifest.palette)}: its manifest does not say how its images were made."
        )


def _mirrored(manifest: Manifest) -> bool:
    """Whether training showed the network mirrored images."""
    return bool(manifest.recipe.get("optimiser", {}).get("flip", 0.0))
