"""The soak finds nothing in a short run, and finds what is wrong."""

import json
import random
from typing import Any

import pytest
from click.testing import CliRunner

from smalti.client import Image, ModelVersion, SampleResult
from smalti.client import Job as ClientJob
from smalti.jobs.job import JobState
from tests.system import soak
from tests.system.cluster import Cluster
from tests.toy_model import write_toy_model


@pytest.mark.slow
def test_a_short_soak_of_a_whole_system_breaks_no_promise(tmp_path):
    result = CliRunner().invoke(soak.main, ["--minutes", "0.2", "--seed", "1", "--report", str(tmp_path)])
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["violations"] == []
    assert report["faults"]
    assert report["samples"] > 0


@pytest.fixture
def watching(tmp_path):
    """A soak that has not begun, to ask what it says of results."""
    write_toy_model(tmp_path / "models", soak.TOY)
    report = soak.Report(seconds=1, seed=1, lease_seconds=1)
    found = soak.Soak(
        Cluster(tmp_path, repository=tmp_path / "models"), report, repository=tmp_path / "models"
    )
    yield found
    found.close()


def a_job(**changes):
    fields: dict[str, Any] = dict.fromkeys(("created", "started", "ended", "expires"))
    fields |= {
        "id": "7",
        "model": ModelVersion("toy"),
        "count": 1,
        "seed": 1,
        "first_index": 0,
        "temperature": 1.0,
    }
    fields |= {"height": 64, "width": 6, "done": 1, "failed": 0, "running": 0, "reason": ""}
    return ClientJob(**fields | {"state": JobState.SUCCEEDED} | changes)


def a_result(pixels=None, error=""):
    image = None if pixels is None else Image(height=64, width=6, indices=pixels, palette=("#000000",) * 7)
    return SampleResult(index=0, image=image, log_probability=-1.0, error=error, fingerprint="cpu")


@pytest.mark.parametrize(
    ("job", "results", "said"),
    [
        (a_job(), [a_result(random.Random(1).randbytes(384))], "has other pixels than seed 1 gives"),
        (a_job(), [], "has 0 of 1 results"),
        (
            a_job(state=JobState.FAILED),
            [a_result(error="no")],
            "is FAILED, and samples [0] failed instead of []",
        ),
        (a_job(state=JobState.CANCELLED), [], "is CANCELLED, and nobody cancelled it"),
    ],
)
def test_the_soak_says_what_is_wrong(watching, job, results, said):
    watching._check(job, results)
    assert any(said in sentence for sentence in watching._report.violations)
