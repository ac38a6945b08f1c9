"""A server of several processes: one port, one answer, one /metrics, whichever process a client is connected to."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from redis import Redis

from local.latencies import page_of
from server.supervisor import supervise
from smalti.client.health import ask
from smalti.errors import SettingsInvalid
from smalti.runtime.settings import ServerSettings
from smalti.v1 import models_pb2
from tests.server.conftest import StartSeveral
from tests.server.several import Connection, Several, connect, is_alive

CONNECTIONS = 20  # so many that each process practically always has one


@pytest.fixture
def server(several: Several) -> Several:
    """A server of two processes that is ready."""
    return several


@pytest.fixture
async def connections(server: Several) -> AsyncIterator[list[Connection]]:
    """Connections to the server; each process has at least one."""
    async with connect(server.address, CONNECTIONS) as made:
        await asyncio.gather(*(each.decode() for each in made))
        assert all(server.connections(pid) for pid in server.pids())
        yield made


async def codes(connections: list[Connection], model: str) -> set[str]:
    """How a request for the model is answered, over all connections."""
    return set(await asyncio.gather(*(code(each, model) for each in connections)))


async def code(connection: Connection, model: str = "toy-vae") -> str:
    try:
        await connection.decode(model)
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


async def metric(server: Several, start: str) -> float:
    """The sum of the lines of /metrics that start so."""
    page = await asyncio.to_thread(page_of, server.metrics_url)
    return sum(float(line.split()[-1]) for line in page.splitlines() if line.startswith(start))


DECODED = 'smalti_rpc_seconds_count{code="OK",method="Decode"'


async def test_unload_and_load_reach_every_process(server: Several, connections: list[Connection]):
    first, *_ = connections
    await first.models.Unload(models_pb2.UnloadModelRequest(name="toy-vae"))
    assert await codes(connections, "toy-vae") == {"NOT_FOUND"}
    assert await asyncio.to_thread(ask, server.address, "toy-vae") == "NOT_SERVING"
    loaded = await connections[-1].models.Load(models_pb2.LoadModelRequest(name="toy-vae"))
    assert loaded.model.version == 1
    assert await codes(connections, "toy-vae") == {"OK"}
    with pytest.raises(grpc.aio.AioRpcError, match="There is no model 'toy-cat'") as refused:
        await first.models.Load(models_pb2.LoadModelRequest(name="toy-cat"))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_all_processes_log_what_a_request_changed_with_its_id(
    server: Several, connections: list[Connection]
):
    request = models_pb2.UnloadModelRequest(name="toy-vae")
    await connections[0].models.Unload(request, metadata=(("x-request-id", "order-66"),))
    unloaded = server.said("model unloaded")
    assert {each["process"]: each["request_id"] for each in unloaded} == {1: "order-66", 2: "order-66"}


@pytest.mark.parametrize("name", ["", "a" * 64, "\x01" * 15_900_000])
async def test_a_name_that_no_model_has_is_refused_before_other_processes_hear_of_it(
    server: Several, connections: list[Connection], name: str
):
    models = connections[0].models
    for ask_for, request in (
        (models.Load, models_pb2.LoadModelRequest(name=name)),
        (models.Unload, models_pb2.UnloadModelRequest(name=name)),
    ):
        with pytest.raises(grpc.aio.AioRpcError, match="1 to 63 characters") as refused:
            await ask_for(request)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert await codes(connections, "toy-vae") == {"OK"}


async def test_one_page_has_the_metrics_of_all_processes(server: Several, connections: list[Connection]):
    await asyncio.gather(*(each.decode() for each in connections))
    assert await metric(server, DECODED) == 2 * CONNECTIONS
    page = await asyncio.to_thread(page_of, server.metrics_url)
    assert "pid=" not in page
    assert 'smalti_queue_jobs{state="QUEUED"} 0.0' in page


async def test_a_port_of_several_processes_is_taken_for_every_other_server(
    server: Several, start_several: StartSeveral, until
):
    others = [
        start_several(SMALTI_LISTEN=server.address, SMALTI_SERVER_PROCESSES=count) for count in ("1", "2")
    ]
    for other in others:
        await until(lambda other=other: other.supervisor.poll() is not None, seconds=30)
        assert other.supervisor.returncode == 1
        [gave_up] = other.said("server gives up")
        assert gave_up["reason"].endswith(f"cannot listen on {server.address}: Address already in use.")


async def test_what_only_a_person_can_repair_is_said_once_and_ends_all(
    start_several: StartSeveral, own_redis, until
):
    with Redis(port=own_redis.port) as redis:
        redis.config_set("appendonly", "no")
    server = start_several(SMALTI_REDIS_URL=own_redis.url)
    await until(lambda: server.supervisor.poll() is not None, seconds=30)
    assert server.supervisor.returncode == 1
    assert server.log().count("could lose acknowledged jobs") == 1
    assert "Traceback" not in server.log()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_answers_every_request_that_was_accepted(
    start_several: StartSeveral, until, number: signal.Signals
):
    server = start_several(SMALTI_MAX_QUEUE_DELAY_SECONDS="1")
    await until(server.has_started, seconds=60)
    async with connect(server.address, CONNECTIONS) as connections:
        crowd = [each for each in connections for _ in range(4)]
        await asyncio.gather(*(each.decode() for each in crowd))
        asking = [asyncio.create_task(each.decode()) for each in crowd]  # given requests that wait for others
        await until(lambda: all_wait(server, asking))
        server.supervisor.send_signal(number)  # when the server is stopped
        answers = await asyncio.gather(*asking)
    assert all(answers)  # then each of them is answered
    assert await asyncio.to_thread(server.supervisor.wait, 20) == 0
    assert len(server.said("stopped")) == 3
    assert not server.said("process killed: it did not stop")


async def all_wait(server: Several, asking: list["asyncio.Task[bytes]"]) -> bool:
    waiting = await metric(server, "nv_inference_pending_request_count")
    return waiting + sum(each.done() for each in asking) == len(asking)


async def more_than(server: Several, count: float) -> bool:
    return await metric(server, DECODED) > count


@pytest.mark.slow
async def test_a_killed_process_costs_only_its_own_connections_and_comes_back_as_the_others_are(
    server: Several, connections: list[Connection], until
):
    await connections[0].models.Unload(models_pb2.UnloadModelRequest(name="toy-gan"))
    victim, other = server.pids()
    hit = server.connections(victim)
    over = asyncio.Event()

    async def ask_on(connection: Connection) -> set[str]:
        seen = set()
        while not over.is_set():
            seen.add(await code(connection))
        return seen

    asking = [asyncio.create_task(ask_on(each)) for each in connections]
    before = await metric(server, DECODED)
    await until(lambda: more_than(server, before))
    before = await metric(server, DECODED)
    os.kill(victim, signal.SIGKILL)  # when one process is killed under load
    await until(lambda: len(server.said("listening")) == 3, seconds=30)
    over.set()
    seen = await asyncio.gather(*asking)
    assert sum("UNAVAILABLE" in each for each in seen) <= hit  # then only its connections fail, for a moment
    assert set.union(*seen) <= {"OK", "UNAVAILABLE"}
    assert other in server.pids()
    assert await metric(server, DECODED) > before  # and nothing that was counted is lost
    async with connect(server.address, CONNECTIONS) as fresh:
        assert await codes(fresh, "toy-vae") == {"OK"}
        assert all(server.connections(pid) for pid in server.pids())
        assert await codes(fresh, "toy-gan") == {"NOT_FOUND"}  # and the new process knows what was unloaded
    health = [await asyncio.to_thread(ask, server.address, "toy-gan") for _ in range(8)]
    assert set(health) == {"NOT_SERVING"}
    [ended] = server.said("process ended, started again soon")
    assert ended["reason"] == "signal 9"


def remove_the_metrics_folder(temporary: Path) -> None:
    """As a cleaner of temporary files does."""
    [folder] = temporary.glob("smalti-metrics-*")
    shutil.rmtree(folder)


@pytest.mark.slow
async def test_a_process_that_is_told_to_end_is_renewed_at_once_even_if_the_metrics_folder_was_removed(
    start_several: StartSeveral, tmp_path: Path, until
):
    server = start_several(TMPDIR=str(tmp_path))
    await until(server.has_started, seconds=60)
    remove_the_metrics_folder(tmp_path)
    for number, pid in enumerate(server.pids(), start=1):
        os.kill(pid, signal.SIGTERM)
        await until(lambda number=number: len(server.said("listening")) == 2 + number, seconds=30)
    assert len(server.said("process ended in order, started again")) == 2
    async with connect(server.address, CONNECTIONS) as fresh:
        assert await codes(fresh, "toy-vae") == {"OK"}
    assert await metric(server, DECODED) == CONNECTIONS


@pytest.mark.slow
async def test_no_process_outlives_a_killed_supervisor(server: Several, until):
    left = server.pids()
    server.supervisor.kill()
    server.supervisor.wait()
    await until(lambda: not any(is_alive(pid) for pid in left), seconds=20)


async def test_several_processes_need_a_temporary_folder(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", "/there/is/none")
    with pytest.raises(SettingsInvalid, match="make /tmp writable, or set TMPDIR"):
        await supervise(ServerSettings(server_processes=2, listen="127.0.0.1:0"))


def test_a_supervisor_imports_neither_grpc_nor_onnxruntime():
    look = "import sys, server.__main__, server.supervisor; print({'grpc', 'onnxruntime'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "set()\n"
