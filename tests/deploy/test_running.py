"""The demo's and `make up`'s processes, for real."""

import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from deploy.system import ProcessDied, System, free_ports
from smalti.client import Client
from smalti.jobs.job import JobState
from smalti.values import Job

pytestmark = pytest.mark.system
MODEL = "digits-pixel-rnn"


def a_system(**options):
    return System(free_ports(1), redis_url=None, say=print, log=print, **options)


def test_jobs_survive_a_restart_of_everything(tmp_path):
    with a_system(redis_folder=tmp_path) as system, Client(system.address) as client:
        job = client.submit(MODEL, count=2, seed=7)
    with a_system(redis_folder=tmp_path) as system, Client(system.address) as client:
        *_, ended = client.watch(job.id)
        assert isinstance(ended, Job)
        assert ended.state is JobState.SUCCEEDED
        assert [result.index for result in client.results(job.id)] == [0, 1]


def test_a_worker_that_is_killed_is_noticed():
    with a_system() as system:
        os.kill(system.pids["worker"], signal.SIGKILL)
        with pytest.raises(ProcessDied, match="The worker ended with exit code -9"):
            system.wait()


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_or_a_closed_terminal_stops_all_that_the_demo_started(sent):
    environment = {name: value for name, value in os.environ.items() if name != "SMALTI_REDIS_URL"}
    demo = subprocess.Popen(
        [sys.executable, "-m", "deploy.demo"], env=environment, stdout=subprocess.PIPE, text=True
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
            [sys.executable, "-m", "deploy.up", "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert up.returncode == 1
    assert f"Port {port} of 127.0.0.1 is taken" in up.stderr
    assert up.stdout == ""
