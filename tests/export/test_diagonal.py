"""The exported diagonal PixelRNN: the same numbers as torch, the same bits in every batch, and plain nodes only."""

import numpy as np
import onnx
import pytest
import torch

from export import diagonal, graphs
from export import pixel_rnn as exporter
from export.errors import ExportRefused
from export.graphs import Session
from export.writing import export
from models import pixel_rnn
from models.diagonal import DiagonalPixelRNN
from smalti.runtime import repository
from smalti.runtime.manifest import Data
from smalti.runtime.session import open_session
from tests.training.reporters import Silent
from training.families.loading import make_task
from training.images import ImageSet
from training.loop import Loop
from training.recipe import Recipe, TrainingRecipe
from worker.runner import Runner
from worker.sample import Lane, Row

pytestmark = pytest.mark.slow  # torch traces a network of many parts

CPU = torch.device("cpu")

HEIGHT, WIDTH, COLOURS, LAYERS, HIDDEN = 5, 6, 19, 2, 8
STATES = {
    "recent": ("int64", (3, WIDTH)),
    "rightward": ("float32", (WIDTH, LAYERS * HIDDEN)),
    "leftward": ("float32", (WIDTH, LAYERS * HIDDEN)),
    "used": ("int64", (COLOURS,)),
}


def make_network(seed=5, *, extras=True):
    """A small network with every weight far from zero."""
    torch.manual_seed(seed)
    network = DiagonalPixelRNN(
        height=HEIGHT,
        width=WIDTH,
        colours=COLOURS,
        layers=LAYERS,
        hidden=HIDDEN,
        features=20,
        embedding=6,
        head=24,
        position=extras,
        memory=extras,
        copy=extras,
    )
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(torch.randn_like(weight) * 0.2)
    return network.eval()


@pytest.fixture(scope="module")
def network():
    return make_network()


@pytest.fixture(scope="module")
def folder(network, tmp_path_factory):
    """The exported graphs."""
    folder = tmp_path_factory.mktemp("graphs")
    described = graphs.save(exporter.make_graphs(network), folder)
    assert set(described) == {"draw_row", "score"}
    return folder


@pytest.fixture(scope="module")
def draw_row(folder):
    return Session(folder / "draw_row.onnx")


@pytest.fixture(scope="module")
def score(folder):
    return Session(folder / "score.onnx")


def images(count, seed=0):
    return np.random.default_rng(seed).integers(0, COLOURS, (count, HEIGHT, WIDTH))


def a_row(draw_row, slots, seed=0, **changes):
    """One call of draw_row with an arbitrary state in every slot."""
    rng = np.random.default_rng(seed)
    kinds = {
        "int64": lambda name, shape: rng.integers(0, 9 if name == "used" else COLOURS, (slots, *shape)),
        "float32": lambda name, shape: rng.uniform(-1, 1, (slots, *shape)).astype(np.float32),
    }
    inputs = {
        "reset": rng.random(slots) < 0.3,
        "row": rng.integers(0, HEIGHT, slots),
        "uniform": (1.0 - rng.random((slots, WIDTH))).astype(np.float32),
        "forced": np.where(rng.random((slots, WIDTH)) < 0.3, rng.integers(0, COLOURS, (slots, WIDTH)), -1),
        "temperature": rng.uniform(0.5, 2.0, slots).astype(np.float32),
        **{name: kinds[kind](name, shape) for name, (kind, shape) in STATES.items()},
    }
    return draw_row.run({**inputs, **changes}), {**inputs, **changes}


def test_both_graphs_agree_with_torch(network, draw_row, score):
    parity = exporter.check(network, draw_row, score)
    assert parity.pixels_equal
    assert parity.images >= 64
    assert parity.max_difference < 1e-4


def test_draw_row_and_score_give_the_log_probabilities_of_torch(network, draw_row, score):
    pixels = images(7)
    with torch.no_grad():
        expected = pixel_rnn.score(network, torch.from_numpy(pixels)).numpy()
    ones = np.ones(pixels.shape, dtype=np.float32)
    _, by_rows = exporter.draw_by_rows(draw_row, network, ones, pixels)
    assert np.abs(by_rows - expected).max() < 1e-4
    assert np.abs(score.run({"pixels": pixels})["logp"] - expected).max() < 1e-4


def test_a_worker_draws_from_an_exported_checkpoint_what_torch_draws(tmp_path):
    trained = train(tmp_path / "run")  # without the options: a graph without a colour memory is tested too
    folder = export(trained, tmp_path / "models")
    manifest = repository.read(folder).manifest
    network = exporter.restore(trained)
    runner = Runner(open_session(folder / "draw_row.onnx"), manifest, slots=3)
    numbers = (1.0 - np.random.default_rng(3).random((3, network.height, network.width))).astype(np.float32)
    free = np.full(network.width, -1)
    rows = [
        runner.draw_row([Lane(slot, row, numbers[slot, row], free, 1.0) for slot in range(3)])
        for row in range(network.height)
    ]
    assert all(isinstance(slot, Row) for row in rows for slot in row)
    drawn = np.stack([[slot.pixels for slot in row if isinstance(slot, Row)] for row in rows], axis=1)
    assert (drawn == pixel_rnn.draw(network, torch.from_numpy(numbers)).numpy()).all()
    assert manifest.variant == "diagonal"


def train(folder):
    """A few steps on noise."""
    pixels = np.random.default_rng(0).integers(0, 3, (24, 3, 4))
    about = Data(name="tiles", source="drawn", licence="CC0-1.0", digest="0" * 64, images=24)
    images = ImageSet(about, ("#000000", "#808080", "#ffffff"), pixels[:16], pixels[16:20], pixels[20:])
    recipe = Recipe(
        family="pixel_rnn",
        variant="diagonal",
        training=TrainingRecipe(steps=4, batch=4, validate_every=2),
        network={"layers": 2, "hidden": 4, "features": 8, "embedding": 4, "head": 8},
    )
    return Loop(make_task(recipe, images, CPU), images, recipe, folder, CPU).run(Silent())


def test_inputs_and_outputs_are_those_of_the_draw_row_contract(folder):
    model = onnx.load(folder / "draw_row.onnx", load_external_data=False)
    row = graphs._describe("draw_row.onnx", model)
    assert [(tensor.name, tensor.type, tensor.shape) for tensor in row.inputs] == [
        ("reset", "bool", (-1,)),
        ("row", "int64", (-1,)),
        ("uniform", "float32", (-1, WIDTH)),
        ("forced", "int64", (-1, WIDTH)),
        ("temperature", "float32", (-1,)),
        *[(name, kind, (-1, *shape)) for name, (kind, shape) in STATES.items()],
    ]
    assert [(tensor.name, tensor.type, tensor.shape) for tensor in row.outputs] == [
        ("pixels", "int64", (-1, WIDTH)),
        ("logp", "float32", (-1, WIDTH)),
        *[(f"{name}_out", kind, (-1, *shape)) for name, (kind, shape) in STATES.items()],
    ]


@pytest.mark.parametrize("name", ["draw_row", "score"])
def test_a_graph_has_no_control_flow_no_random_numbers_and_no_shape_nodes(folder, name):
    model = onnx.load(folder / f"{name}.onnx", load_external_data=False)
    kinds = {node.op_type for node in model.graph.node}
    assert not kinds & (graphs.FORBIDDEN | {"Shape", "Size"})
    assert not model.functions
    assert {opset.version for opset in model.opset_import if opset.domain == ""} == {graphs.OPSET}


def test_draw_row_has_no_node_that_a_gpu_leaves_to_the_cpu(folder):
    model = onnx.load(folder / "draw_row.onnx", load_external_data=False)
    # By onnxruntime's table of kernels, CUDA has all other nodes for these types; it cannot pad integers.
    assert "Pad" not in {node.op_type for node in model.graph.node}


def test_every_matrix_product_of_draw_row_has_a_constant_two_dimensional_weight(folder):
    model = onnx.load(folder / "draw_row.onnx", load_external_data=False)
    constants = {weight.name: len(weight.dims) for weight in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type in ("MatMul", "Gemm")]
    assert len(products) > 2 * LAYERS * WIDTH
    assert {constants.get(node.input[1]) for node in products} == {2}


def test_a_part_placed_many_times_stores_its_weights_once(folder, network):
    weights = sum(weight.numel() for weight in network.parameters())
    assert (folder / "weights.data").stat().st_size < 4 * 3 * weights + 4 * 24 * (COLOURS + 1) * 20


def test_an_entry_has_the_same_bits_in_every_batch_and_order(draw_row):
    together, inputs = a_row(draw_row, 64)
    order = np.random.default_rng(1).permutation(64)
    shuffled = draw_row.run({name: value[order] for name, value in inputs.items()})
    for name, value in together.items():
        assert (shuffled[name] == value[order]).all(), name
    for size in range(1, 64):
        part = draw_row.run({name: value[:size] for name, value in inputs.items()})
        for name, value in together.items():
            assert (part[name] == value[:size]).all(), (name, size)


def test_temperature_and_forced_pixels_work_as_in_torch(network, draw_row):
    found, inputs = a_row(draw_row, 40)
    with torch.no_grad():
        outputs = network.drawer()(*(torch.from_numpy(value) for value in inputs.values()))
    for (name, value), expected in zip(found.items(), outputs, strict=True):
        assert np.abs(value - expected.numpy()).max() < 1e-4, name
    assert (found["pixels"] == outputs[0].numpy()).all()


def test_a_reset_clears_the_state_and_nan_does_not_spread_to_other_slots(draw_row):
    healthy, inputs = a_row(draw_row, 3, reset=np.array([True, False, False]))
    spoilt = {name: inputs[name].copy() for name in STATES}
    for name, (kind, _) in STATES.items():
        spoilt[name][:2] = np.nan if kind == "float32" else 1
    found = draw_row.run({**inputs, **spoilt})
    for name, value in found.items():
        assert (value[0] == healthy[name][0]).all(), name
        assert (value[2] == healthy[name][2]).all(), name
    assert np.isnan(found["logp"][1]).all()
    assert (found["pixels"][1][inputs["forced"][1] < 0] < COLOURS).all()


def test_graphs_of_another_network_are_refused(draw_row, score):
    with pytest.raises(ExportRefused, match="differ from the network"):
        exporter.check(make_network(seed=6), draw_row, score)


def test_a_graph_with_its_columns_in_the_wrong_order_is_refused(network, score, tmp_path, monkeypatch):
    monkeypatch.setattr(
        diagonal.Row,
        "join",
        lambda self, pieces, axis: self.composition.add("Concat", pieces[::-1], axis=axis),
    )
    row = diagonal.draw_row_graph(network.drawer())
    graphs.save({"draw_row": row}, tmp_path)
    with pytest.raises(ExportRefused, match="differ from the network"):
        exporter.check(network, Session(tmp_path / "draw_row.onnx"), score)
