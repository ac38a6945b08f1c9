"""What a process that starts later learns about versions that were unloaded."""

import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from server.oneshot.catalogue import Catalogue
from smalti.runtime.batching import Batching
from smalti.runtime.provider import Provider
from smalti.runtime.repository import ModelRepository
from tests.server.toys import reseal


@pytest.fixture
async def catalogues(repository: Path) -> AsyncIterator[list[Catalogue]]:
    """The catalogues of two processes; the first one serves everything but toy-vae, which was unloaded."""
    with ThreadPoolExecutor(1) as pool:
        provider = Provider(name="cpu", threads=1, gpu_memory_megabytes=1)
        made = [
            Catalogue(ModelRepository(repository), pool, provider=provider, batching=Batching())
            for _ in range(2)
        ]
        await made[0].follow()
        await made[0].unload("toy-vae")
        yield made
        for each in made:
            await each.close()


def served(catalogue: Catalogue) -> set[str]:
    return {model.manifest.name for model in catalogue.models()}


async def test_an_unloaded_version_is_not_served_by_a_process_that_starts_later(catalogues: list[Catalogue]):
    first, second = catalogues
    second.leave_unloaded(json.loads(json.dumps(first.unloaded())))
    await second.follow()
    assert served(second) == served(first)
    await second.load("toy-vae")
    assert second.unloaded() == []


async def test_a_version_whose_files_changed_after_it_was_unloaded_is_served(
    catalogues: list[Catalogue], repository: Path
):
    first, second = catalogues
    unloaded = first.unloaded()
    reseal(repository / "toy-vae" / "1")
    second.leave_unloaded(unloaded)
    await second.follow()
    assert "toy-vae" in served(second)
