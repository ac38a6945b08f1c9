"""The registry of families: which graphs a model of each family has, and how it scores. A new family adds an entry."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from smalti.runtime import draw_row
from smalti.runtime.draw_row import StateKind
from smalti.runtime.signature import Kind, Signature, Tensors

FamilyName: TypeAlias = Literal["pixel_rnn", "vae", "autoencoder", "gan"]
Medium: TypeAlias = Literal["image", "tensors"]
ScoreKind: TypeAlias = Literal["log_likelihood", "elbo", "real_probability"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The sizes of a model, on which the shapes of its tensors depend."""

    height: int
    width: int
    latent_size: int = 0
    states: Sequence[StateKind] = ()


class ScoreOutput(NamedTuple):
    """The number by which a graph judges images: its output, and what kind of number that is."""

    output: str
    kind: ScoreKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What all models of one family have in common."""

    main: str  # the graph that no model of the family lacks
    signatures: Callable[[Sizes], Mapping[str, Signature]]  # of every graph that a model may have, by name
    has_latents: bool = False
    has_states: bool = False  # whether `draw_row` hands states from row to row
    scores: Mapping[str, ScoreOutput] = field(default_factory=dict)  # by the graph that gives the score

    def score_graph(self, graphs: Iterable[str]) -> str | None:
        """The one of these graphs that scores; None if there is none."""
        return next((graph for graph in graphs if graph in self.scores), None)


def _pixels(sizes: Sizes) -> Tensors:
    return {"pixels": ("int64", (-1, sizes.height, sizes.width))}


def _latent(sizes: Sizes) -> Kind:
    return "float32", (-1, sizes.latent_size)


def _from_latent(sizes: Sizes) -> Signature:
    return Signature({"latent": _latent(sizes)}, _pixels(sizes))


def _pixel_rnn(sizes: Sizes) -> Mapping[str, Signature]:
    logp: Tensors = {"logp": ("float32", (-1, sizes.height, sizes.width))}
    return {
        draw_row.GRAPH: draw_row.signature(sizes.width, sizes.states),
        "score": Signature(_pixels(sizes), logp),
    }


def _vae(sizes: Sizes) -> Mapping[str, Signature]:
    pixels, latent = _pixels(sizes), _latent(sizes)
    return {
        "encode": Signature(pixels, {"mean": latent, "log_deviation": latent}),
        "decode": _from_latent(sizes),
        "score": Signature({**pixels, "noise": latent}, {"elbo": ("float32", (-1,))}),
    }


def _autoencoder(sizes: Sizes) -> Mapping[str, Signature]:
    return {
        "encode": Signature(_pixels(sizes), {"mean": _latent(sizes)}),
        "decode": _from_latent(sizes),
    }


def _gan(sizes: Sizes) -> Mapping[str, Signature]:
    return {
        "generate": _from_latent(sizes),
        "discriminate": Signature(_pixels(sizes), {"probability": ("float32", (-1,))}),
    }


FAMILIES: Mapping[FamilyName, Family] = {
    "pixel_rnn": Family(
        main=draw_row.GRAPH,
        signatures=_pixel_rnn,
        has_states=True,
        scores={"score": ScoreOutput("logp", "log_likelihood")},
    ),
    "vae": Family(
        main="decode", signatures=_vae, has_latents=True, scores={"score": ScoreOutput("elbo", "elbo")}
    ),
    "autoencoder": Family(main="decode", signatures=_autoencoder, has_latents=True),
    "gan": Family(
        main="generate",
        signatures=_gan,
        has_latents=True,
        scores={"discriminate": ScoreOutput("probability", "real_probability")},
    ),
}
GRAPHS = frozenset(  # of all families
    graph for family in FAMILIES.values() for graph in family.signatures(Sizes(height=1, width=1))
)
