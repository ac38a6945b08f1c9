"""The digits models that ship with the project, asked through the whole server."""

from pathlib import Path

import numpy as np
import pytest

from smalti.runtime.repository import ModelRepository
from smalti.v1 import images_pb2, types_pb2
from tests.server.conftest import Running

pytestmark = pytest.mark.slow  # each starts a server with shipped models

ROOT = Path(__file__).parents[2] / "model_repository"
FAMILIES = {"digits-vae": "vae", "digits-autoencoder": "autoencoder", "digits-gan": "gan"}
RAW = types_pb2.IMAGE_FORMAT_PIXELS
PIXEL_RNN = types_pb2.ModelVersion(name="digits-pixel-rnn")

shipped = ModelRepository(ROOT).models()
drawable = [name for name in FAMILIES if name in shipped]


@pytest.fixture
def repository() -> Path:
    return ROOT


async def draw(server: Running, name: str, **given):
    model = types_pb2.ModelVersion(name=name)
    return await server.images.Draw(images_pb2.DrawRequest(model=model, seed=11, format=RAW, **given))


@pytest.mark.parametrize("name", drawable)
async def test_an_image_is_the_same_alone_and_in_a_batch(server: Running, name: str):
    together = (await draw(server, name, count=64)).images
    for index in (0, 1, 17, 63):
        alone = (await draw(server, name, first_index=index)).images
        assert alone[0] == together[index]


@pytest.mark.parametrize("name", [name for name in drawable if FAMILIES[name] != "gan"])
async def test_reconstructions_resemble_their_originals(server: Running, name: str):
    drawn = list((await draw(server, name, count=8)).images)
    request = images_pb2.ReconstructRequest(model=types_pb2.ModelVersion(name=name), images=drawn, format=RAW)
    again = (await server.images.Reconstruct(request)).images
    before, after = (
        np.stack([np.frombuffer(image.pixels.indices, np.uint8) for image in images]).astype(int)
        for images in (drawn, again)
    )
    assert np.abs(before - after).mean() < np.abs(before - np.roll(after, 1, axis=0)).mean()


@pytest.mark.skipif("digits-vae" not in shipped, reason="the model is not in the repository")
async def test_a_pixel_rnn_finds_digits_likelier_than_noise(server: Running):
    digits = list((await draw(server, "digits-vae", count=8)).images)
    noise = np.random.default_rng(1).integers(0, 17, (8, 64), dtype=np.uint8)
    noisy = [
        types_pb2.Image(pixels=types_pb2.Pixels(height=8, width=8, indices=row.tobytes())) for row in noise
    ]
    reply = await server.images.Score(images_pb2.ScoreRequest(model=PIXEL_RNN, images=digits + noisy))
    assert reply.kind == images_pb2.SCORE_KIND_LOG_LIKELIHOOD
    assert np.mean(reply.scores[:8]) > np.mean(reply.scores[8:]) + 50
