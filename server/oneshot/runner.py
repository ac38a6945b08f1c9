"""Runs the graphs that answer one-shot requests, in threads or, where that is quick, on the event loop."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import Executor
from math import inf
from time import thread_time
from typing import Any

import onnxruntime

from server.oneshot.pace import QUICK_SECONDS, Pace
from server.oneshot.waiting import Arrays
from smalti.errors import GraphFailed
from smalti.runtime.draw_row import GRAPH
from smalti.runtime.manifest import Graph, Manifest
from smalti.runtime.opening import told

_LONG_SECONDS = 0.01  # of a run that need not be measured again
WORKERS_OWN = frozenset({GRAPH})  # graphs that only workers run


class Runner:
    """Runs one graph, in threads of the pool or where it is called; onnxruntime releases the GIL meanwhile."""

    def __init__(self, session: Any, graph: Graph, pool: Executor) -> None:  # onnxruntime has no types
        self._session = session
        self._outputs = [output.name for output in graph.outputs]
        self._pool = pool
        self._pace: Pace | None = None

    async def __call__(self, inputs: Arrays) -> Arrays:
        """The graph's outputs by name; raises GraphFailed. Cancelled, it ends the run."""
        options = onnxruntime.RunOptions()
        running = asyncio.get_running_loop().run_in_executor(self._pool, self.run, inputs, options)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            options.terminate = True
            await asyncio.gather(running, return_exceptions=True)  # only so many runs at once
            raise

    def run(self, inputs: Arrays, options: Any = None) -> Arrays:
        """The same, in this thread; `options` are onnxruntime's RunOptions."""
        try:
            outputs = self._session.run(self._outputs, dict(inputs), options)
        except Exception as error:  # onnxruntime has a type for each of its error codes, none of them public
            raise GraphFailed(told(error)) from error
        return dict(zip(self._outputs, outputs, strict=True))

    def run_here(self, inputs: Arrays) -> Arrays:
        """The same, for a quick run on the event loop."""
        start = thread_time()
        outputs = self.run(inputs)
        if self._pace:
            self._pace.note(thread_time() - start)
        return outputs

    def is_quick(self, entries: int) -> bool:
        """Whether a run of so many entries is so short that it may be made on the event loop."""
        return self._pace is not None and self._pace.is_quick(entries)

    def measure(self, one: Arrays, many: Arrays, entries: int, options: Any) -> None:
        """Learn how long runs take, from inputs with one entry and, if that is quick, with so many entries."""
        seconds = self._seconds(one, options)
        if seconds <= QUICK_SECONDS:
            self._pace = Pace(one=seconds, many=self._seconds(many, options), entries=entries)

    def _seconds(self, inputs: Arrays, options: Any) -> float:
        """The shortest of three runs, or of one if that is long."""
        seconds = inf
        for _ in range(3):
            start = thread_time()
            self.run(inputs, options)
            seconds = min(seconds, thread_time() - start)
            if seconds > _LONG_SECONDS:
                break
        return seconds


def oneshot_graphs(manifest: Manifest) -> Mapping[str, Graph]:
    """The graphs of a model that answer one-shot requests."""
    return {name: graph for name, graph in manifest.graphs.items() if name not in WORKERS_OWN}
