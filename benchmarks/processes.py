"""Draws in several processes at once, each with one thread, as one worker per core does."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType

from benchmarks.candidates import Candidate, draws_a_batch
from smalti.runtime.repository import Model
from smalti.runtime.session import open_session
from worker.runner import Runner


class Processes:
    """A candidate: each call draws a batch of images in every process, and returns how many images that was."""

    def __init__(self, count: int, graph: Path, model: Model, batch: int) -> None:
        self._count = count
        self._pool = ProcessPoolExecutor(
            count,
            mp_context=get_context("spawn"),
            initializer=_prepare,
            initargs=(graph, model, batch),
        )

    def __enter__(self) -> "Processes":
        self()  # now each process has opened its graph
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()

    def __call__(self) -> float:
        return sum(future.result() for future in [self._pool.submit(_draw) for _ in range(self._count)])


_prepared: list[Candidate] = []  # in each process: the one that it runs


def _prepare(graph: Path, model: Model, batch: int) -> None:
    runner = Runner(open_session(graph), model.manifest, slots=batch)
    _prepared.append(draws_a_batch(runner, model, batch))


def _draw() -> float:
    return _prepared[0]()
