"""Triton's metrics on /metrics, as its dashboards ask for them."""

import asyncio
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from prometheus_client import REGISTRY

from server.inference.exporting import Exporting
from server.inference.naming import ProtocolModels
from server.oneshot.statistics import GraphStatistics, reason_of
from smalti.errors import BatcherFull, DeadlinePassed, GraphFailed, InternalError, WaitedTooLong

COUNTERS = [
    "nv_inference_request_success",
    "nv_inference_count",
    "nv_inference_exec_count",
    "nv_inference_request_duration_us",
    "nv_inference_queue_duration_us",
    "nv_inference_compute_input_duration_us",
    "nv_inference_compute_infer_duration_us",
    "nv_inference_compute_output_duration_us",
]


def value(name: str, **more: str) -> float:
    found = REGISTRY.get_sample_value(name, {"model": "toy-vae.decode", "version": "1", **more})
    assert found is not None, name
    return found


@pytest.fixture
def exporting(server) -> Exporting:
    """Copies when a test says so; the server's own copies once a second."""
    return Exporting(ProtocolModels(server.application.catalogue))


async def infer(client: Any, images: int = 1) -> None:
    latent = triton.InferInput("latent", [images, 3], "FP32")
    latent.set_data_from_numpy(np.zeros((images, 3), np.float32))
    await client.infer("toy-vae.decode", [latent])


async def test_answered_requests_are_in_every_counter(client, exporting):
    for images in (1, 3):
        await infer(client, images)
    exporting.copy()
    counted = {name: value(name) for name in COUNTERS}
    assert [counted[name] for name in COUNTERS[:3]] == [2, 4, 2]
    assert (
        counted["nv_inference_request_duration_us"] >= counted["nv_inference_compute_infer_duration_us"] > 0
    )
    assert value("nv_inference_pending_request_count") == 0


async def test_the_server_copies_by_itself(client, server, until):
    await infer(client)
    await until(lambda: value("nv_inference_request_success") == 1)


async def test_counters_go_on_when_a_version_is_loaded_again(client, exporting):
    await infer(client)
    exporting.copy()
    await client.unload_model("toy-vae.decode")
    exporting.copy()
    assert value("nv_inference_request_success") == 1
    await client.load_model("toy-vae.decode")
    await infer(client)
    exporting.copy()
    assert value("nv_inference_request_success") == 2


async def test_a_failure_has_its_reason(server, exporting):
    served = server.application.catalogue.get("toy-vae")
    with pytest.raises(DeadlinePassed):
        await served.ask("decode", {"latent": np.zeros((1, 3), np.float32)}, deadline=0.0)
    with pytest.raises(GraphFailed):
        await served.ask("decode", {"latent": np.zeros((1, 99), np.float32)})
    exporting.copy()
    failed = {
        reason: value("nv_inference_request_failure", reason=reason)
        for reason in ("REJECTED", "CANCELED", "BACKEND", "OTHER")
    }
    assert failed == {"REJECTED": 1, "CANCELED": 0, "BACKEND": 1, "OTHER": 0}


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        (BatcherFull("Full.", retry_seconds=1), "REJECTED"),
        (WaitedTooLong("Late."), "REJECTED"),
        (asyncio.CancelledError(), "CANCELED"),
        (InternalError("A bug."), "OTHER"),
    ],
)
def test_reasons_are_those_of_triton(cause, reason):
    assert reason_of(cause) == reason
    statistics = GraphStatistics()
    statistics.add_failure(7, cause)
    statistics.join(statistics)
    assert statistics.failures == {reason: 2}
    assert (statistics.fail.count, statistics.fail.nanoseconds) == (2, 14)
