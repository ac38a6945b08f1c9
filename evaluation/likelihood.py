"""Measures the exact negative log-likelihood of test images, next to counting baselines on the same images."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.graphs import Graphs
from training.errors import EvaluationRefused
from training.images import Groups, ImageSet
from training.measures import baselines
from training.measures.comparison import against, units
from training.measures.intervals import Values, estimate

HIDDEN = (0.5, 0.75)  # the lower parts of an image that are hidden and completed, as in the lecture


@dataclass(frozen=True, slots=True)
class Likelihood:
    """The negative log-likelihood of every test pixel, in nats: (images, height, width) each."""

    model: NDArray[np.float32]
    counted: Mapping[str, NDArray[np.float32]]  # by baseline
    groups: Groups | None

    @property
    def nats(self) -> Values:
        """What every image costs: (images,)."""
        return np.asarray(self.model.sum((1, 2), dtype=np.float64))

    @property
    def mixture_nats(self) -> Values:
        """What every image costs under the best baseline: (images,)."""
        return np.asarray(self.counted[baselines.MIXTURE].sum((1, 2), dtype=np.float64))

    def figures(self) -> dict[str, Any]:
        """The exact likelihood, the baselines, and completion."""
        pixels = self.model[0].size
        counted = {name: found.sum((1, 2), dtype=np.float64) for name, found in self.counted.items()}
        return {
            **units(estimate(self.nats, self.groups), pixels),
            "baselines": against(self.nats, counted, self.groups),
            "completion": {f"hidden_{round(100 * part)}_percent": self.completion(part) for part in HIDDEN},
        }

    def completion(self, part: float) -> dict[str, Any]:
        """What the lower `part` of the rows costs, given the rows above; exact, because pixels are in raster order."""
        rows = round(part * self.model.shape[1])
        model, mixture = (
            found[:, -rows:].sum((1, 2), dtype=np.float64)
            for found in (self.model, self.counted[baselines.MIXTURE])
        )
        return {
            "pixels": rows * self.model.shape[2],
            "nats_per_image": estimate(model, self.groups),
            "baselines": against(model, {baselines.MIXTURE: mixture}, self.groups),
        }


def measure(graphs: Graphs, images: ImageSet) -> Likelihood:
    """Score the test images by the exported graph `score`; raises EvaluationRefused if a result is not a number."""
    [log_probabilities] = graphs.run("score", {"pixels": images.test}, ["logp"])
    if not np.isfinite(log_probabilities).all():
        raise EvaluationRefused(f"{graphs.name} gives test images probabilities that are not numbers.")
    return Likelihood(-log_probabilities, baselines.nats_per_pixel(images), images.test_groups)
