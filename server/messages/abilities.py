"""What a model can do, read from its manifest: nothing asks which family it is."""

from dataclasses import dataclass
from enum import StrEnum

from smalti.errors import GraphNotServed
from smalti.runtime.repository import Manifest


class ScoreKind(StrEnum):
    """What the number of a score means."""

    LOG_LIKELIHOOD = "log_likelihood"
    ELBO = "elbo"
    REAL_PROBABILITY = "real_probability"


@dataclass(frozen=True, slots=True)
class Score:
    """The graph that scores images, and its output that is the score."""

    graph: str
    output: str
    kind: ScoreKind


_SCORES = (
    Score("score", "logp", ScoreKind.LOG_LIKELIHOOD),
    Score("score", "elbo", ScoreKind.ELBO),
    Score("discriminate", "probability", ScoreKind.REAL_PROBABILITY),
)
_GENERATORS = ("generate", "decode")  # graphs that turn latents into images


def score_of(manifest: Manifest) -> Score | None:
    """How the model scores images; None where it cannot."""
    for score in _SCORES:
        graph = manifest.graphs.get(score.graph)
        if graph and score.output in graph.signature.outputs:
            return score
    return None


def require_score(manifest: Manifest) -> Score:
    """How the model scores images; raises GraphNotServed where it cannot."""
    score = score_of(manifest)
    if score is None:
        graphs = ", ".join(sorted(manifest.graphs))
        raise GraphNotServed(
            f"{manifest.name} is {manifest.kind} and has no graph that scores images; it has {graphs}."
        )
    return score


def require_generator(manifest: Manifest, *, instead: str = "") -> str:
    """The graph that turns latents into images; raises GraphNotServed, which ends with what to do instead."""
    for graph in _GENERATORS:
        if graph in manifest.graphs:
            return graph
    advice = f"; {instead}" if instead else ""
    raise GraphNotServed(f"{manifest.name} is {manifest.kind} and has no latent to draw from{advice}.")


def pixel_bytes_of(manifest: Manifest) -> int:
    """How many bytes one pixel takes in messages."""
    return 1 if len(manifest.palette) <= 256 else 2
