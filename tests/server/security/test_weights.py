"""Admins set the weights of clients; the queue keeps them, whichever server was asked."""

import pytest

from smalti.v1 import admin_pb2 as pb
from tests.server.conftest import Running, refused
from tests.server.security.conftest import bearer


async def set_weight(server: Running, client: str, weight: float) -> None:
    request = pb.SetWeightRequest(weight=pb.Weight(client=client, weight=weight))
    await server.admin.SetWeight(request)


async def test_a_weight_is_kept_until_it_is_the_usual_one_again(server: Running) -> None:
    await set_weight(server, "ada", 2.5)
    await set_weight(server, "bob", 0.5)
    reply = await server.admin.ListWeights(pb.ListWeightsRequest())
    assert {each.client: each.weight for each in reply.weights} == {"ada": 2.5, "bob": 0.5}
    assert await server.queue.weights.all() == {"ada": 2.5, "bob": 0.5}
    await set_weight(server, "ada", 1)
    assert await server.queue.weights.all() == {"bob": 0.5}


@pytest.mark.parametrize(
    ("client", "weight", "field"), [("ada", 0, "weight"), ("ada", 101, "weight"), ("", 1, "client")]
)
async def test_a_weight_or_a_name_that_cannot_be_used_is_refused(
    server: Running, client: str, weight: float, field: str
) -> None:
    refusal = await refused(set_weight(server, client, weight))
    assert (refusal.code, refusal.fields) == ("INVALID_ARGUMENT", [field])
    assert await server.queue.weights.all() == {}


async def test_only_admins_see_and_set_weights(guarded: Running) -> None:
    for name in ("ada", "bob"):
        refusal = await refused(guarded.admin.ListWeights(pb.ListWeightsRequest(), metadata=bearer(name)))
        assert refusal.code == "PERMISSION_DENIED"
    assert await guarded.admin.ListWeights(pb.ListWeightsRequest(), metadata=bearer("root"))
