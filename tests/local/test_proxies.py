"""Requests over HTTP to processes of this machine use no proxy."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.latencies import page_of
from smalti.errors import SettingsInvalid
from smalti.runtime.metrics import MetricsServer

ROOT = Path(__file__).resolve().parents[2]
DEAD = "http://127.0.0.1:1"


@pytest.fixture
def metrics() -> Iterator[MetricsServer]:
    server = MetricsServer("127.0.0.1", 0)
    yield server
    server.close()


def test_metrics_are_read_without_a_proxy(metrics, monkeypatch):
    monkeypatch.setenv("http_proxy", DEAD)
    monkeypatch.delenv("no_proxy", raising=False)
    assert "smalti_rpc_seconds" in page_of(f"http://127.0.0.1:{metrics.port}/metrics")


def test_the_compose_health_check_of_a_worker_uses_no_proxy(metrics):
    compose = (ROOT / "docker-compose.yml").read_text()
    [check] = re.findall(r'test: (\["CMD", "python".*\])', compose)
    command = json.loads(check)[2:]
    command = [part.replace("9402", str(metrics.port)) for part in command]
    done = subprocess.run([sys.executable, *command], env=os.environ | {"http_proxy": DEAD}, check=False)
    assert done.returncode == 0


def test_metrics_are_served_on_ipv6_with_and_without_brackets():
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    for host in ("::1", "[::1]"):
        server = MetricsServer(host, 0)
        try:
            assert "smalti_rpc_seconds" in page_of(f"http://[::1]:{server.port}/metrics")
        finally:
            server.close()


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 64 + ".example", "", "192.0.2.77"])
def test_a_wrong_metrics_host_is_one_sentence(host):
    with pytest.raises(SettingsInvalid, match=r"SMALTI_METRICS_HOST.*cannot listen on port 0 of"):
        MetricsServer(host, 0)
