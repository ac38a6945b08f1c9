"""Answers AdminService: what those who run the queue ask of it."""

from server.context import Context
from server.messages.checks import client_name_of
from server.readiness import Readiness
from smalti.jobs.sharing import ClientWeights
from smalti.v1 import admin_pb2 as pb
from smalti.v1 import admin_pb2_grpc


class AdminService(admin_pb2_grpc.AdminServiceServicer):
    """Requests about the queue as a whole; every RPC raises Unavailable while Redis is away."""

    def __init__(self, weights: ClientWeights, readiness: Readiness) -> None:
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
