"""Tries graphs before they are served, in threads of their own: what takes too long is ended, or left behind."""

from collections.abc import Callable
from concurrent.futures import Future, wait
from threading import Thread
from typing import Any, TypeVar

import onnxruntime
import structlog

from smalti.errors import RepositoryDamaged

log = structlog.get_logger()
Result = TypeVar("Result")
_RUN_SECONDS = 10.0  # far more than a run for a request should take; other models wait meanwhile
_END_SECONDS = 3.0  # onnxruntime ends a run only between two operators, and one of them may take long
_OPEN_SECONDS = 300.0  # for gigabytes of weights on a slow disk; onnxruntime cannot be told to end this


def open_within_limit(graph: str, work: Callable[[], Result], *, seconds: float | None = None) -> Result:
    """What `work` gives, which opens this graph; raises what it raises, or RepositoryDamaged if it takes too long."""
    seconds = _OPEN_SECONDS if seconds is None else seconds
    opening = _in_own_thread(work)
    if not wait([opening], seconds).done:
        _tell_left_behind(graph)
        raise RepositoryDamaged(f"{graph} took onnxruntime more than {seconds:g} seconds to open.")
    return opening.result()


def run_within_limit(graph: str, work: Callable[[Any], Result], *, seconds: float | None = None) -> Result:
    """What `work` gives, which runs this graph with the RunOptions that it is given; raises as above."""
    seconds = _RUN_SECONDS if seconds is None else seconds
    options = onnxruntime.RunOptions()
    running = _in_own_thread(lambda: work(options))
    if not wait([running], seconds).done:
        options.terminate = True
        if not wait([running], _END_SECONDS).done:
            _tell_left_behind(graph)
        raise RepositoryDamaged(
            f"{graph} ran for more than {seconds:g} seconds when it was tried: make its work smaller."
        )
    return running.result()


def _in_own_thread(work: Callable[[], Result]) -> "Future[Result]":
    """Start this work in a thread that the end of the process does not wait for."""
    future: Future[Result] = Future()

    def call() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  # whoever waits raises it
            future.set_exception(error)

    Thread(target=call, name="trial", daemon=True).start()
    return future


def _tell_left_behind(graph: str) -> None:
    log.error("a graph cannot be ended: a core is busy with it until the server stops", graph=graph)
