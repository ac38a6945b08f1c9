from pathlib import Path

import pytest

from server.messages.abilities import require_generator, require_score
from smalti.errors import GraphNotServed
from smalti.runtime.manifest import Manifest
from smalti.runtime.repository import ModelRepository
from tests.server.toys import write_gan, write_vae
from tests.toy_model import write_toy_model

SHIPPED = ModelRepository(Path(__file__).parents[3] / "model_repository")


def without(manifest: Manifest, graph: str) -> Manifest:
    kept = {name: each for name, each in manifest.graphs.items() if name != graph}
    return manifest.model_copy(update={"graphs": kept, "score": None})


def test_the_manifest_of_a_model_says_how_it_scores(tmp_path: Path):
    likelihood = require_score(SHIPPED.load("digits-pixel-rnn").manifest)
    bound, real = require_score(write_vae(tmp_path)), require_score(write_gan(tmp_path))
    assert (likelihood.graph, likelihood.output, likelihood.kind) == ("score", "logp", "log_likelihood")
    assert (bound.graph, bound.output, bound.kind) == ("score", "elbo", "elbo")
    assert (real.graph, real.output, real.kind) == ("discriminate", "probability", "real_probability")


def test_a_model_without_a_graph_that_scores_is_refused_with_the_graphs_it_has(tmp_path: Path):
    manifest = without(write_vae(tmp_path), "score")
    sentence = "^toy-vae is a vae and has no graph that scores images; it has decode, encode.$"
    with pytest.raises(GraphNotServed, match=sentence):
        require_score(manifest)


def test_the_graph_that_draws_from_latents_is_found_whatever_its_name(tmp_path: Path):
    assert require_generator(write_vae(tmp_path)) == "decode"
    assert require_generator(write_gan(tmp_path)) == "generate"


def test_a_model_without_latents_is_refused_with_what_to_do_instead(tmp_path: Path):
    write_toy_model(tmp_path)
    manifest = ModelRepository(tmp_path).load("toy-pixel-rnn").manifest
    with pytest.raises(
        GraphNotServed, match=r"has no latent to draw from; it draws row by row: submit a job\.$"
    ):
        require_generator(manifest, instead="it draws row by row: submit a job")
