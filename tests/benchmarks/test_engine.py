"""The engine benchmark: the bare products are those of a row, and ratios are divided the right way round."""

import onnx
import pytest

from benchmarks.engine import AGAIN, ratios
from benchmarks.matrix_products import bare_products, products, products_graph
from benchmarks.processes import Processes
from smalti.runtime.repository import ModelRepository
from tests.worker.story import SHIPPED


@pytest.fixture(params=["digits-pixel-rnn", "digits-pixel-rnn-lecture"])
def model(request):
    return ModelRepository(SHIPPED).load(request.param)


def test_the_bare_products_have_the_shapes_and_weights_of_a_row(model):
    graph, batch = onnx.load(model.path("draw_row")), 3
    alone = products_graph(graph, batch)
    wanted = list(products(graph).values())
    assert [node.input[1] for node in alone.graph.node if node.op_type == "MatMul"] == [
        " ".join(weights) for weights in wanted
    ]
    sizes = [[axis.dim_value for axis in x.type.tensor_type.shape.dim] for x in alone.graph.input]
    weights = {weight.name: list(weight.dims) for weight in graph.graph.initializer}
    assert [size[-1] for size in sizes] == [weights[name][0] for name, *_ in wanted]
    assert {size[0] for size in sizes} <= {batch, batch * model.manifest.width}


def test_products_of_one_value_become_one_product(model):
    graph = onnx.load(model.path("draw_row"))
    together, apart = (
        {weight.name: weight.dims[1] for weight in one.graph.initializer if len(weight.dims) == 2}
        for one in (products_graph(graph, 3), graph)
    )
    widest = max(together, key=lambda name: together[name])
    assert len(widest.split()) >= 4
    assert together[widest] == sum(apart[name] for name in widest.split())


def test_onnxruntime_runs_the_bare_products(model):
    assert bare_products(model, 3, threads=1)() == 3


def test_several_processes_draw_at_once(model):
    with Processes(2, model.path("draw_row"), model, 3) as processes:
        assert processes() == 6


def test_ratios_divide_by_the_faster_number_of_torch_threads():
    found = ratios(
        {
            "onnxruntime, 32 in a batch": 90.0,
            "bare products, 32 in a batch": 100.0,
            "torch loop, one image, threads 1": 2.0,
            "torch loop, one image, threads 2": 3.0,
            AGAIN: 0.1,
            "int8, 32 in a batch": 180.0,
            "int8, 64 in a batch": 240.0,
            "int8, 64 in a batch in each of 2 processes": 450.0,
        }
    )
    assert found == pytest.approx(
        {
            "onnxruntime, 32 in a batch, to its bare products": 0.9,
            "onnxruntime, 32 in a batch, to a torch loop with one image": 30,
            "onnxruntime, 32 in a batch, to a torch loop with one image and one thread": 45,
            "onnxruntime, 32 in a batch, to reading the image again for every pixel": 900,
            "int8, 32 in a batch, to fp32": 2,
            "int8, 64 in a batch, to a torch loop with one image": 80,
            "int8, 64 in a batch, to a torch loop with one image and one thread": 120,
            "int8, 64 in a batch, to reading the image again for every pixel": 2400,
            "int8, 64 in a batch in each of 2 processes, to a torch loop with one image": 150,
            "int8, 64 in a batch in each of 2 processes, to a torch loop with one image and one thread": 225,
            "int8, 64 in a batch in each of 2 processes, to reading the image again for every pixel": 4500,
        }
    )
