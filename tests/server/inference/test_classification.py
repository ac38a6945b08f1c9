"""The classification extension: the highest values of an output as texts "value:index"."""

import numpy as np
import pytest
import tritonclient.grpc as triton

from server.inference.classification import classified
from tests.server.inference.conftest import refusal
from tests.server.inference.test_inferring import DECODE, LATENTS, given, latents
from tests.server.toys import decoded, encoded


async def test_each_entry_gives_its_highest_values_with_their_index(client):
    pixels = decoded(LATENTS)
    result = await client.infer(
        "toy-vae.encode",
        [given("pixels", "INT64", pixels)],
        outputs=[triton.InferRequestedOutput("mean", class_count=2)],
    )
    response = result.get_response()
    assert (response.outputs[0].datatype, list(response.outputs[0].shape)) == ("BYTES", [2, 2])
    for texts, mean in zip(result.as_numpy("mean"), encoded(pixels), strict=True):
        found = [text.decode().split(":") for text in texts]
        assert [int(index) for _, index in found] == np.argsort(-mean)[:2].tolist()
        np.testing.assert_allclose([float(value) for value, _ in found], sorted(mean)[:-3:-1], atol=1e-5)


async def test_whole_numbers_have_no_point(client):
    outputs = [triton.InferRequestedOutput("pixels", class_count=1)]
    result = await client.infer(DECODE, latents(), outputs=outputs)
    pixels = decoded(LATENTS).reshape(2, -1)
    expected = [f"{row.max()}:{row.argmax()}".encode() for row in pixels]
    assert result.as_numpy("pixels").reshape(-1).tolist() == expected


async def test_more_classes_than_values_give_all_values(client):
    outputs = [triton.InferRequestedOutput("pixels", class_count=1000)]
    result = await client.infer(DECODE, latents(), outputs=outputs)
    assert result.as_numpy("pixels").shape == (2, 20)


async def test_a_negative_count_is_refused(client):
    outputs = [triton.InferRequestedOutput("pixels", class_count=-1)]
    assert await refusal(client.infer(DECODE, latents(), outputs=outputs)) == (
        "INVALID_ARGUMENT",
        "toy-vae.decode: the 'classification' parameter is -1, but must be 0 or more.",
    )


@pytest.mark.parametrize("kind", ["uint8", "int64", "uint64", "float16", "float32", "float64"])
def test_numbers_of_every_type_are_ordered(kind):
    values = np.array([[3, 7, 0, 7]], dtype=kind)
    found = classified(values, 3, is_batched=True)
    assert [int(text.split(b":")[1]) for text in found[0]] == [1, 3, 0]


def test_the_smallest_integer_is_the_last_one():
    values = np.array([-(2**63), 5], dtype=np.int64)
    assert classified(values, 2, is_batched=False).tolist() == [b"5:1", b"-9223372036854775808:0"]


def test_what_is_no_number_is_the_lowest():
    values = np.array([1, np.nan, 2, -np.inf, np.inf], dtype=np.float32)
    found = classified(values, 5, is_batched=False)
    assert [int(text.split(b":")[1]) for text in found] == [4, 2, 0, 1, 3]


def test_an_entry_without_values_gives_none():
    assert classified(np.zeros((2, 0), np.float32), 3, is_batched=True).shape == (2, 0)
