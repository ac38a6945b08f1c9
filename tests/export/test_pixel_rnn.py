"""The exported PixelRNN: the same numbers as torch in every batch, and no node that serving cannot run."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from export import graphs
from export import pixel_rnn as exporter
from export.errors import ExportRefused
from export.graphs import Session
from models import pixel_rnn
from models.pixel_rnn import LecturePixelRNN

pytestmark = pytest.mark.slow  # torch traces its networks

HEIGHT, WIDTH, COLOURS, HIDDEN = 5, 6, 9, 24


@pytest.fixture(scope="module")
def network():
    """A small network with weights large enough that rounding and mistakes would show."""
    torch.manual_seed(5)
    network = LecturePixelRNN(height=HEIGHT, width=WIDTH, colours=COLOURS, embedding=8, hidden=HIDDEN)
    with torch.no_grad():
        network.head.weight.mul_(30)
        network.rnn.get_parameter("bias_ih_l0").normal_()
    return network.eval()


@pytest.fixture(scope="module")
def folder(network, tmp_path_factory):
    """The exported graphs."""
    folder = tmp_path_factory.mktemp("graphs")
    drawer = network.drawer()
    models = {"draw_row": exporter.draw_row_graph(drawer), "score": exporter.score_graph(network, drawer)}
    described = graphs.save(models, folder)
    assert set(described) == {"draw_row", "score"}
    return folder


@pytest.fixture(scope="module")
def draw_row(folder):
    return Session(folder / "draw_row.onnx")


@pytest.fixture(scope="module")
def score(folder):
    return Session(folder / "score.onnx")


def numbers(count, seed=0):
    return (1.0 - np.random.default_rng(seed).random((count, HEIGHT, WIDTH))).astype(np.float32)


def images(count, seed=0):
    return np.random.default_rng(seed).integers(0, COLOURS, (count, HEIGHT, WIDTH))


def free(count):
    return np.full((count, HEIGHT, WIDTH), -1)


def a_row(draw_row, slots, seed=0, **changes):
    """One call of draw_row with an arbitrary state in every slot."""
    rng = np.random.default_rng(seed)
    inputs = {
        "reset": rng.random(slots) < 0.3,
        "row": rng.integers(0, HEIGHT, slots),
        "uniform": (1.0 - rng.random((slots, WIDTH))).astype(np.float32),
        "forced": np.where(rng.random((slots, WIDTH)) < 0.3, rng.integers(0, COLOURS, (slots, WIDTH)), -1),
        "temperature": rng.uniform(0.5, 2.0, slots).astype(np.float32),
        "hidden": rng.uniform(-1, 1, (slots, HIDDEN)).astype(np.float32),
        "cell": rng.normal(size=(slots, HIDDEN)).astype(np.float32),
        "last": rng.integers(0, COLOURS, slots),
    }
    return draw_row.run({**inputs, **changes}), {**inputs, **changes}


def test_both_graphs_agree_with_torch(network, draw_row, score):
    parity = exporter.check(network, draw_row, score)
    assert parity.pixels_equal
    assert parity.images >= 64
    assert parity.max_difference < 1e-4


def test_inputs_and_outputs_are_those_of_the_draw_row_contract(folder):
    model = onnx.load(folder / "draw_row.onnx", load_external_data=False)
    row = graphs._describe("draw_row.onnx", model)
    assert [(tensor.name, tensor.type, tensor.shape) for tensor in row.inputs] == [
        ("reset", "bool", (-1,)),
        ("row", "int64", (-1,)),
        ("uniform", "float32", (-1, WIDTH)),
        ("forced", "int64", (-1, WIDTH)),
        ("temperature", "float32", (-1,)),
        ("hidden", "float32", (-1, HIDDEN)),
        ("cell", "float32", (-1, HIDDEN)),
        ("last", "int64", (-1,)),
    ]
    assert [(tensor.name, tensor.type, tensor.shape) for tensor in row.outputs] == [
        ("pixels", "int64", (-1, WIDTH)),
        ("logp", "float32", (-1, WIDTH)),
        ("hidden_out", "float32", (-1, HIDDEN)),
        ("cell_out", "float32", (-1, HIDDEN)),
        ("last_out", "int64", (-1,)),
    ]


@pytest.mark.parametrize("name", ["draw_row", "score"])
def test_a_graph_has_no_control_flow_and_no_random_numbers(folder, name):
    model = onnx.load(folder / f"{name}.onnx", load_external_data=False)
    kinds = {node.op_type for node in model.graph.node}
    assert not kinds & graphs.FORBIDDEN
    assert {opset.version for opset in model.opset_import if opset.domain == ""} == {graphs.OPSET}


def test_every_matrix_product_of_draw_row_has_a_constant_two_dimensional_weight(folder):
    model = onnx.load(folder / "draw_row.onnx", load_external_data=False)
    constants = {weight.name: len(weight.dims) for weight in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type in ("MatMul", "Gemm")]
    assert len(products) == (4 + 1) * WIDTH  # a gate each, and the logits
    assert {constants.get(node.input[1]) for node in products} == {2}


@pytest.mark.parametrize("name", ["draw_row", "score"])
def test_a_graph_names_no_file_of_the_exporting_machine(folder, name):
    content = (folder / f"{name}.onnx").read_bytes()
    assert b".py" not in content
    assert str(Path.home()).encode() not in content


def test_the_graphs_share_their_weights(folder, network):
    weights = sum(weight.numel() for weight in network.drawer().parameters())
    only_score = network.embedding.weight.numel() + network.rnn.weight_ih_l0.numel() + 8 * HIDDEN
    assert (folder / "weights.data").stat().st_size < 4 * (weights + only_score) + 1000


def test_an_entry_has_the_same_bits_in_every_batch_and_order(draw_row):
    together, inputs = a_row(draw_row, 64)
    order = np.random.default_rng(1).permutation(64)
    shuffled = draw_row.run({name: value[order] for name, value in inputs.items()})
    for name, value in together.items():
        assert (shuffled[name] == value[order]).all(), name
    for size in (1, 2, 3, 7, 16, 33, 63):
        part = draw_row.run({name: value[:size] for name, value in inputs.items()})
        for name, value in together.items():
            assert (part[name] == value[:size]).all(), (name, size)


def test_temperature_and_forced_pixels_work_as_in_torch(network, draw_row):
    found, inputs = a_row(draw_row, 40)
    names = ("reset", "row", "uniform", "forced", "temperature", "hidden", "cell", "last")
    with torch.no_grad():
        pixels, logp, *_ = network.drawer()(*(torch.from_numpy(inputs[name]) for name in names))
    assert (found["pixels"] == pixels.numpy()).all()
    assert np.abs(found["logp"] - logp.numpy()).max() < 1e-4


def test_a_reset_removes_nan_and_nan_does_not_spread_to_other_slots(draw_row):
    healthy, inputs = a_row(draw_row, 3, reset=np.array([True, False, False]))
    spoilt = {name: inputs[name].copy() for name in ("hidden", "cell")}
    for value in spoilt.values():
        value[:2] = np.nan
    found = draw_row.run({**inputs, **spoilt})
    for slot in (0, 2):
        assert (found["pixels"][slot] == healthy["pixels"][slot]).all()
        assert (found["logp"][slot] == healthy["logp"][slot]).all()
    drawn = inputs["forced"][1] < 0
    assert np.isnan(found["logp"][1]).all()
    assert (found["pixels"][1][drawn] < COLOURS).all()


def test_draw_row_and_score_give_the_same_log_probabilities(network, draw_row, score):
    drawn, logp = exporter.draw_by_rows(draw_row, network, numbers(5), free(5))
    assert np.abs(score.run({"pixels": drawn})["logp"] - logp).max() < 1e-4


@pytest.mark.parametrize("batch", [1, 2, 9])
def test_score_takes_any_batch(network, score, batch):
    pixels = images(batch)
    with torch.no_grad():
        expected = pixel_rnn.score(network, torch.from_numpy(pixels)).numpy()
    assert np.abs(score.run({"pixels": pixels})["logp"] - expected).max() < 1e-4


def test_graphs_of_another_network_are_refused(network, draw_row, score):
    torch.manual_seed(6)
    other = LecturePixelRNN(height=HEIGHT, width=WIDTH, colours=COLOURS, embedding=8, hidden=HIDDEN).eval()
    with pytest.raises(ExportRefused, match="differ from the network"):
        exporter.check(other, draw_row, score)


class TestTies:
    def parted(self, network, distance):
        """Two images that differ from the first pixel on, whose random number is `distance` from the limit of both."""
        with torch.no_grad():
            edges = (
                network.logits(torch.zeros(1, HEIGHT, WIDTH, dtype=torch.int64))[0, 0, 0].softmax(0).cumsum(0)
            )
        uniform = numbers(1)[0]
        uniform[0, 0] = edges[3].item() + distance
        one, other = images(1)[0], images(1, seed=1)[0]
        one[0, 0], other[0, 0] = 3, 4
        return one, other, uniform

    def test_images_that_differ_because_of_a_tie_are_both_right(self, network):
        assert exporter._is_tie(network, *self.parted(network, 1e-6))

    def test_images_that_differ_elsewhere_are_a_mistake(self, network):
        assert not exporter._is_tie(network, *self.parted(network, 1e-3))
