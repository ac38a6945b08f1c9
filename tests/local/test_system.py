import re
import socket

import pytest

from local import ports as ports_module
from local.ports import Ports, free_port, free_ports
from local.processes import Process, ProcessDied
from local.system import System, chosen_redis, without_protection
from smalti.errors import SettingsInvalid, Unavailable
from smalti.runtime.settings import ServerSettings, read_settings


def a_system(ports, said):
    return System(ports, redis_url="redis://127.0.0.1:1/0", say=said.append)


def test_the_error_of_an_ended_process_has_the_end_of_its_log(until_dead):
    process = Process("tool", "json.tool", {}, None)  # its standard input is empty, so it fails
    with pytest.raises(
        ProcessDied, match=r"The tool ended with exit code 1; it said last:\n  Expecting value"
    ):
        until_dead(process)


def test_each_log_line_of_a_process_is_passed_on_with_its_name(until_dead):
    lines: list[str] = []
    with pytest.raises(ProcessDied):
        until_dead(Process("tool", "json.tool", {}, lines.append))
    assert any(re.match(r"tool +\| Expecting value", line) for line in lines)


def test_a_taken_port_is_named_before_anything_starts():
    said: list[str] = []
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        ports = Ports(server=port, server_metrics=0, worker_metrics=())
        with (
            pytest.raises(SettingsInvalid, match=f"Port {port} of 127.0.0.1 is taken"),
            a_system(ports, said),
        ):
            pass
    assert said == []


@pytest.mark.parametrize(
    ("variable", "value"), [("SMALTI_REDIS_URL", "http://x"), ("SMALTI_LEASE_SECONDS", "inf")]
)
def test_a_wrong_setting_is_refused_before_a_process_starts(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsInvalid, match=variable):
        chosen_redis()


def test_redis_is_private_unless_a_url_says_otherwise(monkeypatch):
    monkeypatch.setenv("SMALTI_REDIS_URL", "")
    assert chosen_redis() is None
    monkeypatch.setenv("SMALTI_REDIS_URL", "redis://localhost:6379/0")
    assert chosen_redis() == "redis://localhost:6379/0"


def test_a_redis_that_does_not_answer_is_refused_at_once():
    said: list[str] = []
    with (
        pytest.raises(Unavailable, match="SMALTI_REDIS_URL cannot be used: Redis does not answer"),
        a_system(free_ports(1), said),
    ):
        pass


def test_a_redis_that_refuses_is_reported_with_its_reason(redis_url):
    said: list[str] = []
    with (
        pytest.raises(Unavailable, match=r"cannot be used: .*Client names cannot contain spaces"),
        System(free_ports(1), redis_url=f"{redis_url}?client_name=a%20b", say=said.append),
    ):
        pass


def test_free_ports_differ():
    ports = free_ports(workers=3)
    assert len({ports.server, ports.server_metrics, *ports.worker_metrics}) == 5


def test_no_outgoing_connection_can_take_a_free_port(monkeypatch, tmp_path):
    monkeypatch.setattr(ports_module, "_LINUX_RANGE", tmp_path / "range")
    (tmp_path / "range").write_text("10300\t60999\n")
    assert all(10_240 <= free_port() < 10_300 for _ in range(20))


@pytest.mark.parametrize("said", ["1024\t65535\n", None])
def test_free_ports_are_found_whatever_the_system_says_of_outgoing_connections(said, monkeypatch, tmp_path):
    monkeypatch.setattr(ports_module, "_LINUX_RANGE", tmp_path / "range")
    if said:
        (tmp_path / "range").write_text(said)
    assert 10_240 <= free_port() < 32_768


def test_every_process_has_its_metrics_page():
    ports = Ports(server=1, server_metrics=2, worker_metrics=(3, 4))
    assert a_system(ports, []).metrics_urls == {
        "server": "http://127.0.0.1:2/metrics",
        "worker 1": "http://127.0.0.1:3/metrics",
        "worker 2": "http://127.0.0.1:4/metrics",
    }


def test_the_demo_ignores_tokens_and_tls_and_says_so(monkeypatch):
    said: list[str] = []
    assert without_protection(said.append)
    assert said == []
    for name in ("TOKENS_FILE", "TLS_CERT_FILE", "TLS_KEY_FILE", "TLS_CLIENT_CA_FILE", "METRICS_TOKEN_FILE"):
        monkeypatch.setenv(f"SMALTI_{name}", "some file")
    settings = without_protection(said.append)
    (sentence,) = said
    assert "SMALTI_TLS_CERT_FILE" in sentence
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    server = read_settings(ServerSettings)
    assert (server.tokens_file, server.tls_cert_file, server.metrics_token_file) == (None, None, None)


@pytest.fixture
def until_dead():
    """Waits until a process has ended, and checks it."""

    def check(process):
        process._child.wait(30)
        process.check()

    return check
