from pathlib import Path

import pytest

from server.messages.abilities import ScoreKind, require_generator, require_score, score_of
from smalti.errors import GraphNotServed
from smalti.runtime.repository import Manifest, ModelRepository
from tests.server.toys import write_gan, write_vae
from tests.toy_model import write_toy_model

SHIPPED = ModelRepository(Path(__file__).parents[3] / "model_repository")


def without(manifest: Manifest, graph: str) -> Manifest:
    kept = {name: each for name, each in manifest.graphs.items() if name != graph}
    return manifest.model_copy(update={"graphs": kept})


def test_the_graphs_of_a_model_say_how_it_scores(tmp_path: Path):
    likelihood = score_of(SHIPPED.load("digits-pixel-rnn").manifest)
    bound, real = score_of(write_vae(tmp_path)), score_of(write_gan(tmp_path))
    assert likelihood
    assert bound
    assert real
    assert (likelihood.graph, likelihood.output, likelihood.kind) == (
        "score",
        "logp",
        ScoreKind.LOG_LIKELIHOOD,
    )
    assert (bound.graph, bound.output, bound.kind) == ("score", "elbo", ScoreKind.ELBO)
    assert (real.graph, real.output, real.kind) == (
        "discriminate",
        "probability",
        ScoreKind.REAL_PROBABILITY,
    )


def test_a_model_without_a_graph_that_scores_is_refused_with_the_graphs_it_has(tmp_path: Path):
    manifest = without(write_vae(tmp_path), "score")
    assert score_of(manifest) is None
    sentence = "^toy-vae is a vae and has no graph that scores images; it has decode, encode.$"
    with pytest.raises(GraphNotServed, match=sentence):
        require_score(manifest)


def test_the_graph_that_draws_from_latents_is_found_whatever_its_name(tmp_path: Path):
    assert require_generator(write_vae(tmp_path)) == "decode"
    assert require_generator(write_gan(tmp_path)) == "generate"


def test_a_model_without_latents_is_refused_with_what_to_do_instead(tmp_path: Path):
    write_toy_model(tmp_path)
    manifest = ModelRepository(tmp_path).load("toy-pixel-rnn").manifest
    with pytest.raises(GraphNotServed, match=r"has no latent to draw from; it draws row by row, by jobs\.$"):
        require_generator(manifest, instead="it draws row by row, by jobs")
