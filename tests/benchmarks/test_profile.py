"""The profile counts every node of a row once."""

import onnx

from benchmarks.profile import profile
from smalti.runtime.repository import ModelRepository
from tests.worker.story import SHIPPED


def test_every_matrix_product_of_a_row_is_counted_once():
    model = ModelRepository(SHIPPED).load("digits-pixel-rnn-lecture")
    nodes, spent = profile(model, batch=2, threads=1)
    graph = onnx.load(model.path("draw_row"), load_external_data=False).graph
    products = sum(node.op_type == "Gemm" for node in graph.node)
    assert nodes["FusedGemm"] + nodes["Gemm"] == products == (4 + 1) * model.manifest.width
    assert nodes.keys() == spent.keys()
