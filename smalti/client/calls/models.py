"""The calls of ModelService, made of plain values; their responses become plain values again."""

import json
from typing import Any

from smalti.client.calls.call import Call, from_values
from smalti.client.calls.fields import check_whole, text
from smalti.client.values import Graph, LeftOut, Model, ModelDetails, Tensor
from smalti.v1 import models_pb2, models_pb2_grpc

SERVICE: Any = models_pb2_grpc.ModelServiceStub  # Any: grpc generates stubs without types


def models() -> Call[list[Model]]:
    request = models_pb2.ListModelsRequest()
    return Call(SERVICE, "List", request, lambda reply: list(map(_read_model, reply.models)))


@from_values
def model(name: str, *, version: int) -> Call[ModelDetails]:
    check_whole("version", version, bits=32)
    request = models_pb2.GetModelRequest(name=text("model", name), version=version)
    return Call(SERVICE, "Get", request, _model_details)


def left_out() -> Call[list[LeftOut]]:
    return Call(SERVICE, "List", models_pb2.ListModelsRequest(), _left_out)


@from_values
def load(name: str, *, version: int) -> Call[Model]:
    check_whole("version", version, bits=32)
    request = models_pb2.LoadModelRequest(name=text("model", name), version=version)
    return Call(SERVICE, "Load", request, lambda reply: _read_model(reply.model))


@from_values
def unload(name: str, *, version: int) -> Call[None]:
    check_whole("version", version, bits=32)
    request = models_pb2.UnloadModelRequest(name=text("model", name), version=version)
    return Call(SERVICE, "Unload", request, lambda reply: None)


# Messages → values
def _read_model(message: models_pb2.Model) -> Model:
    return Model(
        name=message.name,
        version=message.version,
        family=message.family,
        variant=message.variant,
        height=message.height,
        width=message.width,
        palette=tuple(message.palette),
        graphs=tuple(message.graphs),
        latent_size=message.latent_size,
        digest=message.digest,
        licence=message.licence,
        medium=message.medium,
        signatures=tuple(map(_graph, message.signatures)),
    )


def _graph(message: models_pb2.Graph) -> Graph:
    return Graph(
        name=message.name,
        inputs=tuple(map(_tensor, message.inputs)),
        outputs=tuple(map(_tensor, message.outputs)),
        is_batched=message.is_batched,
    )


def _tensor(message: models_pb2.Tensor) -> Tensor:
    return Tensor(name=message.name, type=message.type, shape=tuple(message.shape))


def _left_out(reply: models_pb2.ListModelsResponse) -> list[LeftOut]:
    return [LeftOut(each.place, each.reason, each.still_served) for each in reply.left_out]


def _model_details(reply: models_pb2.GetModelResponse) -> ModelDetails:
    return ModelDetails(model=_read_model(reply.model), manifest=json.loads(reply.manifest_json))
