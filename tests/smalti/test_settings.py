"""Settings come from SMALTI_* variables, once, and a bad one is named."""

import pytest

from smalti.errors import SettingsInvalid
from smalti.settings import ServerSettings, WorkerSettings, read_settings


def test_a_variable_overrides_the_default(monkeypatch):
    monkeypatch.setenv("SMALTI_SLOTS", "7")
    assert read_settings(WorkerSettings).slots == 7


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SMALTI_SLOTS", "0"),
        ("SMALTI_LEASE_SECONDS", "soon"),
        ("SMALTI_PROVIDERS", "tpu"),
        ("SMALTI_POOL", "a:b"),
        ("SMALTI_GPU_BUCKETS", "1;8"),
        ("SMALTI_GPU_BUCKETS", "0,8"),
        ("SMALTI_GPU_BUCKETS", "64"),  # more than there are slots
    ],
)
def test_a_bad_value_is_refused_by_the_name_of_its_variable(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsInvalid, match=f"{variable} is '{value}'"):
        read_settings(WorkerSettings)


def test_server_and_worker_export_metrics_on_different_ports_by_default():
    assert ServerSettings().metrics_port != WorkerSettings().metrics_port


def test_a_gpu_runs_all_slots_at_once_unless_it_is_told_other_sizes_too(monkeypatch):
    assert read_settings(WorkerSettings).gpu_batches == (32,)
    monkeypatch.setenv("SMALTI_GPU_BUCKETS", "8,1")
    assert read_settings(WorkerSettings).gpu_batches == (1, 8, 32)
