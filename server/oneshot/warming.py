"""Opens the graphs of a model that answer one-shot requests, and tries them before they are served."""

from collections.abc import Mapping
from concurrent.futures import Executor
from functools import partial
from math import prod
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.oneshot.runner import Runner, oneshot_graphs
from server.oneshot.trial import open_within_limit, run_within_limit
from server.oneshot.waiting import Arrays
from smalti.errors import GraphFailed, RepositoryDamaged
from smalti.runtime.manifest import Graph, Tensor
from smalti.runtime.metrics import MODEL_LOAD_SECONDS
from smalti.runtime.onnx_file import may_grow
from smalti.runtime.provider import Provider
from smalti.runtime.repository import Model
from smalti.runtime.session import open_graph

_SHORT_PALETTE = "its network knows more colours than its palette has: export it again."
_LARGEST_EXAMPLE = 1 << 24  # values of an input; a larger one is not tried, as it may not fit into memory


def open_runners(
    model: Model, pool: Executor, *, provider: Provider, warm_entries: Mapping[str, int]
) -> Mapping[str, Runner]:
    """A runner for each one-shot graph of a model, warmed with batches of 1 and of its `warm_entries` entries.

    Call it off the event loop: it is slow. Raises RepositoryDamaged or ProviderMissing.
    """
    start = perf_counter()
    graphs = oneshot_graphs(model.manifest)
    runners = {name: _open(model, name, graph, pool, provider) for name, graph in graphs.items()}
    for name, runner in runners.items():
        if model.manifest.has_images:
            _warm(model, name, runner, sizes={1, warm_entries[name]})
        if provider.name == "cpu":  # a thread that waits for a GPU uses no processor time
            _measure(model, name, runner, warm_entries[name] if model.manifest.has_images else 1)
    MODEL_LOAD_SECONDS.labels(model.manifest.name).observe(perf_counter() - start)
    return runners


def _open(model: Model, name: str, graph: Graph, pool: Executor, provider: Provider) -> Runner:
    session = open_within_limit(_title(model, graph), partial(open_graph, model, name, provider=provider))
    return Runner(session, graph, pool)


def _title(model: Model, graph: Graph) -> str:
    return f"{model.title}: {graph.file}"


def _try(model: Model, graph: Graph, runner: Runner, inputs: Arrays) -> Arrays:
    """The outputs of a run; raises GraphFailed, or RepositoryDamaged if it takes too long."""
    return run_within_limit(_title(model, graph), partial(runner.run, inputs))


def _warm(model: Model, name: str, runner: Runner, *, sizes: set[int]) -> None:
    """Run a batch of each size once; raises RepositoryDamaged where that fails or gives something wrong."""
    graph, last_colour = model.manifest.graph(name), len(model.manifest.palette) - 1
    for entries in sorted(sizes):
        try:
            outputs = _try(model, graph, runner, _examples(model, graph, entries))
        except GraphFailed as error:
            raise RepositoryDamaged(f"{model.title}: onnxruntime cannot run {graph.file}: {error}") from error
        _refuse_other_shapes(model, graph, entries, outputs)
        if "pixels" in outputs and outputs["pixels"].max() > last_colour:
            raise RepositoryDamaged(f"{model.title}: {_SHORT_PALETTE}")
    score = model.manifest.score
    if score and score.graph == name and score.kind == "log_likelihood":
        _refuse_short_palette(model, graph, score.output, runner)


def _measure(model: Model, name: str, runner: Runner, entries: int) -> None:
    """Let the runner learn how long its runs take, unless that depends on sizes or values which requests choose."""
    graph = model.manifest.graph(name)
    if any(-1 in tensor.shape[graph.is_batched :] for tensor in graph.inputs):
        return
    if any(prod(_sizes(tensor, entries)) > _LARGEST_EXAMPLE for tensor in graph.inputs):
        return
    one, many = (_examples(model, graph, size) for size in (1, entries))
    try:
        if model.manifest.has_images or not may_grow(model.content(graph.file)):
            run_within_limit(_title(model, graph), partial(runner.measure, one, many, entries))
        else:  # how long it takes says nothing of other values
            _try(model, graph, runner, one)
    except GraphFailed:  # a graph of any kind need not take what is tried here
        return


def _refuse_short_palette(model: Model, graph: Graph, output: str, runner: Runner) -> None:
    """Raise RepositoryDamaged if a graph gives finite likelihoods for a pixel that the palette does not have."""
    [tensor] = graph.inputs
    beyond = len(model.manifest.palette)
    try:
        outputs = _try(
            model, graph, runner, {tensor.name: np.full(_sizes(tensor, 1), beyond, dtype=tensor.type)}
        )
    except GraphFailed:
        return
    if np.isfinite(outputs[output]).all():
        raise RepositoryDamaged(f"{model.title}: {_SHORT_PALETTE}")


def _refuse_other_shapes(model: Model, graph: Graph, entries: int, outputs: Arrays) -> None:
    """Compare the outputs with the manifest: the shapes in an ONNX file may be wrong."""
    for tensor in graph.outputs:
        expected, found = _sizes(tensor, entries), outputs[tensor.name].shape
        if found != expected:
            raise RepositoryDamaged(
                f"{model.title}: {graph.file}: its output '{tensor.name}' came as {found}, not as {expected}."
            )


def _sizes(tensor: Tensor, entries: int) -> tuple[int, ...]:
    return tuple(entries if axis == -1 else axis for axis in tensor.shape)


def _examples(model: Model, graph: Graph, entries: int) -> Arrays:
    if not model.manifest.has_images:
        return {tensor.name: _nothing(tensor, entries) for tensor in graph.inputs}
    last_colour = len(model.manifest.palette) - 1
    return {tensor.name: _example(tensor, entries, last_colour) for tensor in graph.inputs}


def _nothing(tensor: Tensor, entries: int) -> NDArray[Any]:
    """Zeros, or empty texts."""
    sizes = _sizes(tensor, entries)
    if tensor.type == "string":
        return np.full(sizes, "", dtype=object)
    return np.zeros(sizes, dtype=tensor.type)


def _example(tensor: Tensor, entries: int, last_colour: int) -> NDArray[Any]:
    """Pixels of the last colour, and various latents, so that a palette of the wrong length shows itself."""
    if tensor.name == "latent":
        return np.random.default_rng(0).standard_normal(_sizes(tensor, entries), dtype=np.float32)
    if tensor.type == "string":
        return np.full(_sizes(tensor, entries), "", dtype=object)
    return np.full(_sizes(tensor, entries), last_colour if tensor.name == "pixels" else 0, dtype=tensor.type)
