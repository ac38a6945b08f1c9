"""`python -m benchmarks` runs what there is, and says when something did not run to its end."""

import json
from importlib.util import find_spec

import pytest
from click.testing import CliRunner

from benchmarks import __main__ as everything


@pytest.mark.parametrize("name", sorted(everything.COMMANDS))
def test_every_benchmark_is_there(name):
    assert find_spec(everything.COMMANDS[name][0])


def test_the_small_ones_are_the_same_benchmarks():
    for name, command in everything.SMALL.items():
        assert command[0] == everything.COMMANDS[name][0]


@pytest.mark.slow
def test_figures_are_left_with_the_machine_they_were_taken_on(tmp_path):
    result = CliRunner().invoke(
        everything.main, ["--small", "--only", "engine-lecture", "--output", str(tmp_path)]
    )
    assert result.exit_code == 0, result.output
    figures = json.loads((tmp_path / "engine-lecture.json").read_text())
    assert {"date", "processor", "onnxruntime", "torch"} <= figures["machine"].keys()
    assert figures["ratios"]["int8, 32 in a batch, to fp32"] > 0


def test_a_benchmark_that_fails_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(everything.COMMANDS, "queue", ("benchmarks.queue", "--repetitions", "none"))
    result = CliRunner().invoke(everything.main, ["--only", "queue", "--output", str(tmp_path)])
    assert result.exit_code == 1
    assert "did not run to their end: queue" in result.output
