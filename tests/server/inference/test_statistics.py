"""ModelStatistics, asked by Triton's own client: what perf_analyzer reads around its measurements."""

import asyncio
from time import time
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton

from tests.server.inference.conftest import refusal
from tests.server.toys import write_vae


def latents(count: int) -> list[Any]:
    latent = triton.InferInput("latent", [count, 3], "FP32")
    latent.set_data_from_numpy(np.zeros((count, 3), np.float32))
    return [latent]


async def test_a_model_that_was_not_asked_has_done_nothing(client):
    [counted] = (await client.get_inference_statistics("toy-vae.decode")).model_stats
    assert (counted.name, counted.version) == ("toy-vae.decode", "1")
    assert (counted.inference_count, counted.execution_count, counted.last_inference) == (0, 0, 0)
    assert not counted.batch_stats


async def test_every_request_is_counted_with_its_times(client):
    before = time() * 1000
    for images in (1, 3, 3):
        await client.infer("toy-vae.decode", latents(images))
    [counted] = (await client.get_inference_statistics("toy-vae.decode", "1")).model_stats
    assert (counted.inference_count, counted.execution_count) == (7, 3)
    assert before - 1 <= counted.last_inference <= time() * 1000 + 1
    inference = counted.inference_stats
    for name in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
        assert getattr(inference, name).count == 3, name
    parts = (inference.queue, inference.compute_input, inference.compute_infer, inference.compute_output)
    assert 0 < sum(part.ns for part in parts) <= inference.success.ns
    assert (inference.fail.count, inference.cache_hit.count, inference.cache_miss.count) == (0, 0, 0)
    assert [(batch.batch_size, batch.compute_infer.count) for batch in counted.batch_stats] == [
        (1, 1),
        (3, 2),
    ]
    assert sum(batch.compute_infer.ns for batch in counted.batch_stats) == inference.compute_infer.ns


async def test_requests_that_share_a_run_are_one_execution_and_each_counts(client):
    await asyncio.gather(*(client.infer("toy-vae.decode", latents(2)) for _ in range(20)))
    [counted] = (await client.get_inference_statistics("toy-vae.decode")).model_stats
    assert counted.inference_count == 40
    assert counted.inference_stats.compute_infer.count == 20
    assert counted.execution_count == sum(batch.compute_infer.count for batch in counted.batch_stats)
    assert sum(batch.batch_size * batch.compute_infer.count for batch in counted.batch_stats) == 40


async def test_a_request_that_is_too_late_counts_as_failed_and_not_as_queued(client, server):
    served = server.application.catalogue.get("toy-vae")
    with pytest.raises(Exception, match="deadline"):
        await served.ask("decode", {"latent": np.zeros((1, 3), np.float32)}, deadline=0.0)
    [counted] = (await client.get_inference_statistics("toy-vae.decode")).model_stats
    inference = counted.inference_stats
    assert (inference.fail.count, inference.success.count, inference.queue.count) == (1, 0, 0)


async def test_without_a_name_all_models_are_counted_and_without_a_version_all_versions(
    client, repository, until
):
    everything = (await client.get_inference_statistics()).model_stats
    assert [each.name for each in everything] == [
        "toy-gan.discriminate",
        "toy-gan.generate",
        "toy-pixel-rnn.draw",
        "toy-vae.decode",
        "toy-vae.encode",
        "toy-vae.score",
    ]
    write_vae(repository, version=2)
    await until(lambda: client.is_model_ready("toy-vae.decode", "2"))
    await client.infer("toy-vae.decode", latents(1), model_version="2")
    counted = (await client.get_inference_statistics("toy-vae.decode")).model_stats
    assert [(each.version, each.inference_count) for each in counted] == [("1", 0), ("2", 1)]


async def test_a_model_that_is_loaded_again_begins_again(client):
    await client.infer("toy-vae.decode", latents(1))
    await client.unload_model("toy-vae.decode")
    await client.load_model("toy-vae.decode")
    [counted] = (await client.get_inference_statistics("toy-vae.decode")).model_stats
    assert counted.inference_count == 0


async def test_a_model_that_is_not_there_has_no_statistics(client):
    code, said = await refusal(client.get_inference_statistics("toy-cat.decode"))
    assert (code, "unknown model" in said) == ("NOT_FOUND", True)
    code, said = await refusal(client.get_inference_statistics("toy-vae.decode", "9"))
    assert (code, "version 9 is not found" in said) == ("NOT_FOUND", True)


async def test_the_server_says_that_it_has_statistics(client):
    metadata = await client.get_server_metadata()
    assert {"statistics", "model_repository", "trace", "logging"} <= set(metadata.extensions)
