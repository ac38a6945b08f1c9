"""Settings come from SMALTI_* variables, once, and a bad one is named."""

import pytest

from smalti.errors import SettingsInvalid
from smalti.runtime.settings import ServerSettings, WorkerSettings, read_settings, strange_variables


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
def test_a_bad_value_is_refused_and_its_variable_named(monkeypatch, variable, value):
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
    "unix:///run/redis%00.sock",
    "redis://a..b:1",
    "redis://.",
    "redis://" + "a" * 300,
    "redis://" + "a." * 200 + "a",
    "redis://a%20b:1",
    "redis://256.0.0.1",
    "redis://h/0?db=3",
    "redis://h?db=1&db=2",
    "redis://h?password=x&password=y",
    "redis://:pw@h?password=x",
    "redis://u:pw@h?username=x",
    "redis://h?client_name=a%20b",
    "redis://h?client_name=a%0Ab",
    "redis://h?client_name=%C3%A9",
    "redis+sentinel://h:26379",
    "redis+sentinel://h:26379,/master",
    "redis+sentinel://h:26379/ma%20ster",
    "redis+sentinel://h:0/master",
    "redis+sentinel://h/master/x",
    "redis+sentinel://h/master?sentinel_password=a&sentinel_password=b",
    "redis+sentinel://h/master?passwort=x",
    "redis+cluster://h:7000,",
    "redis+cluster://h:7000/1",
    "redis+cluster://",
    "redis+other://h",
    "unix+sentinel:///run/redis.sock",
]


@pytest.mark.parametrize("kind", [ServerSettings, WorkerSettings])
@pytest.mark.parametrize("url", URLS)
def test_an_invalid_redis_url_is_refused_in_one_sentence(monkeypatch, kind, url):
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
        "redis+sentinel://h/m?sentinel_password=secret&sentinel_password=secret",
        "redis+cluster://:se/cret@h:7000",
        "redis//:secret@h/0",
        "secret",
    ],
)
def test_no_message_contains_a_part_of_a_password(monkeypatch, url):
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
        "redis://127.1:1",
        "redis://h\u00e9_1.example.:1",
        "redis://u:pw@h?db=3&client_name=smalti-1",
        "redis+sentinel://u:pw@h1,h2:26380,[::1]:26381/my-master/2?sentinel_password=p%26w&client_name=a",
        "rediss+cluster://u:p%2Cw@h1:7000,h2:7001?ssl_cert_reqs=none",
    ],
)
def test_a_valid_redis_url_is_kept_unchanged(monkeypatch, url):
    monkeypatch.setenv("SMALTI_REDIS_URL", url)
    assert read_settings(WorkerSettings).redis_url == url


BYTE = b"redis://u:pw\xff@127.0.0.1:6379".decode(errors="surrogateescape")  # as os.environ has it


@pytest.mark.parametrize(
    ("kind", "field"),
    [(kind, field) for kind in (ServerSettings, WorkerSettings) for field in kind.model_fields],
)
def test_a_byte_that_is_not_utf_8_is_refused_in_every_setting(monkeypatch, kind, field):
    variable = f"SMALTI_{field.upper()}"
    monkeypatch.setenv(variable, BYTE)
    with pytest.raises(SettingsInvalid) as raised:
        read_settings(kind)
    assert str(raised.value) == f"{variable} has a byte that is not UTF-8: write it in UTF-8."


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("ssl_ca_certs={folder}/missing", "ssl_ca_certs that cannot be read: No such file"),
        ("ssl_certfile=/nonexist", "ssl_certfile that cannot be read: No such file"),
        ("ssl_keyfile=/", "ssl_keyfile that cannot be read: Is a directory"),
        ("ssl_keyfile=a%00b", "ssl_keyfile that cannot be read: no path can be so"),
        ("ssl_ca_path={folder}/missing", "ssl_ca_path that is not a folder"),
        (f"ssl_ca_certs={__file__}", "options of TLS .* cannot be used: NO_CERTIFICATE"),
        (f"ssl_certfile={__file__}&ssl_keyfile={__file__}", "options of TLS .* cannot be used"),
        ("ssl_ciphers=none-such", "options of TLS .* cannot be used: No cipher"),
    ],
)
def test_unusable_tls_files_and_options_are_refused_at_once(monkeypatch, tmp_path, option, reason):
    option = option.replace("{folder}", str(tmp_path))
    monkeypatch.setenv("SMALTI_REDIS_URL", f"rediss://u:secret@127.0.0.1:1?{option}")
    with pytest.raises(SettingsInvalid, match=f"^SMALTI_REDIS_URL .*{reason}") as raised:
        read_settings(WorkerSettings)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("variable", "value", "wanted"),
    [
        ("SMALTI_THREADS", "many", "a whole number from 1 to 1024"),
        ("SMALTI_THREADS", "1_0", "a whole number from 1 to 1024"),
        ("SMALTI_THREADS", "1.5", "a whole number from 1 to 1024"),
        ("SMALTI_LEASE_SECONDS", "1_0", "a number from 0.01 to 86400"),
        ("SMALTI_LEASE_SECONDS", "\u0663", "a number from 0.01 to 86400"),
        ("SMALTI_INTERACTIVE_SHARE", "2", "a number above 0 and up to 1"),
        ("SMALTI_ALLOW_VOLATILE_REDIS", "perhaps", "true or false"),
        ("SMALTI_LOG_LEVEL", "loud", "debug, info, warning or error"),
        ("SMALTI_PROVIDERS", "tpu", "cpu or cuda"),
        ("SMALTI_POOL", "a:b", "1 to 32 lower-case ASCII letters, digits and hyphens"),
        ("SMALTI_GPU_BUCKETS", "\u0663", "sizes of batches separated by commas, such as 1,8"),
        ("SMALTI_GPU_BUCKETS", "64", "sizes of batches that lie between 1 and the 32 slots"),
    ],
)
def test_the_refusal_of_a_value_says_what_the_setting_takes(monkeypatch, variable, value, wanted):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsInvalid) as raised:
        read_settings(WorkerSettings)
    assert str(raised.value) == f"{variable} is '{value}': it takes {wanted}."


def test_a_long_wrong_value_is_shortened(monkeypatch):
    monkeypatch.setenv("SMALTI_SLOTS", "x" * 5000)
    with pytest.raises(SettingsInvalid) as raised:
        read_settings(WorkerSettings)
    assert len(str(raised.value)) < 200
    assert all(len(sentence) < 250 for sentence in strange_variables({"SMALTI_" + "X" * 5000: ""}))


def _numbers(kind):
    return [name for name, field in kind.model_fields.items() if field.annotation in (int, float)]


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "-1", "1e30", "1" + "0" * 30, "many", "1 2"])
@pytest.mark.parametrize(
    ("kind", "field"),
    [(kind, field) for kind in (ServerSettings, WorkerSettings) for field in _numbers(kind)],
)
def test_an_impossible_number_is_refused_and_its_variable_named(monkeypatch, kind, field, value):
    variable = f"SMALTI_{field.upper()}"
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsInvalid, match=f"^{variable} is "):
        read_settings(kind)


def test_the_impossible_numbers_cover_every_kind_of_setting():
    assert {"threads", "lease_seconds", "metrics_port", "slots", "interactive_share"} <= set(
        _numbers(WorkerSettings)
    )
    assert {"max_batch", "max_queue_delay_seconds", "max_retention_seconds"} <= set(_numbers(ServerSettings))


def test_an_empty_variable_counts_as_not_set(monkeypatch):
    for field in WorkerSettings.model_fields:
        monkeypatch.setenv(f"SMALTI_{field.upper()}", "")
    assert read_settings(WorkerSettings) == WorkerSettings.model_construct()


def test_an_unknown_variable_is_reported_with_the_most_similar_name():
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


def test_a_gpus_batch_sizes_always_include_all_slots(monkeypatch):
    assert read_settings(WorkerSettings).gpu_batches == (32,)
    monkeypatch.setenv("SMALTI_GPU_BUCKETS", "8,1")
    assert read_settings(WorkerSettings).gpu_batches == (1, 8, 32)


def test_the_url_of_redis_may_come_from_a_file(monkeypatch, tmp_path):
    file = tmp_path / "url"
    file.write_text("redis://u:secret@127.0.0.1:6380/1\n")
    monkeypatch.setenv("SMALTI_REDIS_URL_FILE", str(file))
    assert read_settings(ServerSettings).redis_url == "redis://u:secret@127.0.0.1:6380/1"
    assert read_settings(WorkerSettings).redis_url == "redis://u:secret@127.0.0.1:6380/1"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "SMALTI_REDIS_URL_FILE: .*url cannot be read: No such file or directory"),
        (b"\xff", "SMALTI_REDIS_URL_FILE: .*url cannot be read: it is not text in UTF-8"),
        (b"http://u:secret@h", "SMALTI_REDIS_URL does not begin with redis://"),
        (b"", "SMALTI_REDIS_URL does not begin with redis://"),
    ],
)
def test_a_file_with_no_url_of_redis_is_refused_without_a_secret(monkeypatch, tmp_path, content, message):
    file = tmp_path / "url"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("SMALTI_REDIS_URL_FILE", str(file))
    with pytest.raises(SettingsInvalid, match=f"^{message}") as raised:
        read_settings(ServerSettings)
    assert "secret" not in str(raised.value)


def test_the_url_of_redis_is_said_once(monkeypatch, tmp_path):
    (tmp_path / "url").write_text("redis://127.0.0.1:6380/1")
    monkeypatch.setenv("SMALTI_REDIS_URL_FILE", str(tmp_path / "url"))
    monkeypatch.setenv("SMALTI_REDIS_URL", "redis://127.0.0.1:6379/0")
    with pytest.raises(SettingsInvalid, match="both set: set only one"):
        read_settings(ServerSettings)
