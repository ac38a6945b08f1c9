"""The ports of `make up`, and its messages about ports that cannot be used."""

import socket
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from local.up import Wanted, _first_metrics_port, main
from smalti.errors import SettingsInvalid

ROOT = Path(__file__).resolve().parents[2]


def wanted(**changes):
    return Wanted(**{"workers": 2, "port": 50051, "metrics_port": 9401, "redis_port": 0} | changes)


def test_the_workers_metrics_follow_the_servers():
    ports = wanted(metrics_port=9501).ports
    assert (ports.server_metrics, ports.worker_metrics) == (9501, (9502, 9503))


@pytest.mark.parametrize(
    "changes", [{"port": 9402}, {"redis_port": 9401}, {"redis_port": 50051}, {"metrics_port": 65534}]
)
def test_equal_or_too_high_ports_are_refused(changes):
    with pytest.raises(SettingsInvalid, match="port"):
        _ = wanted(**changes).ports


def test_the_metrics_port_of_the_environment_is_used(monkeypatch):
    monkeypatch.setenv("SMALTI_METRICS_PORT", "9500")
    assert _first_metrics_port() == 9500


def test_a_second_system_has_a_redis_folder_of_its_own():
    assert wanted(port=50061).redis_folder != wanted().redis_folder


def test_the_command_for_a_second_system_names_free_ports():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        second = wanted(port=port, redis_port=0).elsewhere()
    assert second is not None
    assert second.port > port
    assert not any(second.ports.taken())
    assert second.command() == f"make up WORKERS=2 PORT={second.port} METRICS_PORT={second.metrics_port}"
    assert wanted(workers=1, redis_port=7).command() == "make up PORT=50051 METRICS_PORT=9401 REDIS_PORT=7"


def test_without_higher_free_ports_nothing_is_proposed():
    assert wanted(metrics_port=65530).elsewhere() is None


def test_make_passes_on_ports_of_its_command_line_but_not_of_the_environment():
    def printed(*words: str) -> str:
        command = ["make", "--dry-run", "up", *words]
        environment = {"PATH": "/usr/bin:/bin", "PORT": "8080"}
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        ).stdout

    assert "--port 50061 --metrics-port 9411 --redis-port 6390" in printed(
        "PORT=50061", "METRICS_PORT=9411", "REDIS_PORT=6390"
    )
    assert "8080" not in printed()


@pytest.mark.parametrize("option", ["--port", "--metrics-port"])
def test_port_0_is_refused_in_plain_words(option):
    said = CliRunner().invoke(main, [option, "0"]).stderr
    assert "0 is not a port to listen on: take 1 to 65535, or leave it out." in said


def test_a_taken_port_is_refused_before_anything_starts():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = CliRunner().invoke(main, ["--port", str(port)])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Port {port} of 127.0.0.1 is taken, which is for the server: ")
    assert "Stopped" not in result.stderr
