"""The exported VAE: the same numbers as torch, the same bits in every batch; a wrong export is refused."""

import numpy as np
import onnx
import pytest
import torch

from export import graphs
from export import vae as exporter
from export.errors import ExportRefused
from export.graphs import Session
from models import vae
from models.vae import VAE
from smalti.randomness import normals

pytestmark = pytest.mark.slow  # torch traces its networks

Shapes = dict[str, tuple[int, ...]]

HEIGHT, WIDTH, COLOURS, LATENT = 7, 9, 5, 3
INTERFACE: dict[str, tuple[Shapes, Shapes]] = {
    "encode": ({"pixels": (-1, HEIGHT, WIDTH)}, {"mean": (-1, LATENT), "log_deviation": (-1, LATENT)}),
    "decode": (
        {"latent": (-1, LATENT)},
        {"pixels": (-1, HEIGHT, WIDTH), "logits": (-1, HEIGHT, WIDTH, COLOURS)},
    ),
    "score": ({"pixels": (-1, HEIGHT, WIDTH), "noise": (-1, LATENT)}, {"elbo": (-1,)}),
}


@pytest.fixture(scope="module", params=["nearest", "transposed"])
def network(request):
    """A small network whose latents matter."""
    torch.manual_seed(5)
    network = VAE(
        height=HEIGHT,
        width=WIDTH,
        colours=COLOURS,
        latent=LATENT,
        embedding=4,
        channels=(6, 8),
        hidden=16,
        enlarging=request.param,
    )
    with torch.no_grad():
        list(network.decoder.parameters())[-2].mul_(10)
    return network.eval()


@pytest.fixture(scope="module")
def folder(network, tmp_path_factory):
    """The exported graphs."""
    folder = tmp_path_factory.mktemp("graphs")
    models = {
        "encode": exporter.encode_graph(network, plain=False),
        "decode": exporter.decode_graph(network),
        "score": exporter.score_graph(network),
    }
    for name, graph in graphs.save(models, folder).items():
        found = tuple({t.name: t.shape for t in side} for side in (graph.inputs, graph.outputs))
        assert found == INTERFACE[name]
    return folder


@pytest.fixture(scope="module")
def sessions(folder):
    return {name: Session(folder / f"{name}.onnx") for name in INTERFACE}


def inputs(name, count):
    rng = np.random.default_rng(0)
    given = {
        "pixels": rng.integers(0, COLOURS, (count, HEIGHT, WIDTH)),
        "latent": np.stack([normals(1, index, LATENT) for index in range(count)]),
        "noise": np.stack([normals(2, index, LATENT) for index in range(count)]),
    }
    return {key: given[key] for key in INTERFACE[name][0]}


def test_the_graphs_agree_with_torch(network, sessions):
    parity = exporter.check(network, sessions)
    assert parity.pixels_equal
    assert parity.images >= 64
    assert parity.max_difference < 1e-4


@torch.no_grad()
def test_the_score_is_the_bound_in_nats(network, sessions):
    given = inputs("score", 5)
    expected = vae.elbo(network, torch.from_numpy(given["pixels"]), torch.from_numpy(given["noise"]))
    assert sessions["score"].run(given)["elbo"] == pytest.approx(expected.numpy(), abs=1e-3)


@pytest.mark.parametrize("name", INTERFACE)
def test_an_entry_has_the_same_bits_in_every_batch_and_order(sessions, name):
    given = inputs(name, 64)
    together = sessions[name].run(given)
    order = np.random.default_rng(1).permutation(64)
    shuffled = sessions[name].run({key: value[order] for key, value in given.items()})
    for key, value in together.items():
        assert (shuffled[key] == value[order]).all(), key
    for size in (1, 2, 3, 7, 16, 33, 63):
        part = sessions[name].run({key: value[:size] for key, value in given.items()})
        for key, value in together.items():
            assert (part[key] == value[:size]).all(), (key, size)


@pytest.mark.parametrize("name", INTERFACE)
def test_a_graph_has_no_control_flow_and_no_random_numbers(folder, name):
    model = onnx.load(folder / f"{name}.onnx", load_external_data=False)
    assert not {node.op_type for node in model.graph.node} & graphs.FORBIDDEN
    assert {opset.version for opset in model.opset_import if opset.domain == ""} == {graphs.OPSET}


def test_the_graphs_share_their_weights(folder, network):
    weights = 4 * sum(parameter.numel() for parameter in network.parameters())
    assert (folder / "weights.data").stat().st_size < 1.1 * weights + 1000


def test_an_auto_encoder_encodes_the_mean_only(network):
    model = exporter.encode_graph(network, plain=True)
    assert [output.name for output in model.graph.output] == ["mean"]


@pytest.mark.parametrize("name", INTERFACE)
def test_a_graph_of_another_network_is_refused(network, sessions, name, tmp_path):
    torch.manual_seed(6)
    other = VAE(
        height=HEIGHT, width=WIDTH, colours=COLOURS, latent=LATENT, embedding=4, channels=(6, 8), hidden=16
    ).eval()
    make = {"encode": lambda n: exporter.encode_graph(n, plain=False), "decode": exporter.decode_graph}
    graphs.save({name: make.get(name, exporter.score_graph)(other)}, tmp_path)
    with pytest.raises(ExportRefused, match="differ from the network"):
        exporter.check(network, sessions | {name: Session(tmp_path / f"{name}.onnx")})
