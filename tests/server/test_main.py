"""The server as a process: how it starts, what it refuses to start with, how it stops."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import onnxruntime
import pytest
from redis import Redis

from local.ports import free_port
from smalti.client.health import ask
from tests.rights import NEEDS_ROOT, WITHOUT_RIGHTS, lock

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(repository: Path, redis_url: str) -> Iterator[Start]:
    """Starts servers with SMALTI_ variables, and kills those that still run at the end."""
    started = []

    def begin(*before: str, **variables: str) -> "subprocess.Popen[str]":
        settings = {
            "SMALTI_REDIS_URL": redis_url,
            "SMALTI_MODEL_REPOSITORY": str(repository),
            "SMALTI_METRICS_PORT": "0",
        } | variables
        process = subprocess.Popen(
            [*before, sys.executable, "-m", "server"],
            env=os.environ | settings,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def address() -> str:
    """An address with a free port."""
    return f"127.0.0.1:{free_port()}"


async def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """The exit code, and the output on standard error."""
    _, said = await asyncio.to_thread(process.communicate, timeout=30)
    return process.returncode, said


async def is_ready(address: str) -> bool:
    return await asyncio.to_thread(ask, address) == "SERVING"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_the_server_in_order(start: Start, address: str, until, number):
    process = start(SMALTI_LISTEN=address)
    await until(lambda: is_ready(address), seconds=30)
    process.send_signal(number)
    code, said = await ended(process)
    assert code == 0
    assert "stopped" in said


async def test_a_taken_port_ends_the_server_with_one_sentence(start: Start, address: str):
    host, port = address.split(":")
    with socket.socket() as taken:
        taken.bind((host, int(port)))
        taken.listen()
        code, said = await ended(start(SMALTI_LISTEN=address))
    assert code == 1
    assert f"cannot listen on {address}: Address already in use." in said
    assert "Traceback" not in said
    assert len([line for line in said.splitlines() if "error" in line.lower()]) == 1


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="may have a GPU")
async def test_a_server_set_to_use_a_missing_gpu_says_so_once_and_stops(start: Start, address: str):
    code, said = await ended(start(SMALTI_LISTEN=address, SMALTI_PROVIDERS="cuda"))
    assert code == 1
    assert said.count("onnxruntime has no working CUDAExecutionProvider here") == 1
    assert "Traceback" not in said


async def test_a_redis_that_could_lose_jobs_is_refused(start: Start, address: str, own_redis):
    with Redis(port=own_redis.port) as redis:
        redis.config_set("appendonly", "no")
    code, said = await ended(start(SMALTI_LISTEN=address, SMALTI_REDIS_URL=own_redis.url))
    assert code == 1
    assert "could lose acknowledged jobs" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("SMALTI_MAX_BATCH", "many", "SMALTI_MAX_BATCH is 'many'"),
        ("SMALTI_REDIS_URL", "redis://h/abc", "SMALTI_REDIS_URL has something other than"),
        ("SMALTI_METRICS_HOST", "h" * 300, "SMALTI_METRICS_PORT: cannot listen"),
    ],
)
async def test_a_wrong_setting_ends_the_server_with_one_sentence(start: Start, variable, value, sentence):
    code, said = await ended(start(**{variable: value}))
    assert code == 1
    assert sentence in said
    assert "Traceback" not in said


@NEEDS_ROOT
async def test_a_server_leaves_out_models_that_it_may_not_read(
    start: Start, address: str, repository: Path, until
):
    (repository / "lost+found").mkdir()
    lock(repository / "lost+found")
    lock(repository / "toy-gan")
    process = start(*WITHOUT_RIGHTS, SMALTI_LISTEN=address)
    await until(lambda: is_ready(address), seconds=30)
    process.send_signal(signal.SIGTERM)
    code, said = await ended(process)
    assert code == 0
    assert "toy-gan cannot be read: Permission denied." in said
    assert said.count("lost+found is not a model") == 1
    assert "Traceback" not in said


@pytest.mark.parametrize("name", ["absent", "file"])
async def test_a_server_without_a_repository_says_so_in_one_sentence(
    start: Start, address: str, tmp_path: Path, until, name: str
):
    (tmp_path / "file").touch()
    process = start(SMALTI_LISTEN=address, SMALTI_MODEL_REPOSITORY=str(tmp_path / name))
    await until(lambda: is_alive(address), seconds=30)
    assert not await is_ready(address)
    process.send_signal(signal.SIGTERM)
    code, said = await ended(process)
    assert code == 0
    assert said.count("The model repository cannot be read: ") == 1
    assert "Traceback" not in said


async def is_alive(address: str) -> bool:
    return await asyncio.to_thread(ask, address, "smalti.v1.ModelService") == "SERVING"


async def test_listening_beyond_this_machine_logs_a_warning(start: Start, address: str, until):
    everywhere = address.replace("127.0.0.1", "0.0.0.0")
    process = start(SMALTI_LISTEN=everywhere)
    await until(lambda: is_ready(address), seconds=30)
    process.send_signal(signal.SIGTERM)
    assert "beyond this machine" in (await ended(process))[1]


async def test_a_short_loopback_address_works_without_a_warning_and_every_log_line_is_json(
    start: Start, address: str, until
):
    short = address.replace("127.0.0.1", "127.1")
    process = start(SMALTI_LISTEN=short, SMALTI_LOG_FORMAT="json")
    await until(lambda: is_ready(short), seconds=30)
    process.send_signal(signal.SIGTERM)
    code, said = await ended(process)
    assert code == 0
    assert "beyond this machine" not in said
    assert all(json.loads(line)["event"] for line in said.splitlines())


# gRPC cannot listen here, and says so on standard error. Clients and traces use the same library as this server.
TRY_TO_LISTEN = """
import asyncio, grpc
async def main():
    try:
        grpc.aio.server().add_insecure_port("127.1:1")
    except RuntimeError:
        pass
asyncio.run(main())
"""
COMMAND = """
import sys, smalti.__main__
sys.argv = ["smalti", "--version"]
try:
    smalti.__main__.main()
except SystemExit:
    pass
"""


@pytest.mark.parametrize("before", ["import server", COMMAND])
def test_grpc_prints_lines_of_its_own_only_if_the_environment_asks_for_them(before: str):
    usual = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}

    def said(**told: str) -> str:
        command = [sys.executable, "-c", before + TRY_TO_LISTEN]
        done = subprocess.run(
            command, env=usual | told, capture_output=True, text=True, check=True, timeout=60
        )
        return done.stderr

    assert said() == ""
    assert "add_port" in said(GRPC_VERBOSITY="ERROR")


async def test_the_probes_exit_code_says_whether_the_server_is_ready(start: Start, address: str, until):
    def probe() -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "server.health", address]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    away = await asyncio.to_thread(probe)
    assert away.returncode == 1
    assert away.stderr.startswith(f"The server at {address} is not ready: no answer")
    start(SMALTI_LISTEN=address)
    await until(lambda: is_ready(address), seconds=30)
    assert (await asyncio.to_thread(probe)).returncode == 0


@pytest.mark.parametrize("module", ["server", "worker", "server.health"])
def test_help_explains_a_process_and_starts_nothing(module: str):
    asked = subprocess.run(
        [sys.executable, "-m", module, "--help"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (asked.returncode, asked.stderr) == (0, "")
    assert asked.stdout.startswith(f"Usage: python -m {module} ")
    assert "SMALTI_*" in asked.stdout


@pytest.mark.parametrize(
    "words",
    [("server", "127.0.0.1:1"), ("worker", "--slots=3"), ("server.health", "127.0.0.1:1", "127.0.0.1:2")],
)
def test_arguments_that_a_process_does_not_know_are_refused(words: tuple[str, ...]):
    asked = subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert asked.returncode == 2
    last = asked.stderr.splitlines()[-1]
    assert last.startswith("Error: ")
    assert words[-1] in last or words[-1].split("=")[0] in last
    assert "Traceback" not in asked.stderr
