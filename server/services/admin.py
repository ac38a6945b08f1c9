"""Answers AdminService: what those who run the queue ask of it."""

from server.context import Context
from server.messages.checks import client_name_of, dead_limit_of
from server.messages.descriptions import describe_job, timestamp
from server.readiness import Readiness
from smalti.jobs.administration import ClientStatus, DeadSample, QueueAdministration, WorkerStatus
from smalti.jobs.sharing import ClientWeights
from smalti.v1 import admin_pb2 as pb
from smalti.v1 import admin_pb2_grpc


class AdminService(admin_pb2_grpc.AdminServiceServicer):
    """Requests about the queue as a whole; every RPC raises Unavailable while Redis is away."""

    def __init__(self, queue: QueueAdministration, weights: ClientWeights, readiness: Readiness) -> None:
        self._queue = queue
        self._weights = weights
        self._readiness = readiness

    async def ListWeights(self, request: pb.ListWeightsRequest, context: Context) -> pb.ListWeightsResponse:
        self._readiness.require_queue()
        weights = await self._weights.all()
        return pb.ListWeightsResponse(
            weights=[pb.Weight(client=client, weight=weight) for client, weight in weights.items()]
        )

    async def SetWeight(self, request: pb.SetWeightRequest, context: Context) -> pb.SetWeightResponse:
        self._readiness.require_queue()
        await self._weights.set(client_name_of(request.weight.client), request.weight.weight)
        return pb.SetWeightResponse()

    async def Statistics(self, request: pb.StatisticsRequest, context: Context) -> pb.StatisticsResponse:
        self._readiness.require_queue()
        found = await self._queue.statistics()
        return pb.StatisticsResponse(
            paused=found.is_paused,
            queued_jobs=found.depth.queued_jobs,
            running_jobs=found.depth.running_jobs,
            paused_jobs=found.depth.paused_jobs,
            ready_samples=found.depth.ready_samples,
            running_samples=found.depth.running_samples,
            dead_samples=found.dead,
            oldest_seconds=found.depth.oldest_seconds,
            workers=map(_worker, found.workers),
            clients=map(_client, found.clients),
        )

    async def PausePool(self, request: pb.PausePoolRequest, context: Context) -> pb.PausePoolResponse:
        self._readiness.require_queue()
        await self._queue.pause()
        return pb.PausePoolResponse()

    async def ResumePool(self, request: pb.ResumePoolRequest, context: Context) -> pb.ResumePoolResponse:
        self._readiness.require_queue()
        await self._queue.resume()
        return pb.ResumePoolResponse()

    async def DrainWorker(self, request: pb.DrainWorkerRequest, context: Context) -> pb.DrainWorkerResponse:
        self._readiness.require_queue()
        await self._queue.drain(request.worker)
        return pb.DrainWorkerResponse()

    async def ListDead(self, request: pb.ListDeadRequest, context: Context) -> pb.ListDeadResponse:
        limit = dead_limit_of(request.limit)
        self._readiness.require_queue()
        found = await self._queue.dead(job_id=request.job, limit=limit)
        return pb.ListDeadResponse(samples=map(_dead, found))

    async def Retry(self, request: pb.RetryRequest, context: Context) -> pb.RetryResponse:
        self._readiness.require_queue()
        job = await self._queue.retry(request.job, request.index)
        return pb.RetryResponse(job=describe_job(job))

    async def Audit(self, request: pb.AuditRequest, context: Context) -> pb.AuditResponse:
        self._readiness.require_queue()
        return pb.AuditResponse(repairs=await self._queue.audit())


def _worker(found: WorkerStatus) -> pb.WorkerStatus:
    return pb.WorkerStatus(
        name=found.name,
        fingerprint=found.fingerprint,
        slots=found.slots,
        held=found.held,
        lease_seconds=found.lease_seconds,
        draining=found.is_draining,
        digests=found.models,
    )


def _client(found: ClientStatus) -> pb.ClientStatus:
    return pb.ClientStatus(
        name=found.name,
        jobs=found.jobs,
        ready=max(0, found.ready),
        running=max(0, found.running),
        pixels=max(0, found.pixels),
        bytes=max(0, found.bytes),
        weight=found.weight,
    )


def _dead(found: DeadSample) -> pb.DeadSample:
    return pb.DeadSample(
        job=found.job,
        index=found.index,
        client=found.client,
        failed=timestamp(found.failed),
        rows=found.rows,
        error=found.error,
    )
