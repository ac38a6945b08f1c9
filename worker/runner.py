"""Runs one model's `draw_row` on the CPU, and keeps the state of every slot between its rows."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from smalti.errors import RepositoryDamaged, SampleFailed
from smalti.runtime.draw_row import GRAPH, OUTPUTS
from smalti.runtime.manifest import Manifest
from smalti.runtime.opening import told
from worker.sample import Lane, Row
from worker.slot_states import SlotStates

Outputs: TypeAlias = Sequence[NDArray[Any]]  # OUTPUTS, then the states; the batch first


def last_colour_of(width: int) -> Lane:
    """A row that draws a network's last colour: so hot, all colours are equally likely, and number 1 takes the last."""
    return Lane(0, 0, np.ones(width, dtype=np.float32), np.full(width, -1), 1e6)


def check_colours(pixels: NDArray[Any], manifest: Manifest) -> None:
    """Raise ValueError if a pixel was drawn for which the palette has no colour."""
    if pixels.max() >= len(manifest.palette):
        raise ValueError(
            f"it drew colour {pixels.max() + 1}, and its palette has {len(manifest.palette)}: export it again"
        )


class Session(Protocol):
    """The part of onnxruntime's session that a runner needs."""

    def run(self, output_names: Sequence[str], feeds: dict[str, NDArray[Any]]) -> Outputs:
        """The named outputs for these inputs."""
        ...


class Runner:
    """Advances the slots of one model on the CPU; all calls come from one thread.

    Only occupied slots are run, since a sample's bits do not depend on the size of the batch here. (For a GPU there is
    DeviceRunner.)
    """

    def __init__(self, session: Session, manifest: Manifest, *, slots: int) -> None:
        self._session = session
        self._manifest = manifest
        self._name = f"{manifest.name} version {manifest.version}"
        self._width = manifest.width
        self._last_colour = len(manifest.palette) - 1
        self._slots = slots
        self._outputs = [*OUTPUTS, *(state.output for state in manifest.states)]
        self._shapes = [(manifest.width,)] * len(OUTPUTS) + [state.shape for state in manifest.states]
        self._states = SlotStates(manifest.states)

    def draw_row(self, lanes: Sequence[Lane]) -> Sequence[Row | SampleFailed]:
        """One row for each lane, in order; the state of all other slots is lost.

        If onnxruntime refuses the batch, each lane is run alone, so that only the bad one fails.
        """
        try:
            outputs = self._run(lanes)
        except Exception:  # noqa: BLE001 (onnxruntime has one type per error code, none of them public)
            return self._draw_apart(lanes)
        return self._take(lanes, outputs)

    def _draw_apart(self, lanes: Sequence[Lane]) -> Sequence[Row | SampleFailed]:
        outcomes = [self._run_alone(lane) for lane in lanes]
        good = [
            (lane, run)
            for lane, run in zip(lanes, outcomes, strict=True)
            if not isinstance(run, SampleFailed)
        ]
        joined = [np.concatenate(parts) for parts in zip(*(run for _, run in good), strict=True)]
        rows = iter(self._take([lane for lane, _ in good], joined) if good else ())
        return [outcome if isinstance(outcome, SampleFailed) else next(rows) for outcome in outcomes]

    def _run_alone(self, lane: Lane) -> Outputs | SampleFailed:
        try:
            return self._run([lane])
        except Exception as error:  # noqa: BLE001 (as above)
            return SampleFailed(f"onnxruntime could not draw row {lane.row}: {told(error)}")

    def _take(self, lanes: Sequence[Lane], outputs: Outputs) -> list[Row]:
        pixels, log_probabilities, *states = outputs
        self._states.keep([lane.slot for lane in lanes], states)
        return [Row(*row) for row in zip(pixels, log_probabilities, strict=True)]

    def warm(self) -> None:
        """Run the smallest and the largest batch once, so that the first samples need not wait for buffers.

        Raises RepositoryDamaged if the graph cannot draw those, or the palette does not fit the network.
        """
        try:
            for count in {1, self._slots}:
                self._check(count, self._run([self._idle(slot) for slot in range(count)]))
            pixels, *_ = self._run([last_colour_of(self._width)])
            check_colours(pixels, self._manifest)
        except Exception as error:
            raise RepositoryDamaged(f"{self._name}: onnxruntime cannot run {GRAPH}: {told(error)}") from error

    def _check(self, count: int, outputs: Outputs) -> None:
        """Raise ValueError if an output has another shape than the manifest says."""
        for name, shape, output in zip(self._outputs, self._shapes, outputs, strict=True):
            if output.shape != (count, *shape):
                raise ValueError(f"its output '{name}' came as {output.shape}, not as {(count, *shape)}")

    def apart(self) -> "Runner":
        """Another runner of the same graph, with states of its own."""
        return Runner(self._session, self._manifest, slots=1)

    def _run(self, lanes: Sequence[Lane]) -> Outputs:
        return self._session.run(self._outputs, self._feeds(lanes))

    def _feeds(self, lanes: Sequence[Lane]) -> dict[str, NDArray[Any]]:
        rows = np.array([lane.row for lane in lanes], dtype=np.int64)
        grid = len(lanes), self._width
        return {
            "reset": rows == 0,
            "row": rows,
            "uniform": np.concatenate([lane.uniform for lane in lanes]).reshape(grid),
            "forced": np.concatenate([lane.forced for lane in lanes]).reshape(grid),
            "temperature": np.array([lane.temperature for lane in lanes], dtype=np.float32),
            **self._states.of([lane.slot for lane in lanes]),
        }

    def _idle(self, slot: int) -> Lane:
        """A lane that forces the palette's last colour: a network without that colour fails here."""
        uniform = np.ones(self._width, dtype=np.float32)
        return Lane(slot, 0, uniform, np.full(self._width, self._last_colour), 1.0)
