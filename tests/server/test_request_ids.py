"""One id for each RPC, in its metadata, its error and the log, whichever service it asks."""

import logging
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
import structlog
from grpc_health.v1 import health_pb2
from structlog.testing import LogCapture

from server.request_ids import KEY
from smalti.client.failures import from_rpc
from smalti.v1 import jobs_pb2, models_pb2

WRONG = np.zeros((1, 99), np.float32)  # no graph takes so many numbers


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """The events that are logged, with the variables of their context."""
    capture, usual = LogCapture(), structlog.get_config()
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, capture],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=False,
    )
    yield capture.entries
    structlog.configure(**usual)


async def id_of(call: Any) -> str:
    """The request id in the trailing metadata of a call."""
    await call
    return str(dict(await call.trailing_metadata())[KEY])


async def test_a_response_carries_the_id_that_the_client_gave(server):
    listed = server.models.List(models_pb2.ListModelsRequest(), metadata=((KEY, "order-66/b"),))
    assert await id_of(listed) == "order-66/b"
    healthy = server.health.Check(health_pb2.HealthCheckRequest(), metadata=((KEY, "order-67"),))
    assert await id_of(healthy) == "order-67"


@pytest.mark.parametrize("given", ["", "a b", "x" * 129])
async def test_an_id_of_a_bad_form_is_replaced(server, given):
    request = models_pb2.ListModelsRequest()
    made = [await id_of(server.models.List(request, metadata=((KEY, given),))) for _ in range(2)]
    assert given not in made
    assert len({*made}) == 2
    assert all(each.isalnum() for each in made)


async def test_an_error_carries_the_id_which_the_client_keeps(server):
    call = server.models.Get(models_pb2.GetModelRequest(name="toy-cat"), metadata=((KEY, "order-66"),))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    assert dict(refused.value.trailing_metadata() or ())[KEY] == "order-66"
    error = from_rpc(refused.value, server.address)
    assert error.request_id == "order-66"


async def test_what_an_rpc_does_is_logged_with_its_id_and_what_happens_later_is_not(server, logged, until):
    unload = models_pb2.UnloadModelRequest(name="toy-vae")
    await server.models.Unload(unload, metadata=((KEY, "order-66"),))
    await server.models.Load(models_pb2.LoadModelRequest(name="toy-vae"), metadata=((KEY, "order-67"),))
    ids = {entry["event"]: entry.get("request_id") for entry in logged}
    assert ids["model unloaded"] == "order-66"
    assert ids["model served"] == "order-67"
    served = server.application.catalogue.get("toy-vae")
    with pytest.raises(Exception, match="failed on a batch"):
        await served.ask("decode", {"latent": WRONG})
    [failed] = [entry for entry in logged if entry["event"] == "run failed"]
    assert "request_id" not in failed


async def test_a_job_keeps_the_id_of_the_submit_that_queued_it(server, hand_worker):
    request = jobs_pb2.SubmitRequest(model={"name": "toy-pixel-rnn"}, seed=1, request_id="once")
    for rpc in ("order-66", "order-67"):  # the second one gives the same job
        submitted = await server.jobs.Submit(request, metadata=((KEY, rpc),))
        assert submitted.job.rpc_id == "order-66"
    assert (await server.jobs.Get(jobs_pb2.GetJobRequest(id=submitted.job.id))).rpc_id == "order-66"
    [claim] = await hand_worker.claim()
    assert claim.origin.rpc_id == "order-66"
