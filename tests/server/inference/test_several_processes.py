"""The protocol's models, settings and statistics, which all processes of a server share."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio

from local.latencies import page_of
from tests.server.several import Several

CLIENTS = 20  # so many that each process practically always has one


@pytest.fixture
async def clients(several: Several) -> AsyncIterator[list[Any]]:
    """Triton's clients, each with a connection of its own; each process has at least one."""
    own = [("grpc.use_local_subchannel_pool", 1)]
    made = [triton_aio.InferenceServerClient(several.address, channel_args=own) for _ in range(CLIENTS)]
    await asyncio.gather(*(each.is_server_live() for each in made))
    assert all(several.connections(pid) for pid in several.pids())
    yield made
    for each in made:
        await each.close()


async def states(clients: list[Any]) -> set[bool]:
    """Whether toy-vae.decode is ready, as each client hears."""
    return set(await asyncio.gather(*(each.is_model_ready("toy-vae.decode") for each in clients)))


async def test_unload_and_load_reach_every_process(clients):
    await clients[0].unload_model("toy-vae.decode")
    assert await states(clients) == {False}
    await clients[-1].load_model("toy-vae.encode")
    assert await states(clients) == {True}


async def test_settings_are_the_same_in_every_process_also_in_one_that_starts_later(
    several: Several, clients, until
):
    await clients[0].update_trace_settings("toy-vae.decode", {"trace_rate": "5"})
    await clients[0].update_log_settings({"log_verbose_level": 2})

    async def kept(each: Any) -> tuple[str, int]:
        trace = await each.get_trace_settings("toy-vae.decode")
        log = await each.get_log_settings()
        return trace.settings["trace_rate"].value[0], log.settings["log_verbose_level"].uint32_param

    assert {await kept(each) for each in clients} == {("5", 2)}
    for number, pid in enumerate(several.pids(), start=1):  # given that every process was replaced
        os.kill(pid, signal.SIGTERM)
        await until(lambda number=number: len(several.said("listening")) == 2 + number, seconds=60)
    assert {await kept(each) for each in clients} == {("5", 2)}


async def test_statistics_count_what_every_process_answered(clients):
    latent = triton.InferInput("latent", [2, 3], "FP32")
    latent.set_data_from_numpy(np.zeros((2, 3), np.float32))
    await asyncio.gather(*(each.infer("toy-vae.decode", [latent]) for each in clients))
    for each in (clients[0], clients[-1]):
        [counted] = (await each.get_inference_statistics("toy-vae.decode")).model_stats
        assert counted.inference_count == 2 * CLIENTS
        assert counted.inference_stats.success.count == counted.inference_stats.queue.count == CLIENTS


async def test_the_page_of_metrics_has_what_every_process_answered_also_after_it_ended(
    several: Several, clients, until
):
    latent = triton.InferInput("latent", [1, 3], "FP32")
    latent.set_data_from_numpy(np.zeros((1, 3), np.float32))
    await asyncio.gather(*(each.infer("toy-vae.decode", [latent]) for each in clients))
    succeeded = 'nv_inference_request_success{model="toy-vae.decode",version="1"}'

    async def counts(expected: int) -> bool:
        page = await asyncio.to_thread(page_of, several.metrics_url)
        return f"{succeeded} {expected:.1f}" in page.splitlines()

    await until(lambda: counts(CLIENTS))
    os.kill(several.pids()[0], signal.SIGKILL)
    await until(lambda: len(several.said("listening")) == 3, seconds=60)
    assert await counts(CLIENTS)


async def test_a_region_is_known_in_every_process(several: Several, clients, until):
    file = Path("/dev/shm") / f"smalti-several-{os.getpid()}"
    file.write_bytes(bytes(64))
    try:
        await clients[0].register_system_shared_memory("mine", file.name, 64)
        assert {await known(each) for each in clients} == {("mine",)}
        for number, pid in enumerate(several.pids(), start=1):  # given that every process was replaced
            os.kill(pid, signal.SIGTERM)
            await until(lambda number=number: len(several.said("listening")) == 2 + number, seconds=60)
        assert {await known(each) for each in clients} == {("mine",)}
        await clients[-1].unregister_system_shared_memory("mine")
        assert {await known(each) for each in clients} == {()}
    finally:
        file.unlink()


async def known(client: Any) -> tuple[str, ...]:
    """The names of the regions that a client's process knows."""
    return tuple((await client.get_system_shared_memory_status()).regions)
