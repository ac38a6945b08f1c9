"""The models that tests of the worker draw with."""

from pathlib import Path

import pytest

from smalti.repository import Manifest
from tests.worker.story import SHIPPED, open_runner
from worker.runner import Runner

Model = tuple[Manifest, Runner]


@pytest.fixture
def toy(toy_repository: Path) -> Model:
    """The toy and a runner for it."""
    return open_runner(toy_repository, "toy-pixel-rnn")


@pytest.fixture(
    params=["toy-pixel-rnn", "digits-pixel-rnn", "digits-pixel-rnn-lecture", "digits-pixel-rnn-lecture-int8"]
)
def model(request: pytest.FixtureRequest, toy_repository: Path) -> Model:
    """The toy, and the real models for digits that ship with smalti, each with a runner."""
    root = toy_repository if request.param.startswith("toy") else SHIPPED
    return open_runner(root, request.param)
