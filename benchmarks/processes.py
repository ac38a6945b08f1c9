"""Draws in several processes at once, each with one thread, as workers do that have a core each."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType

from smalti.runtime.repository import Model
from smalti.runtime.session import open_session
from worker.runner import Runner

Draw = Callable[[Runner, Model, int], Callable[[], float]]


class Processes:
    """A call draws a batch of images in each of them, and says how many images that was."""

    def __init__(self, count: int, graph: Path, model: Model, batch: int, drawing: Draw) -> None:
        self._count = count
        self._pool = ProcessPoolExecutor(
            count,
            mp_context=get_context("spawn"),
            initializer=_prepare,
            initargs=(graph, model, batch, drawing),
        )

    def __enter__(self) -> "Processes":
        self()  # each opens its graph
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()

    def __call__(self) -> float:
        return sum(future.result() for future in [self._pool.submit(_draw) for _ in range(self._count)])


_prepared: list[Callable[[], float]] = []  # in each process: what it draws


def _prepare(graph: Path, model: Model, batch: int, drawing: Draw) -> None:
    runner = Runner(open_session(graph), model.manifest, slots=batch)
    _prepared.append(drawing(runner, model, batch))


def _draw() -> float:
    return _prepared[0]()
