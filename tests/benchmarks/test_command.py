"""Benchmarks end with one sentence on what they cannot measure."""

from importlib import import_module

import pytest
from click.testing import CliRunner

from benchmarks.__main__ import BENCHMARKS
from benchmarks.command import Benchmark

MODULES = sorted({each.module for each in BENCHMARKS.values()} | {"benchmarks.gpu.__main__"})
DRAWS_ROWS = ("engine", "worker", "profile", "memory", "scale", "latency")


def refusal(module: str, *words: str) -> str:
    """The only line that the benchmark prints about its end."""
    result = CliRunner().invoke(import_module(f"benchmarks.{module}").main, words)
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in (1, 2)
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1
    assert "Traceback" not in result.output
    return lines[0]


@pytest.mark.parametrize("module", MODULES)
def test_every_benchmark_tells_expected_errors_in_one_sentence(module):
    assert isinstance(import_module(module).main, Benchmark)


@pytest.mark.parametrize("module", DRAWS_ROWS)
def test_a_model_that_does_not_exist_is_refused(module):
    assert "no model 'nonsense'" in refusal(module, "nonsense")


@pytest.mark.parametrize("module", DRAWS_ROWS)
def test_a_model_that_does_not_draw_row_by_row_is_refused(module):
    assert "digits-vae does not draw row by row" in refusal(module, "digits-vae")


def test_the_gpu_benchmark_refuses_the_same_models():
    assert "no model 'nonsense'" in refusal("gpu.__main__", "--model", "nonsense")
    assert "digits-vae does not draw row by row" in refusal("gpu.__main__", "--model", "digits-vae")


def test_a_one_shot_model_without_latents_is_refused():
    assert "digits-pixel-rnn makes no images from latents" in refusal(
        "latency", "--one-shot", "digits-pixel-rnn"
    )


@pytest.mark.parametrize(
    ("model", "sentence"),
    [("nonsense", "no model 'nonsense'"), ("digits-pixel-rnn", "digits-pixel-rnn")],
)
def test_the_server_benchmark_passes_on_what_the_server_refuses(model, sentence):
    assert sentence in refusal("server", model)


@pytest.mark.parametrize(
    ("recipe", "sentence"), [("nonsense", "no recipe 'nonsense'"), ("vae", "recipe vae")]
)
def test_constant_cost_refuses_other_recipes(recipe, sentence):
    assert sentence in refusal("constant_cost", recipe)


def test_images_that_do_not_exist_are_refused(tmp_path):
    assert str(tmp_path / "none") in refusal("duplicates", str(tmp_path / "none"))
