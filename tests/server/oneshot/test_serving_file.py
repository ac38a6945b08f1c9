"""serving.toml beside the versions of a model: how its graphs answer one-shot requests."""

import asyncio
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from server.oneshot.catalogue import Catalogue
from smalti.errors import ModelNotFound, RepositoryDamaged
from smalti.runtime.batching import Batching
from smalti.runtime.provider import CPU
from smalti.runtime.repository import ModelRepository
from tests.server.toys import LATENT, decoded

KNOBS = "[decode]\nmax_batch_size = 3\npreferred_batch_sizes = [2]\n"


@pytest.fixture
async def catalogue(repository: Path) -> AsyncIterator[Catalogue]:
    """A catalogue that has not looked into its repository yet."""
    with ThreadPoolExecutor(2) as pool:
        made = Catalogue(
            ModelRepository(repository), pool, provider=CPU, batching=Batching(max_queue_size=50)
        )
        yield made
        await made.close()


@pytest.fixture
def file(repository: Path) -> Path:
    return repository / "toy-vae" / "serving.toml"


async def test_a_graph_has_the_knobs_of_its_table_and_the_others_those_of_the_settings(catalogue, file):
    file.write_text(KNOBS)
    await catalogue.follow()
    model = catalogue.get("toy-vae")
    assert model.batching("decode") == Batching(
        max_batch_size=3, preferred_batch_sizes=(2,), max_queue_size=50
    )
    assert (
        model.batching("encode")
        == catalogue.get("toy-gan").batching("generate")
        == Batching(max_queue_size=50)
    )


async def test_a_changed_file_counts_without_another_load_and_requests_that_wait_are_answered(
    catalogue, file
):
    await catalogue.follow()
    model = catalogue.get("toy-vae")
    latents = np.ones((40, LATENT), np.float32)
    asking = asyncio.create_task(model.ask("decode", {"latent": latents}))
    file.write_text(KNOBS)
    await catalogue.follow()
    assert catalogue.get("toy-vae") is model
    assert model.batching("decode").max_batch_size == 3
    np.testing.assert_array_equal((await asking)["pixels"], decoded(latents))
    file.unlink()
    await catalogue.follow()
    assert model.batching("decode") == Batching(max_queue_size=50)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[decode", "it is not TOML: "),
        ("[decod]", "it has 'decod' (did you mean decode?), but each of its tables is a graph"),
        ("decode = 1", "'decode' is not a table: begin it with a line [decode]"),
        (
            "[decode]\nbatch_size = 1",
            "[decode] 'batch_size' is an unknown field (did you mean max_batch_size",
        ),
        ("[decode]\nmax_batch_size = '1'", "[decode] max_batch_size is '1', but must be a whole number"),
        ("[decode]\nmax_batch_size = true", "[decode] max_batch_size is True, but must be a whole number"),
        ("[decode]\nmax_batch_size = 0", "[decode] max_batch_size is 0, but must be at least 1"),
        ("[decode]\ninstances = 65", "[decode] instances is 65, but must be at most 64"),
        ("[decode]\npreferred_batch_sizes = [65]", "its preferred batch size 65 is above max_batch_size, 64"),
        ("[decode]\ntimeout_action = 'drop'", "timeout_action is 'drop', but must be 'reject' or 'delay'"),
        ("[decode]\npriority_levels = 2", "its default_priority is 0, which must be 1 to 2"),
        ("[decode]\nlevels = 3", "[decode] levels is not a table"),
        ("[decode]\nlevels.1 = 3", "[decode] levels.1 is not a table"),
        (
            "[decode.levels.1]\nmax_size = 3",
            "'levels.1.max_size' is an unknown field (did you mean max_queue_size?)",
        ),
        (f"[decode]\nmax_batch_size = {'9' * 5000}", "it has a number that is too long"),
    ],
)
async def test_a_wrong_file_leaves_the_model_out_with_one_sentence(catalogue, file, text, fault):
    file.write_text(text)
    await catalogue.follow()
    [left_out] = catalogue.left_out
    assert left_out.place == "toy-vae/1"
    assert left_out.reason.startswith("toy-vae/serving.toml cannot be used: ")
    assert fault in left_out.reason
    assert "\n" not in left_out.reason
    with pytest.raises(ModelNotFound, match=r"Left out: toy-vae/serving\.toml"):
        catalogue.get("toy-vae")
    with pytest.raises(RepositoryDamaged, match=r"toy-vae/serving\.toml"):
        await catalogue.load("toy-vae")


async def test_bytes_that_are_not_utf_8_and_links_out_of_the_folder_are_refused(catalogue, file, tmp_path):
    file.write_bytes(b"\xff\xfe")
    await catalogue.follow()
    assert "it is not text in UTF-8" in catalogue.left_out[0].reason
    file.unlink()
    (tmp_path / "elsewhere.toml").write_text(KNOBS)
    file.symlink_to(tmp_path / "elsewhere.toml")
    await catalogue.follow()
    assert "is a link that leads out of its folder" in catalogue.left_out[0].reason


async def test_while_a_changed_file_is_wrong_the_last_good_knobs_count(catalogue, file):
    file.write_text(KNOBS)
    await catalogue.follow()
    file.write_text("[decode]\nmax_batch_size = 0")
    with capture_logs() as lines:
        for _ in range(4):
            await catalogue.follow()
    assert [(line["event"], line["place"]) for line in lines] == [("goes on as before", "toy-vae/1")]
    assert catalogue.get("toy-vae").batching("decode").max_batch_size == 3
    [fault] = catalogue.left_out
    assert fault.still_served
    assert "must be at least 1" in fault.reason
    file.write_text("[decode]\nmax_batch_size = 5")
    await catalogue.follow()
    assert catalogue.get("toy-vae").batching("decode").max_batch_size == 5
    assert catalogue.left_out == []


async def test_new_knobs_are_logged_once_with_their_graphs(catalogue, file):
    await catalogue.follow()
    file.write_text(KNOBS)
    with capture_logs() as lines:
        for _ in range(3):
            await catalogue.follow()
    [line] = lines
    assert (line["event"], line["model"], line["graphs"]) == ("new knobs", "toy-vae", ["decode"])
    assert line["log_level"] == "info"


async def test_a_file_that_has_not_changed_is_read_once(catalogue, file):
    file.write_text(KNOBS)
    await catalogue.follow()
    before = catalogue.get("toy-vae").batching("decode")
    os.utime(file.parent)
    await catalogue.follow()
    assert catalogue.get("toy-vae").batching("decode") is before


async def test_a_file_with_a_byte_order_mark_and_a_level_of_its_own(catalogue, file):
    file.write_text(
        "\ufeff[decode]\nmax_queue_size = 9\npriority_levels = 2\ndefault_priority = 2\n"
        "[decode.levels.1]\ntimeout_action = 'delay'\n",
        encoding="utf-8",
    )
    await catalogue.follow()
    policy = catalogue.get("toy-vae").batching("decode").policy(1)
    assert (policy.timeout_action, policy.max_queue_size) == ("delay", 9)
