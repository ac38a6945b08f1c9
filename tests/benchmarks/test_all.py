"""`python -m benchmarks` runs the benchmarks that are asked for, and names those that fail."""

import json
from importlib.util import find_spec

import pytest
from click.testing import CliRunner

from benchmarks import __main__ as everything
from benchmarks.__main__ import Benchmark


def run_all(*words, output):
    return CliRunner().invoke(everything.main, [*words, "--output", str(output)])


@pytest.mark.parametrize("name", sorted(everything.BENCHMARKS))
def test_every_benchmark_is_a_module(name):
    assert find_spec(everything.BENCHMARKS[name].module)


def test_small_and_only_run_the_small_form_of_one_benchmark(tmp_path):
    result = run_all("--small", "--only", "queue", output=tmp_path)
    assert result.exit_code == 0, result.output
    assert "-m benchmarks.queue --repetitions 2" in result.output
    assert "milliseconds" in json.loads((tmp_path / "queue.json").read_text())
    assert [file.name for file in tmp_path.iterdir()] == ["queue.json"]


@pytest.mark.slow
def test_clients_and_classes_get_what_is_due_to_them(tmp_path):
    result = run_all("--small", "--only", "fairness", output=tmp_path)
    assert result.exit_code == 0, result.output
    figures = json.loads((tmp_path / "fairness.json").read_text())
    assert (
        max(figures["off_percent"]["weights 4 : 2 : 1 : 1, 1 workers"].values()) < 25
    )  # 20 samples: one is 20 %
    assert figures["first_row_samples"] <= 1


@pytest.mark.slow
@pytest.mark.timeout(600)  # it traces a network
def test_constant_cost_has_a_small_form(tmp_path):
    result = run_all("--small", "--only", "constant_cost", output=tmp_path)
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "constant_cost.json").read_text())["size"] == 4


def test_an_unknown_name_is_refused_with_the_known_names(tmp_path):
    result = run_all("--only", "constant-cost", output=tmp_path)
    assert result.exit_code == 2
    assert all(f"'{name}'" in result.output for name in everything.BENCHMARKS)


@pytest.mark.slow
def test_figures_are_written_together_with_the_machine(tmp_path):
    result = run_all("--small", "--only", "engine-lecture", output=tmp_path)
    assert result.exit_code == 0, result.output
    figures = json.loads((tmp_path / "engine-lecture.json").read_text())
    assert {"date", "processor", "onnxruntime", "torch"} <= figures["machine"].keys()
    assert figures["ratios"]["int8, 32 in a batch, to fp32"] > 0


@pytest.mark.slow
def test_scale_has_samples_to_draw_for_its_whole_window(tmp_path):
    result = run_all("--small", "--only", "scale", output=tmp_path)
    assert result.exit_code == 0, result.output
    settings = json.loads((tmp_path / "scale.json").read_text())["settings"]
    assert settings["32 slots, 1 workers, 3 jobs waiting"]["occupancy"] > 0.5


def test_a_benchmark_that_fails_is_named(tmp_path, monkeypatch):
    broken = Benchmark(module="benchmarks.queue", arguments="--repetitions none", small="")
    monkeypatch.setitem(everything.BENCHMARKS, "queue", broken)
    result = run_all("--only", "queue", output=tmp_path)
    assert result.exit_code == 1
    assert "These benchmarks failed: queue." in result.output
