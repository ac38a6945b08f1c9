"""Settings come from SMALTI_* variables, once, and a bad one is named."""

import pytest

from smalti.errors import SettingsInvalid
from smalti.settings import ServerSettings, WorkerSettings, read_settings, strange_variables


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


URLS = [
    "foo",
    "http://x",
    "redis:h",
    "redis://",
    "redis:///0",
    "redis://h:0/0",
    "redis://h:99999/0",
    "redis://h:port/0",
    "redis://h/abc",
    "redis://h/0/1",
    "redis://h/0#1",
    "redis://h/0?db=",
    "redis://h/0?db=x",
    "redis://h/0?db",
    "redis://h/0?retries=3",
    "redis://h/0?socket_timeout=soon",
    "redis://h/0?protocol=9",
    "rediss://h/0?ssl_cert_reqs=maybe",
    "redis://:%zz@h/0",
    "redis://:%ff@h/0",
    "redis://[::1/0",
    "redis://h h/0",
    " redis://h/0",
    "redis://h/0\n",
    "unix://run/redis.sock",
    "unix://",
]


@pytest.mark.parametrize("kind", [ServerSettings, WorkerSettings])
@pytest.mark.parametrize("url", URLS)
def test_a_redis_url_that_means_nothing_is_one_sentence(monkeypatch, kind, url):
    monkeypatch.setenv("SMALTI_REDIS_URL", url)
    with pytest.raises(SettingsInvalid, match=r"^SMALTI_REDIS_URL .*such as redis://localhost:6379/0"):
        read_settings(kind)


@pytest.mark.parametrize(
    "url",
    [
        "redis://:se/cret@h/0",
        "redis://:se#cret@h/0",
        "redis://:se?cret@h/0",
        "redis://:se cret@h/0",
        "redis://:se%cret@h/0",
        "redis://u:se:cret@h:se/cret",
        "redis://h/0?passwort=secret",
        "redis//:secret@h/0",
        "secret",
    ],
)
def test_no_part_of_a_password_is_ever_said(monkeypatch, url):
    monkeypatch.setenv("SMALTI_REDIS_URL", url)
    with pytest.raises(SettingsInvalid) as raised:
        read_settings(WorkerSettings)
    assert "cret" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "redis://h:6380/",
        "redis://[::1]:6379/3",
        "rediss://user:p%2Fw%23%25@h:6380/0?ssl_cert_reqs=none",
        "unix:///run/redis.sock?db=1",
        "redis://h/0?protocol=2",
    ],
)
def test_a_redis_url_that_means_something_is_taken_as_it_is(monkeypatch, url):
    monkeypatch.setenv("SMALTI_REDIS_URL", url)
    assert read_settings(WorkerSettings).redis_url == url


def _numbers(kind):
    return [name for name, field in kind.model_fields.items() if field.annotation in (int, float)]


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "-1", "1e30", "1" + "0" * 30, "many", "1 2"])
@pytest.mark.parametrize(
    ("kind", "field"),
    [(kind, field) for kind in (ServerSettings, WorkerSettings) for field in _numbers(kind)],
)
def test_a_number_that_no_setting_can_be_is_refused_by_the_name_of_its_variable(
    monkeypatch, kind, field, value
):
    variable = f"SMALTI_{field.upper()}"
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsInvalid, match=f"^{variable} is "):
        read_settings(kind)


def test_every_kind_of_number_is_among_those_that_are_tried():
    assert {"threads", "lease_seconds", "metrics_port", "slots", "interactive_share"} <= set(
        _numbers(WorkerSettings)
    )
    assert {"max_batch", "max_queue_delay_seconds", "max_retention_seconds"} <= set(_numbers(ServerSettings))


def test_a_variable_that_is_empty_is_as_if_it_were_not_set(monkeypatch):
    for field in WorkerSettings.model_fields:
        monkeypatch.setenv(f"SMALTI_{field.upper()}", "")
    assert read_settings(WorkerSettings) == WorkerSettings.model_construct()


def test_a_variable_that_nothing_reads_is_told_with_the_one_that_was_meant():
    environment = {
        "SMALTI_LEASE_SECOND": "1",
        "SMALTI_MAX_BATCH": "8",
        "smalti_slots": "8",
        "SMALTI_SERVER": "h:1",
        "SMALTI_QQQ": "",
        "OTHER": "",
    }
    assert list(strange_variables(environment)) == [
        "nothing reads SMALTI_LEASE_SECOND: did you mean SMALTI_LEASE_SECONDS?",
        "nothing reads SMALTI_QQQ",
    ]


def test_server_and_worker_export_metrics_on_different_ports_by_default():
    assert ServerSettings().metrics_port != WorkerSettings().metrics_port


def test_a_gpu_runs_all_slots_at_once_unless_it_is_told_other_sizes_too(monkeypatch):
    assert read_settings(WorkerSettings).gpu_batches == (32,)
    monkeypatch.setenv("SMALTI_GPU_BUCKETS", "8,1")
    assert read_settings(WorkerSettings).gpu_batches == (1, 8, 32)
