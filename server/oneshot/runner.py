"""Opens the graphs that answer one-shot requests, warms them, and runs them outside of the event loop."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import Executor
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.oneshot.batcher import Arrays
from smalti.errors import RepositoryDamaged
from smalti.runtime.manifest import Graph, Tensor
from smalti.runtime.metrics import MODEL_LOAD_SECONDS
from smalti.runtime.provider import Provider
from smalti.runtime.repository import Model
from smalti.runtime.session import open_graph, told

_SHORT_PALETTE = "its network knows more colours than its palette has: export it again."
WORKERS_OWN = frozenset({"draw_row"})  # graphs that only workers run


class Runner:
    """Runs one graph in threads of the pool; onnxruntime frees the interpreter meanwhile."""

    def __init__(self, session: Any, graph: Graph, pool: Executor) -> None:  # onnxruntime has no types
        self._session = session
        self._outputs = [output.name for output in graph.outputs]
        self._pool = pool

    async def __call__(self, inputs: Arrays) -> Arrays:
        """The graph's outputs by name."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self.run, inputs)

    def run(self, inputs: Arrays) -> Arrays:
        """The same, in this thread."""
        return dict(zip(self._outputs, self._session.run(self._outputs, dict(inputs)), strict=True))


def open_runners(model: Model, pool: Executor, *, provider: Provider, warm_rows: int) -> Mapping[str, Runner]:
    """A warmed runner for each one-shot graph of a model; slow, so not for the event loop.

    Raises RepositoryDamaged or ProviderMissing.
    """
    start = perf_counter()
    graphs = {name: graph for name, graph in model.manifest.graphs.items() if name not in WORKERS_OWN}
    runners = {name: _open(model, name, graph, pool, provider) for name, graph in graphs.items()}
    for name, runner in runners.items():
        _warm(model, name, runner, sizes={1, warm_rows})
    MODEL_LOAD_SECONDS.labels(model.manifest.name).observe(perf_counter() - start)
    return runners


def _open(model: Model, name: str, graph: Graph, pool: Executor, provider: Provider) -> Runner:
    return Runner(open_graph(model, name, provider=provider), graph, pool)


def _warm(model: Model, name: str, runner: Runner, *, sizes: set[int]) -> None:
    """Run batches of these sizes once; raises RepositoryDamaged where the graph cannot even do that."""
    graph, last_colour = model.manifest.graph(name), len(model.manifest.palette) - 1
    for rows in sorted(sizes):
        try:
            outputs = runner.run(
                {tensor.name: _example(tensor, rows, last_colour) for tensor in graph.inputs}
            )
        except Exception as error:  # onnxruntime raises types of its own C++ side, one per error code
            raise RepositoryDamaged(
                f"{model.title}: onnxruntime cannot run {graph.file}: {told(error)}"
            ) from error
        _refuse_other_shapes(model, graph, rows, outputs)
        if "pixels" in outputs and outputs["pixels"].max() > last_colour:
            raise RepositoryDamaged(f"{model.title}: {_SHORT_PALETTE}")
    if model.manifest.score and (name, model.manifest.score.kind) == (
        model.manifest.score.graph,
        "log_likelihood",
    ):
        _refuse_short_palette(model, runner, last_colour + 1)


def _refuse_short_palette(model: Model, runner: Runner, beyond: int) -> None:
    """A PixelRNN has no probability for a pixel that is no colour of it: its graph fails, and must."""
    [tensor] = model.manifest.graph("score").inputs
    try:
        outputs = runner.run({tensor.name: np.full(_sizes(tensor, 1), beyond, dtype=tensor.type)})
    except Exception:  # noqa: BLE001 (onnxruntime has one type per error code, none of them public)
        return
    if np.isfinite(outputs["logp"]).all():
        raise RepositoryDamaged(f"{model.title}: {_SHORT_PALETTE}")


def _refuse_other_shapes(model: Model, graph: Graph, rows: int, outputs: Arrays) -> None:
    """What a file says of its outputs need not be so."""
    for tensor in graph.outputs:
        expected, found = _sizes(tensor, rows), outputs[tensor.name].shape
        if found != expected:
            raise RepositoryDamaged(
                f"{model.title}: {graph.file}: its output '{tensor.name}' came as {found}, not as {expected}."
            )


def _sizes(tensor: Tensor, rows: int) -> tuple[int, ...]:
    return tuple(rows if axis == -1 else axis for axis in tensor.shape)


def _example(tensor: Tensor, rows: int, last_colour: int) -> NDArray[Any]:
    """Of pixels the last colour and of latents various, so that a palette of another length is found out."""
    if tensor.name == "latent":
        return np.random.default_rng(0).standard_normal(_sizes(tensor, rows), dtype=np.float32)
    return np.full(_sizes(tensor, rows), last_colour if tensor.name == "pixels" else 0, dtype=tensor.type)
