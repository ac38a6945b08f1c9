"""The metrics of several processes on one page."""

import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import Gauge, generate_latest

from docs.pages.metrics import declared, name
from smalti.runtime.metrics import FOLDER_PREFIX, FOLDER_VARIABLE, joined

GAUGES = [metric for metric in declared() if isinstance(metric, Gauge)]


@pytest.mark.parametrize("gauge", GAUGES, ids=name)
def test_every_gauge_says_how_several_processes_join_it(gauge: Gauge):
    assert gauge._multiprocess_mode in {
        "livesum",
        "livemax",
        "livemostrecent",
        "sum",
    }  # otherwise it has a label `pid`


def test_counters_of_processes_that_have_ended_still_count(tmp_path: Path):
    folder = tmp_path / f"{FOLDER_PREFIX}1"
    folder.mkdir()
    count = "from smalti.runtime.metrics import JOBS_SUBMITTED as jobs; jobs.labels('toy').inc(3)"
    for _ in range(2):
        subprocess.run(
            [sys.executable, "-c", count], env={FOLDER_VARIABLE: str(folder)}, check=True, timeout=60
        )
    page = generate_latest(joined(folder)).decode()
    assert 'smalti_jobs_submitted_total{model="toy"} 6.0' in page


@pytest.mark.parametrize("folder", ["", "there/is/none"])
def test_a_folder_that_another_program_has_set_gets_none_of_our_metrics(tmp_path: Path, folder: str):
    count = "from smalti.runtime.metrics import JOBS_SUBMITTED as jobs; jobs.labels('toy').inc(3)"
    subprocess.run(
        [sys.executable, "-c", count], env={FOLDER_VARIABLE: str(tmp_path / folder)}, check=True, timeout=60
    )
    assert list(tmp_path.iterdir()) == []
