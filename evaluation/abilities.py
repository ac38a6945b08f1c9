"""What a model can do, by the graphs in its manifest."""

from enum import Enum, auto

from smalti.runtime.manifest import Manifest


class Cost(Enum):
    """How a model can say what an image costs, in nats."""

    EXACT = auto()  # log-likelihood of every pixel
    BOUND = auto()  # −ELBO
    RECONSTRUCTION = auto()  # the reconstruction error alone, which is not a bound of the likelihood
    NONE = auto()


def cost(manifest: Manifest) -> Cost:
    """How the model's graphs can say what an image costs."""
    if manifest.score and manifest.score.kind == "log_likelihood":
        return Cost.EXACT
    if not encodes(manifest):
        return Cost.NONE
    return Cost.BOUND if manifest.graphs["encode"].gives("log_deviation") else Cost.RECONSTRUCTION


def encodes(manifest: Manifest) -> bool:
    """Whether the model turns images into latents, and latents back into images."""
    return {"encode", "decode"} <= manifest.graphs.keys()
