"""The calls of AdminService, made of plain values; their responses become plain values again."""

from collections.abc import Mapping
from datetime import UTC
from typing import Any

from smalti.client.calls.call import Call, from_values
from smalti.client.calls.fields import check_whole, real, text
from smalti.client.calls.jobs import id_of, read_job
from smalti.client.values import ClientStatus, DeadSample, Job, JobOrId, QueueStatistics, WorkerStatus
from smalti.v1 import admin_pb2, admin_pb2_grpc

SERVICE: Any = admin_pb2_grpc.AdminServiceStub  # Any: grpc generates stubs without types


def weights() -> Call[dict[str, float]]:
    return Call(SERVICE, "ListWeights", admin_pb2.ListWeightsRequest(), _weights)


@from_values
def set_weight(client: str, weight: float) -> Call[None]:
    message = admin_pb2.Weight(client=text("client", client), weight=real("weight", weight))
    return Call(SERVICE, "SetWeight", admin_pb2.SetWeightRequest(weight=message), lambda reply: None)


def statistics() -> Call[QueueStatistics]:
    return Call(SERVICE, "Statistics", admin_pb2.StatisticsRequest(), _statistics)


def pause_pool() -> Call[None]:
    return Call(SERVICE, "PausePool", admin_pb2.PausePoolRequest(), lambda reply: None)


def resume_pool() -> Call[None]:
    return Call(SERVICE, "ResumePool", admin_pb2.ResumePoolRequest(), lambda reply: None)


@from_values
def drain_worker(worker: str) -> Call[None]:
    return Call(
        SERVICE,
        "DrainWorker",
        admin_pb2.DrainWorkerRequest(worker=text("worker", worker)),
        lambda reply: None,
    )


@from_values
def dead_samples(job: JobOrId | None, *, limit: int) -> Call[list[DeadSample]]:
    check_whole("limit", limit, bits=32)
    request = admin_pb2.ListDeadRequest(job="" if job is None else id_of(job), limit=limit)
    return Call(SERVICE, "ListDead", request, lambda reply: list(map(_dead, reply.samples)))


@from_values
def retry_sample(job: JobOrId, index: int) -> Call[Job]:
    check_whole("index", index)
    request = admin_pb2.RetryRequest(job=id_of(job), index=index)
    return Call(SERVICE, "Retry", request, lambda reply: read_job(reply.job))


def audit_queue() -> Call[Mapping[str, int]]:
    return Call(SERVICE, "Audit", admin_pb2.AuditRequest(), lambda reply: dict(reply.repairs))


# Messages → values
def _weights(reply: admin_pb2.ListWeightsResponse) -> dict[str, float]:
    return {each.client: each.weight for each in reply.weights}


def _statistics(reply: admin_pb2.StatisticsResponse) -> QueueStatistics:
    return QueueStatistics(
        paused=reply.paused,
        queued_jobs=reply.queued_jobs,
        running_jobs=reply.running_jobs,
        paused_jobs=reply.paused_jobs,
        ready_samples=reply.ready_samples,
        running_samples=reply.running_samples,
        dead_samples=reply.dead_samples,
        oldest_seconds=reply.oldest_seconds,
        workers=tuple(map(_worker, reply.workers)),
        clients=tuple(map(_client, reply.clients)),
    )


def _worker(message: admin_pb2.WorkerStatus) -> WorkerStatus:
    return WorkerStatus(
        name=message.name,
        fingerprint=message.fingerprint,
        slots=message.slots,
        held=message.held,
        lease_seconds=message.lease_seconds,
        draining=message.draining,
        digests=tuple(message.digests),
    )


def _client(message: admin_pb2.ClientStatus) -> ClientStatus:
    return ClientStatus(
        name=message.name,
        jobs=message.jobs,
        ready=message.ready,
        running=message.running,
        pixels=message.pixels,
        bytes=message.bytes,
        weight=message.weight,
    )


def _dead(message: admin_pb2.DeadSample) -> DeadSample:
    return DeadSample(
        job=message.job,
        index=message.index,
        client=message.client,
        failed=message.failed.ToDatetime(UTC),
        rows=message.rows,
        error=message.error,
    )
