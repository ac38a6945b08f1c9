"""The registry of families agrees with itself, and with the manifests that are shipped."""

from pathlib import Path
from typing import get_args

import pytest

from smalti.runtime import draw_row
from smalti.runtime.families import FAMILIES, FamilyName, Sizes
from smalti.runtime.manifest import Manifest
from smalti.runtime.repository import ModelRepository
from tests.toy_model import write_toy_model

SIZES = Sizes(height=2, width=3, latent_size=4)
SHIPPED = ModelRepository(Path(__file__).parents[3] / "model_repository")


def shipped(name: str) -> Manifest:
    return SHIPPED.load(name).manifest


def test_every_name_of_a_family_is_registered():
    assert get_args(FamilyName) == tuple(FAMILIES)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_familys_main_graph_and_score_are_among_its_graphs(name):
    family = FAMILIES[name]
    graphs = family.signatures(SIZES)
    assert family.main in graphs
    for graph, score in family.scores.items():
        assert score.output in graphs[graph].outputs


@pytest.mark.parametrize(
    ("name", "graph", "kind"),
    [
        ("digits-pixel-rnn", "score", "log_likelihood"),
        ("digits-vae", "score", "elbo"),
        ("digits-gan", "discriminate", "real_probability"),
    ],
)
def test_a_shipped_manifest_says_how_the_model_scores(name, graph, kind):
    score = shipped(name).score
    assert score is not None
    assert (score.graph, score.kind) == (graph, kind)
    assert shipped(name).graph(score.graph).gives(score.output)


def test_a_model_without_a_graph_that_scores_has_no_score(tmp_path):
    assert shipped("digits-autoencoder").score is None
    assert write_toy_model(tmp_path).score is None


def test_what_a_model_can_do_follows_from_its_graphs():
    pixel_rnn, vae, gan = (shipped(f"digits-{name}") for name in ("pixel-rnn", "vae", "gan"))
    assert [model.draws_rows for model in (pixel_rnn, vae, gan)] == [True, False, False]
    assert [model.has_latents for model in (pixel_rnn, vae, gan)] == [False, True, True]
    assert [model.latent_graph for model in (pixel_rnn, vae, gan)] == [None, "decode", "generate"]
    assert [model.medium for model in (pixel_rnn, vae, gan)] == ["image"] * 3


def test_the_graph_draw_row_of_shipped_models_has_the_inputs_and_outputs_in_order():
    graph = shipped("digits-pixel-rnn").graph(draw_row.GRAPH)
    assert tuple(tensor.name for tensor in graph.inputs)[: len(draw_row.INPUTS)] == draw_row.INPUTS
    assert tuple(tensor.name for tensor in graph.outputs)[: len(draw_row.OUTPUTS)] == draw_row.OUTPUTS
