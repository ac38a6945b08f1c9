"""What the graphs of each family take and give; a manifest that says otherwise is refused when it is read."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

Kind: TypeAlias = tuple[str, tuple[int, ...]]  # type and shape of a tensor; −1 is the batch
Tensors: TypeAlias = Mapping[str, Kind]

MAIN = {"pixel_rnn": "draw_row", "vae": "decode", "autoencoder": "decode", "gan": "generate"}  # never missing


class Signature(NamedTuple):
    """All inputs of a graph, and the outputs that it has at least."""

    inputs: Tensors
    outputs: Tensors


class StateKind(NamedTuple):
    """A tensor that `draw_row` hands on: the names under which it comes in and goes out, and what it is."""

    input: str
    output: str
    kind: Kind


def signatures(
    family: str, *, height: int, width: int, latent_size: int, states: Sequence[StateKind] = ()
) -> Mapping[str, Signature]:
    """Every graph that a model of this family and these sizes may have, by name."""
    pixels: Tensors = {"pixels": ("int64", (-1, height, width))}
    latent: Kind = ("float32", (-1, latent_size))
    number: Kind = ("float32", (-1,))
    decode = Signature({"latent": latent}, pixels)
    match family:
        case "pixel_rnn":
            score = Signature(pixels, {"logp": ("float32", (-1, height, width))})
            return {"draw_row": _draw_row(width, states), "score": score}
        case "gan":
            return {"generate": decode, "discriminate": Signature(pixels, {"probability": number})}
        case "autoencoder":
            return {"encode": Signature(pixels, {"mean": latent}), "decode": decode}
        case _:
            encode = Signature(pixels, {"mean": latent, "log_deviation": latent})
            score = Signature({**pixels, "noise": latent}, {"elbo": number})
            return {"encode": encode, "decode": decode, "score": score}


def _draw_row(width: int, states: Sequence[StateKind]) -> Signature:
    inputs: dict[str, Kind] = {
        "reset": ("bool", (-1,)),
        "row": ("int64", (-1,)),
        "uniform": ("float32", (-1, width)),
        "forced": ("int64", (-1, width)),
        "temperature": ("float32", (-1,)),
    }
    outputs: dict[str, Kind] = {"pixels": ("int64", (-1, width)), "logp": ("float32", (-1, width))}
    return Signature(
        inputs | {state.input: state.kind for state in states},
        outputs | {state.output: state.kind for state in states},
    )


def difference(what: str, found: Tensors, expected: Tensors) -> str:
    """The first of the expected tensors that is not found so, in words; empty where all are."""
    for name, kind in expected.items():
        if name not in found:
            return f"it has no {what} '{name}'"
        if found[name] != kind:
            return f"its {what} '{name}' is {spelled(found[name])}, not {spelled(kind)}"
    return ""


def spelled(kind: Kind) -> str:
    """'int64 [batch, 4, 5]'."""
    name, shape = kind
    sizes = [str(size) if size >= 0 else "any" if axis else "batch" for axis, size in enumerate(shape)]
    return f"{name} [{', '.join(sizes)}]"
