"""Exports a PixelRNN: `draw_row` draws one row of every entry, `score` reads whole images; both share their weights."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor

from evaluation.drawing import row_inputs
from export import diagonal, graphs
from export.errors import ExportRefused
from export.graphs import Session
from export.parity import PARITY_IMAGES, PARITY_SEED
from export.registry import Exported
from models import pixel_rnn
from models.diagonal import DiagonalPixelRNN
from models.diagonal_drawer import DiagonalDrawer
from models.pixel_rnn import LecturePixelRNN, RasterDrawer
from smalti.randomness import uniforms
from smalti.runtime.draw_row import GRAPH, INPUTS, OUTPUTS
from smalti.runtime.manifest import Parity, State
from training.checkpoint import Checkpoint, fill
from training.families.pixel_rnn import Network, make_network

SPARE_IMAGES = 8  # drawn in addition, since a few may differ because of ties
TIE = 1e-5  # a random number this near to the limit between two colours can give either, because of rounding
NOISE_EVERY = 7  # pixels; usual widths are not multiples of it, so that all columns get noise

Grid = NDArray[np.int64]


def write_graphs(checkpoint: Checkpoint, folder: Path) -> Exported:
    """Write draw_row.onnx, score.onnx and their weights; raises ExportRefused if they differ from torch."""
    network = restore(checkpoint)
    drawer = network.drawer()
    written = graphs.save(make_graphs(network), folder)
    parity = check(network, Session(folder / "draw_row.onnx"), Session(folder / "score.onnx"))
    return Exported(graphs=written, parity=parity, states=_states(drawer))


def make_graphs(network: Network) -> dict[str, ModelProto]:
    """Both graphs, for any variant."""
    if isinstance(network, DiagonalPixelRNN):
        steps = network.drawer()
        return {
            GRAPH: diagonal.draw_row_graph(steps),
            "score": diagonal.score_graph(network, steps),
        }
    drawer = network.drawer()
    return {GRAPH: draw_row_graph(drawer), "score": score_graph(network, drawer)}


def restore(checkpoint: Checkpoint) -> Network:
    """The checkpoint's best network, in evaluation mode."""
    assert checkpoint.best is not None, "unfinished trainings are refused before"
    network = make_network(
        checkpoint.recipe, height=checkpoint.height, width=checkpoint.width, colours=len(checkpoint.palette)
    )
    fill(network, checkpoint.best.weights)
    return network.eval()


def draw_row_graph(drawer: RasterDrawer) -> ModelProto:
    """The drawer's graph by torch's exporter, which unrolls its loop over the columns."""
    batch, width = graphs.EXAMPLE_BATCH, drawer.width
    example = (
        torch.tensor([True, False]),
        torch.zeros(batch, dtype=torch.int64),
        torch.rand(batch, width),
        torch.full((batch, width), -1),
        torch.ones(batch),
        *(torch.zeros_like(state) for state in drawer.fresh(batch)),
    )
    names = drawer.states
    return graphs.trace(
        drawer, example, inputs=[*INPUTS, *names], outputs=[*OUTPUTS, *(f"{name}_out" for name in names)]
    )


def score_graph(network: LecturePixelRNN, drawer: RasterDrawer) -> ModelProto:
    """pixels (batch, height, width) → logp, by ONNX's LSTM over the whole image.

    It is built by hand, because torch's exporter would store the recurrent weights again, in another order.
    """
    height, width, hidden = network.height, network.width, drawer.hidden_size
    weights = network.gate_weights()
    bias = torch.cat([weights.bias, torch.zeros_like(weights.bias)])[None]  # ONNX adds two
    constants = {
        "embedding": network.embedding.weight,
        "input_weights": weights.input[None],
        **{f"recurrent.{gate}": weight for gate, weight in enumerate(drawer.recurrent)},
        "gate_bias": bias,
        "output_weights": drawer.output,
        "output_bias": drawer.bias,
        "steps": torch.tensor([-1, height * width]),
        "image": torch.tensor([-1, height, width]),
        "none": torch.tensor([0]),
        "one": torch.tensor([1]),
        "minus_one": torch.tensor([-1]),
        "start": torch.tensor([network.colours]),
        "zero": torch.tensor(0),
    }
    nodes = [
        helper.make_node("Reshape", ["pixels", "steps"], ["flat"]),
        # The symbol before the first pixel, once for each image.
        helper.make_node("Slice", ["flat", "none", "one", "one"], ["first"]),
        helper.make_node("Mul", ["first", "zero"], ["zeros"]),
        helper.make_node("Add", ["zeros", "start"], ["begin"]),
        helper.make_node("Slice", ["flat", "none", "minus_one", "one"], ["all_but_last"]),
        helper.make_node("Concat", ["begin", "all_but_last"], ["before"], axis=1),
        helper.make_node("Transpose", ["before"], ["before_by_step"], perm=[1, 0]),
        helper.make_node("Gather", ["embedding", "before_by_step"], ["seen"]),  # (steps, batch, embedding)
        helper.make_node("Concat", [f"recurrent.{gate}" for gate in range(4)], ["recurrent"], axis=1),
        helper.make_node("Transpose", ["recurrent"], ["recurrent_by_gate"], perm=[1, 0]),
        helper.make_node("Unsqueeze", ["recurrent_by_gate", "none"], ["recurrent_weights"]),
        helper.make_node(
            "LSTM", ["seen", "input_weights", "recurrent_weights", "gate_bias"], ["read"], hidden_size=hidden
        ),
        helper.make_node("Squeeze", ["read", "one"], ["hidden"]),  # (steps, batch, hidden)
        helper.make_node("MatMul", ["hidden", "output_weights"], ["product"]),
        helper.make_node("Add", ["product", "output_bias"], ["logits"]),
        helper.make_node("LogSoftmax", ["logits"], ["log_probabilities"], axis=-1),
        helper.make_node("Transpose", ["flat"], ["flat_by_step"], perm=[1, 0]),
        helper.make_node("Unsqueeze", ["flat_by_step", "minus_one"], ["chosen"]),
        helper.make_node("GatherElements", ["log_probabilities", "chosen"], ["logp_by_step"], axis=-1),
        helper.make_node("Squeeze", ["logp_by_step", "minus_one"], ["logp_of_step"]),
        helper.make_node("Transpose", ["logp_of_step"], ["logp_flat"], perm=[1, 0]),
        helper.make_node("Reshape", ["logp_flat", "image"], ["logp"]),
    ]
    graph = helper.make_graph(
        nodes,
        "score",
        [helper.make_tensor_value_info("pixels", TensorProto.INT64, ["batch", height, width])],
        [helper.make_tensor_value_info("logp", TensorProto.FLOAT, ["batch", height, width])],
        [numpy_helper.from_array(value.detach().numpy(), name) for name, value in constants.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", graphs.OPSET)], producer_name="smalti"
    )
    model.ir_version = graphs.IR_VERSION
    onnx.checker.check_model(model)
    return model


def check(network: Network, draw_row: Session, score: Session) -> Parity:
    """Compare the graphs with the network; raises ExportRefused if they do not agree.

    The same random numbers must give the same pixels (except for ties: see `_is_tie`). The log-probabilities of given
    pixels must agree: for drawn images, and for the same images with some noise, so that colours that the network
    finds improbable are compared too.
    """
    uniform = np.stack([_uniform(network, index) for index in range(PARITY_IMAGES + SPARE_IMAGES)])
    expected = pixel_rnn.draw(network, torch.from_numpy(uniform)).numpy()
    drawn, _ = draw_by_rows(draw_row, network, uniform, np.full_like(expected, -1))
    same = (drawn == expected).all(axis=(1, 2))
    equal = same.sum() >= PARITY_IMAGES and all(
        _is_tie(network, expected[image], drawn[image], uniform[image]) for image in np.flatnonzero(~same)
    )
    difference = max(
        _difference(network, draw_row, score, pixels)
        for pixels in (expected, _noisy(expected, uniform, network.colours))
    )
    if difference >= graphs.TOLERANCE or not equal:
        raise ExportRefused(
            f"The exported graphs differ from the network (log-probabilities by {difference:.1e}, pixels "
            f"{'equal' if equal else 'different'}), so nothing was exported."
        )
    return Parity(max_difference=difference, images=int(same.sum()), pixels_equal=equal)


@torch.no_grad()
def _is_tie(network: Network, expected: Grid, drawn: Grid, uniform: NDArray[np.float32]) -> bool:
    """Whether two images (height, width) first differ at a pixel whose random number is at the limit of both colours.

    Then both are right within rounding, and all later pixels may differ, because they depend on that pixel.
    """
    first = int(np.flatnonzero(expected.ravel() != drawn.ravel())[0])
    logits = network.logits(torch.from_numpy(expected)[None]).flatten(0, 2)[first]
    edges = logits.double().softmax(0).cumsum(0).numpy()
    low, high = sorted((expected.ravel()[first], drawn.ravel()[first]))
    return bool(np.abs(edges[low:high] - uniform.ravel()[first]).max() < TIE)


def _noisy(pixels: Grid, uniform: NDArray[np.float32], colours: int) -> Grid:
    """The images with one pixel in NOISE_EVERY replaced by a random colour.

    Images of pure noise would not work: they bring the states to values where rounding errors grow. Then even torch in
    single precision differs from torch in double precision.
    """
    noise = np.floor((1.0 - uniform) * colours).astype(np.int64)
    places = np.arange(pixels.size).reshape(pixels.shape) % NOISE_EVERY == 0
    return np.where(places, noise, pixels)


@torch.no_grad()
def _difference(network: Network, draw_row: Session, score: Session, pixels: Grid) -> float:
    expected = pixel_rnn.score(network, torch.from_numpy(pixels)).numpy()
    kept, by_rows = draw_by_rows(draw_row, network, np.ones(pixels.shape, dtype=np.float32), pixels)
    at_once = score.run({"pixels": pixels})["logp"]
    if not (kept == pixels).all():
        return float("inf")
    return max(graphs.largest_difference(found, expected) for found in (by_rows, at_once))


def draw_by_rows(
    draw_row: Session, network: Network, uniform: NDArray[np.float32], forced: Grid
) -> tuple[Grid, NDArray[np.float32]]:
    """Pixels and log-probabilities (batch, height, width) by the exported graph, row after row."""
    rows = list(_rows(draw_row, network, uniform, forced))
    return np.stack([pixels for pixels, _ in rows], axis=1), np.stack([logp for _, logp in rows], axis=1)


def _rows(
    draw_row: Session, network: Network, uniform: NDArray[np.float32], forced: Grid
) -> Iterator[tuple[Grid, NDArray[np.float32]]]:
    drawer = network.drawer()
    # The first state is NaN: a reset that multiplies by zero, instead of replacing the state, would be noticed.
    state: dict[str, Any] = {
        name: _spoilt(value) for name, value in zip(drawer.states, drawer.fresh(len(uniform)), strict=True)
    }
    for row in range(network.height):
        found = draw_row.run(row_inputs(row, uniform[:, row], forced[:, row]) | state)
        state = {name: found[f"{name}_out"] for name in drawer.states}
        yield found["pixels"], found["logp"]


def _spoilt(value: Tensor) -> NDArray[Any]:
    return (torch.full_like(value, torch.nan) if value.is_floating_point() else value).numpy()


def _uniform(network: Network, index: int) -> NDArray[np.float32]:
    count = network.height * network.width
    return uniforms(PARITY_SEED, index, 0, count).reshape(network.height, network.width)


def _states(drawer: RasterDrawer | DiagonalDrawer) -> tuple[State, ...]:
    return tuple(
        State(
            input=name,
            output=f"{name}_out",
            type="float32" if value.is_floating_point() else "int64",
            shape=tuple(value.shape[1:]),
        )
        for name, value in zip(drawer.states, drawer.fresh(1), strict=True)
    )
