"""The calls of AdminService, made of plain values; their responses become plain values again."""

from typing import Any

from smalti.client.calls.call import Call, from_values
from smalti.client.calls.fields import real, text
from smalti.v1 import admin_pb2, admin_pb2_grpc

SERVICE: Any = admin_pb2_grpc.AdminServiceStub  # Any: grpc generates stubs without types


def weights() -> Call[dict[str, float]]:
    return Call(SERVICE, "ListWeights", admin_pb2.ListWeightsRequest(), _weights)


@from_values
def set_weight(client: str, weight: float) -> Call[None]:
    message = admin_pb2.Weight(client=text("client", client), weight=real("weight", weight))
    return Call(SERVICE, "SetWeight", admin_pb2.SetWeightRequest(weight=message), lambda reply: None)


# Messages → values
def _weights(reply: admin_pb2.ListWeightsResponse) -> dict[str, float]:
    return {each.client: each.weight for each in reply.weights}
