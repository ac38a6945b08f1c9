"""The demo and `make up` with real processes."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest
from click.testing import CliRunner

from local import secrets
from local.ports import free_ports
from local.system import System
from smalti.client import Client, Job
from smalti.jobs.job import JobState

pytestmark = pytest.mark.system
MODEL = "digits-pixel-rnn"
ROOT = Path(__file__).resolve().parents[2]


def a_system(**options):
    return System(free_ports(1), redis_url=None, say=print, log=print, **options)


@pytest.mark.slow
def test_jobs_survive_a_restart_of_everything(tmp_path):
    with a_system(redis_folder=tmp_path) as system, Client(system.address) as client:
        job = client.submit(MODEL, count=2, seed=7)
    with a_system(redis_folder=tmp_path) as system, Client(system.address) as client:
        *_, ended = client.watch(job.id)
        assert isinstance(ended, Job)
        assert ended.state is JobState.SUCCEEDED
        assert [result.index for result in client.results(job.id)] == [0, 1]


@pytest.mark.slow
def test_a_killed_process_is_started_again_and_the_rest_goes_on(tmp_path):
    said: list[str] = []
    with System(free_ports(1), redis_url=None, redis_folder=tmp_path, say=said.append) as system:
        worker, server, redis = system.pids["worker"], system.pids["server"], system.pids["redis"]
        keeping = Thread(target=system.keep, daemon=True)
        keeping.start()
        os.kill(worker, signal.SIGKILL)
        os.kill(redis, signal.SIGKILL)
        with Client(system.address) as client:
            job = client.submit(MODEL, count=2, seed=7, patience_seconds=60)
            *_, ended = client.watch(job.id, patience_seconds=60)
        assert isinstance(ended, Job)
        assert ended.state is JobState.SUCCEEDED
        assert system.pids["worker"] != worker
        assert system.pids["server"] == server
        system.stop_keeping()
        keeping.join()
    assert any("The worker ended with exit code -9" in sentence for sentence in said)
    assert any("The private Redis ended by itself" in sentence for sentence in said)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_sigterm_and_a_closed_terminal_stop_everything_the_demo_started(sent):
    environment = {name: value for name, value in os.environ.items() if name != "SMALTI_REDIS_URL"}
    demo = subprocess.Popen(
        [sys.executable, "-m", "local.demo"], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert demo.stdout is not None
    redis = re.search(r"Redis on port (\d+)", demo.stdout.readline())
    server = re.search(r"server on 127.0.0.1:(\d+)", demo.stdout.readline())
    assert redis is not None
    assert server is not None
    demo.send_signal(sent)
    said, _ = demo.communicate(timeout=60)
    assert (demo.returncode, "everything that was started is stopped" in said) == (130, True)
    for port in (redis[1], server[1]):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(port)), timeout=5)


def test_up_names_a_taken_port_and_starts_nothing():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        up = subprocess.run(
            [sys.executable, "-m", "local.up", "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert up.returncode == 1
    assert f"Port {port} of 127.0.0.1 is taken, which is for the server" in up.stderr
    assert re.search(r"type: make up PORT=\d+ METRICS_PORT=\d+$", up.stderr, re.MULTILINE)
    assert up.stdout == ""


def test_up_becomes_ready_with_tokens_mutual_tls_and_a_token_of_the_metrics(tmp_path):
    folder, ports = tmp_path / "secrets", free_ports(1)
    assert CliRunner().invoke(secrets.main, ["--folder", str(folder)]).exit_code == 0
    protection = {
        "SMALTI_TOKENS_FILE": "server/tokens.toml",
        "SMALTI_TLS_CERT_FILE": "server/server.pem",
        "SMALTI_TLS_KEY_FILE": "server/server.key",
        "SMALTI_TLS_CLIENT_CA_FILE": "server/ca.pem",
        "SMALTI_METRICS_TOKEN_FILE": "metrics.token",
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SMALTI_")}
    environment |= {name: str(folder / file) for name, file in protection.items()} | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-u", "-m", "local.up", "--port", str(ports.server)]
    command += ["--metrics-port", str(ports.server_metrics)]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as up:
        assert up.stdout is not None
        is_ready = any(line.startswith("Ready on") for line in up.stdout)
        clients = {name: folder / file for name, file in (("ca", "ca.pem"), ("cert", "client.pem"))}
        token = folder / "tokens/operator.token"
        with Client(
            f"127.0.0.1:{ports.server}", **clients, key=folder / "client.key", token_file=token
        ) as client:
            assert client.models()
        up.send_signal(signal.SIGINT)
        up.communicate(timeout=60)
    assert is_ready
