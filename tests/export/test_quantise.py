"""Products of small integers: near the products they replace, and the same bits in every batch."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.errors import ExportRefused
from export.quantise import INPUT_LEVELS, WEIGHT_LEVELS, ZERO, columns, quantise
from smalti.runtime.session import open_session

INPUTS, OUTPUTS, BOUND = 48, 20, 2.0
ROW = np.arange(OUTPUTS, dtype=np.float32)


@pytest.fixture(scope="module")
def weight():
    weight = np.random.default_rng(0).normal(size=(INPUTS, OUTPUTS)).astype(np.float32)
    weight[:, 3] *= 100  # a column of another size than its neighbours
    weight[:, 4] = 0
    return weight


@pytest.fixture(scope="module")
def graph(weight):
    """x → x @ w, x @ w + a vector, and x @ v, which must stay as it is."""
    shapes = (("x", INPUTS), ("first", OUTPUTS), ("second", OUTPUTS), ("kept", OUTPUTS))
    x, *results = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", n]) for name, n in shapes)
    return helper.make_model(
        helper.make_graph(
            [
                helper.make_node("MatMul", ["x", "w"], ["first"]),
                helper.make_node("Gemm", ["x", "w", "row"], ["second"]),
                helper.make_node("MatMul", ["x", "v"], ["kept"]),
            ],
            "products",
            [x],
            results,
            [
                numpy_helper.from_array(value, name)
                for name, value in {"w": weight, "v": weight, "row": ROW}.items()
            ],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )


@pytest.fixture(scope="module")
def run(graph, tmp_path_factory):
    file = tmp_path_factory.mktemp("small") / "graph.onnx"
    onnx.save(quantise(graph, {"w": BOUND}), file)
    session = open_session(file)
    return lambda x: session.run(["first", "second", "kept"], {"x": x})


def values(count, within=BOUND):
    return np.random.default_rng(1).uniform(-within, within, (count, INPUTS)).astype(np.float32)


def test_a_product_is_the_exact_sum_of_the_small_integers_scaled_back(run, weight):
    x = values(9)
    scale = np.float32(BOUND / INPUT_LEVELS)
    small = columns(weight)
    sums = np.rint(x / scale).astype(int) @ small.levels.astype(int)
    first, second, _ = run(x)
    assert (first == sums.astype(np.float32) * (small.steps * scale)).all()
    assert (second == first + ROW).all()


def test_a_product_is_near_the_one_it_replaces(run, weight):
    x = values(200)
    found, _, kept = run(x)
    exact = x.astype(np.float64) @ weight
    apart = (found - exact).std(axis=0)
    assert (apart[exact.std(axis=0) > 0] < 0.02 * exact.std(axis=0)[exact.std(axis=0) > 0]).all()
    assert (found[:, 4] == 0).all()
    assert np.abs(kept - exact).max() < 1e-3


def test_an_entry_has_the_same_bits_in_every_batch_and_order(run):
    x = values(64)
    together = run(x)[0]
    order = np.random.default_rng(2).permutation(64)
    assert (run(x[order])[0] == together[order]).all()
    for size in (1, 2, 3, 7, 16, 33, 63):
        assert (run(x[:size])[0] == together[:size]).all(), size


def test_values_beyond_the_bound_count_as_the_bound(run):
    most = np.full((1, INPUTS), BOUND, dtype=np.float32)
    assert (run(3 * most)[0] == run(most)[0]).all()
    least = np.float32(-BOUND * ZERO / INPUT_LEVELS)  # a byte has one level more on this side
    assert (run(-3 * most)[0] == run(np.full_like(most, least))[0]).all()


def test_two_products_of_the_largest_values_fit_into_sixteen_bits():
    """Processors without VNNI add two in 16 bits, and cut off what does not fit."""
    assert 2 * (ZERO + INPUT_LEVELS) * WEIGHT_LEVELS < 2**15


def test_the_largest_weight_of_every_column_gets_the_last_level(weight):
    small = columns(weight)
    largest = np.abs(small.levels.astype(int)).max(axis=0)
    assert (np.delete(largest, 4) == WEIGHT_LEVELS).all()
    assert largest[4] == 0
    assert (np.abs(small.levels * small.steps - weight) <= 0.501 * small.steps).all()


def test_a_missing_weight_is_refused(graph):
    with pytest.raises(ExportRefused, match="no weight called recurrent"):
        quantise(graph, {"recurrent": 1.0})
