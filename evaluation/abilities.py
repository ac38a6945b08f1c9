"""What a model can do, by the graphs in its manifest."""

from enum import Enum, auto

from smalti.errors import GraphNotServed
from smalti.runtime.repository import Manifest

FROM_LATENT = ("decode", "generate")  # graphs that turn a latent into pixels


class Cost(Enum):
    """How a model can say what an image costs, in nats."""

    EXACT = auto()  # log-likelihood of every pixel
    BOUND = auto()  # −ELBO
    RECONSTRUCTION = auto()  # the reconstruction error alone, which bounds no likelihood
    NONE = auto()


def cost(manifest: Manifest) -> Cost:
    """What the model's graphs allow to measure of an image's likelihood."""
    if "logp" in _outputs(manifest, "score"):
        return Cost.EXACT
    if not encodes(manifest):
        return Cost.NONE
    return Cost.BOUND if "log_deviation" in _outputs(manifest, "encode") else Cost.RECONSTRUCTION


def draws_rows(manifest: Manifest) -> bool:
    """Whether the model draws an image row by row."""
    return "draw_row" in manifest.graphs


def encodes(manifest: Manifest) -> bool:
    """Whether the model turns images into latents, and latents back into images."""
    return {"encode", "decode"} <= manifest.graphs.keys()


def graph_from_latent(manifest: Manifest) -> str:
    """The name of the graph that turns a latent into pixels; raises GraphNotServed if the model has none."""
    for name in FROM_LATENT:
        if name in manifest.graphs:
            return name
    raise GraphNotServed(
        f"{manifest.name} has no graph {' or '.join(FROM_LATENT)}, so it cannot draw from latents."
    )


def _outputs(manifest: Manifest, graph: str) -> set[str]:
    return {output.name for output in manifest.graphs[graph].outputs} if graph in manifest.graphs else set()
