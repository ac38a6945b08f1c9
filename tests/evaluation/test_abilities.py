"""Abilities: what the graphs of the shipped models say that a model can do."""

from pathlib import Path

import pytest

from evaluation import abilities
from evaluation.abilities import Cost
from smalti.runtime.repository import ModelRepository

ROOT = Path(__file__).parents[2] / "model_repository"


def manifest(name):
    return ModelRepository(ROOT).load(name).manifest


@pytest.mark.parametrize(
    ("name", "cost"),
    [
        ("digits-pixel-rnn", Cost.EXACT),
        ("digits-pixel-rnn-lecture-int8", Cost.EXACT),
        ("digits-vae", Cost.BOUND),
        ("digits-autoencoder", Cost.RECONSTRUCTION),
        ("digits-gan", Cost.NONE),
    ],
)
def test_the_graphs_say_how_an_images_cost_can_be_measured(name, cost):
    assert abilities.cost(manifest(name)) is cost


def test_only_a_model_with_an_encoder_encodes():
    names = ("digits-vae", "digits-autoencoder", "digits-gan", "digits-pixel-rnn")
    assert [abilities.encodes(manifest(name)) for name in names] == [True, True, False, False]
