"""A graph that runs for ever keeps nothing else from being served, and a stop of the server from nothing."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.oneshot import trial
from server.oneshot.trial import open_within_limit, run_within_limit
from smalti.errors import DeadlinePassed, RepositoryDamaged
from smalti.runtime.opening import open_bytes
from tests.onnx_files import looping, put, scaled
from tests.server.conftest import Running

FOR_EVER = 10**12


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a graph that never ends when it is tried, one that a request makes endless, and a good one."""
    monkeypatch.setattr(trial, "_RUN_SECONDS", 0.5)
    put(tmp_path, looping(FOR_EVER), name="endless")
    put(tmp_path, looping(), name="often")
    put(tmp_path, scaled(), name="scaled")
    return tmp_path


async def test_a_graph_that_never_ends_is_left_out_and_the_next_ones_are_served(server: Running):
    catalogue = server.application.catalogue
    assert [model.manifest.name for model in catalogue.models()] == ["often", "scaled"]
    [left_out] = catalogue.left_out
    assert left_out.place == "endless/1"
    assert "model.onnx ran for more than 0.5 seconds when it was tried" in left_out.reason


async def test_a_run_that_a_request_makes_endless_is_ended_when_its_client_goes_away(
    server: Running, until: Any
):
    model = server.application.catalogue.get("often")
    inputs = {"x": np.zeros(1, np.float32), "times": np.array(FOR_EVER)}
    [graph] = model.manifest.graphs
    asking = [asyncio.create_task(model.ask(graph, inputs)) for _ in range(3)]  # more than there are threads
    await asyncio.sleep(0)
    await asyncio.wait(asking, timeout=0.1)
    assert not any(task.done() for task in asking)
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    once = await model.ask(graph, inputs | {"times": np.array(3)})
    np.testing.assert_array_equal(once["y"], [3])
    await model.close()  # waits for all its runs


def test_what_cannot_be_ended_is_left_behind(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(trial, "_END_SECONDS", 0.05)
    released = threading.Event()
    try:
        with pytest.raises(RepositoryDamaged, match=r"^dec ran for more than 0.05 seconds"):
            run_within_limit("dec", lambda _: released.wait(), seconds=0.05)
        with pytest.raises(RepositoryDamaged, match=r"^dec took onnxruntime more than 0.05 seconds to open"):
            open_within_limit("dec", released.wait, seconds=0.05)
    finally:
        released.set()


def test_a_trial_gives_what_the_work_gives_and_raises_what_it_raises():
    session = open_within_limit("dec", lambda: open_bytes("dec", looping(4), {}))
    inputs = {"x": np.zeros(1, np.float32)}
    [found] = run_within_limit("dec", lambda options: session.run(None, inputs, options))
    np.testing.assert_array_equal(found, [4])
    with pytest.raises(DeadlinePassed, match="late"):
        open_within_limit("dec", _late)


def _late() -> None:
    raise DeadlinePassed("It is late.")
