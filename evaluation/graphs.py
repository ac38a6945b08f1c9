"""Runs a model's exported graphs in portions, so that what is measured is what is served."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti.errors import RepositoryDamaged
from smalti.runtime.manifest import Manifest
from smalti.runtime.opening import told
from smalti.runtime.provider import Provider
from smalti.runtime.repository import Model
from smalti.runtime.session import open_graph
from training.errors import EvaluationRefused

Arrays = Mapping[str, NDArray[Any]]
PORTION = 128  # images at once, at most
PORTION_VALUES = 8_000_000  # values of the largest output at once, at most: logits must fit into memory


class Graphs:
    """The graphs of one version of a model of images, each opened when it is first run."""

    def __init__(self, model: Model, *, threads: int) -> None:
        """Raises NoImages."""
        model.manifest.require_images()
        self.model, self.threads = model, threads
        self._sessions: dict[str, Any] = {}  # onnxruntime has no types

    @property
    def manifest(self) -> Manifest:
        """The model's manifest."""
        return self.model.manifest

    @property
    def name(self) -> str:
        """The model's name and version, for messages."""
        return f"{self.manifest.name} version {self.manifest.version}"

    def run(self, graph: str, inputs: Arrays, outputs: Sequence[str]) -> list[NDArray[Any]]:
        """The named outputs for all inputs; the first axis is the batch. Raises GraphNotServed."""
        parts = list(self.portions(graph, inputs, outputs))
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    def portions(self, graph: str, inputs: Arrays, outputs: Sequence[str]) -> Iterator[list[NDArray[Any]]]:
        """The same, one portion after the other: for outputs too large to be kept."""
        size = self.portion(graph)
        for start in range(0, len(next(iter(inputs.values()))), size):
            part = {name: values[start : start + size] for name, values in inputs.items()}
            yield self.run_at_once(graph, part, outputs)

    def portion(self, graph: str) -> int:
        """How many images to run at once."""
        shapes = [tensor.shape[1:] for tensor in self.manifest.graph(graph).outputs]
        largest = max(int(np.prod(shape)) for shape in shapes)
        return max(1, min(PORTION, PORTION_VALUES // largest))

    def run_at_once(self, graph: str, inputs: Arrays, outputs: Sequence[str]) -> list[NDArray[Any]]:
        """The named outputs for all inputs in one run.

        Raises RepositoryDamaged if onnxruntime cannot run the graph, EvaluationRefused if an output is NaN.
        """
        session = self._session(graph)
        try:
            found = list(session.run(list(outputs), dict(inputs)))
        except Exception as error:  # onnxruntime raises types of its own C++ side, one per error code
            raise RepositoryDamaged(
                f"onnxruntime cannot run {graph} of {self.name}: {told(error)}"
            ) from error
        if any(np.isnan(values).any() for values in found if values.dtype.kind == "f"):
            raise EvaluationRefused(
                f"{graph} of {self.name} gives values that are not numbers: export it again."
            )
        return found

    def _session(self, graph: str) -> Any:
        if graph not in self._sessions:
            self._sessions[graph] = open_graph(self.model, graph, provider=Provider(threads=self.threads))
        return self._sessions[graph]
