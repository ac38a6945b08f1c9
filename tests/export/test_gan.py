"""The exported GAN: the same pixels as torch, the same bits in every batch; a wrong export is refused."""

import numpy as np
import onnx
import pytest
import torch

from export import gan as exporter
from export import graphs
from export.errors import ExportRefused
from export.gan import Discriminate, Generate
from export.graphs import Session
from models.gan import Discriminator, Generator
from smalti.randomness import normals

pytestmark = pytest.mark.slow  # torch traces its networks

HEIGHT, WIDTH, COLOURS, LATENT = 7, 9, 12, 5
INTERFACE = {
    "generate": ({"latent": (-1, LATENT)}, {"pixels": (-1, HEIGHT, WIDTH)}),
    "discriminate": ({"pixels": (-1, HEIGHT, WIDTH)}, {"probability": (-1,)}),
}


def networks(seed: int, *, blends: bool = False) -> tuple[Generate, Discriminate]:
    torch.manual_seed(seed)
    palette = torch.rand(COLOURS, 3) * 2 - 1
    generator = Generator(
        height=HEIGHT, width=WIDTH, latent=LATENT, channels=(8, 8, 8), pigments=4, blends=blends
    )
    with torch.no_grad():
        list(generator.choices.parameters())[-2].mul_(30)  # so that latents decide what is painted
    discriminator = Discriminator(height=HEIGHT, width=WIDTH, channels=(8, 8, 8))
    discriminator.slope.fill_(20.0)  # as calibrated: small differences show
    discriminator.eval().unbind()
    return Generate(generator, palette).eval(), Discriminate(discriminator, palette).eval()


def write(pair, folder):
    generate, discriminate = pair
    models = {
        "generate": exporter.generate_graph(generate),
        "discriminate": exporter.discriminate_graph(discriminate, height=HEIGHT, width=WIDTH),
    }
    return graphs.save(models, folder)


def sessions_of(folder):
    return {name: Session(folder / f"{name}.onnx") for name in INTERFACE}


@pytest.fixture(scope="module", params=[False, True], ids=["chooses", "blends"])
def pair(request):
    return networks(5, blends=request.param)


@pytest.fixture(scope="module")
def folder(pair, tmp_path_factory):
    """The exported graphs."""
    folder = tmp_path_factory.mktemp("graphs")
    for name, graph in write(pair, folder).items():
        found = tuple({t.name: t.shape for t in side} for side in (graph.inputs, graph.outputs))
        assert found == INTERFACE[name]
    return folder


@pytest.fixture(scope="module")
def sessions(folder):
    return sessions_of(folder)


def inputs(name, count):
    if name == "generate":
        return {"latent": np.stack([normals(1, index, LATENT) for index in range(count)])}
    return {"pixels": np.random.default_rng(0).integers(0, COLOURS, (count, HEIGHT, WIDTH))}


def test_the_graphs_agree_with_torch(pair, sessions):
    parity = exporter.check(pair[0], pair[1], sessions)
    assert parity.pixels_equal
    assert parity.images >= 64
    assert parity.max_difference < 1e-4


def test_images_differ_and_so_do_their_probabilities(sessions):
    drawn = sessions["generate"].run(inputs("generate", 32))["pixels"]
    assert len(np.unique(drawn.reshape(32, -1), axis=0)) > 16
    probability = sessions["discriminate"].run(inputs("discriminate", 32))["probability"]
    assert len(np.unique(probability)) > 16
    assert 0 <= probability.min() <= probability.max() <= 1


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


@pytest.mark.parametrize("name", INTERFACE)
def test_a_graph_of_another_network_is_refused(pair, sessions, name, tmp_path):
    write(networks(6), tmp_path)
    with pytest.raises(ExportRefused, match="differ from the network"):
        exporter.check(pair[0], pair[1], sessions | {name: sessions_of(tmp_path)[name]})
