"""Runs one model's `draw_row` on a GPU: state stays there, every tick has one of a few shapes, kernels are captured."""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any, TypeAlias

import numpy as np
import structlog
from numpy.typing import NDArray

from smalti.errors import RepositoryDamaged, SmaltiError
from smalti.randomness import uniforms
from smalti.runtime.draw_row import GRAPH, INPUTS, OUTPUTS
from smalti.runtime.manifest import Manifest, Tensor
from smalti.runtime.opening import told
from worker.device import BindingSession, Block, Device, Layout, Pass
from worker.runner import check_colours, last_colour_of
from worker.sample import Lane, Row

log = structlog.get_logger()

OpenSession: TypeAlias = Callable[[int, bool], BindingSession]  # size of the batch, whether to capture

_ROWS_OF_A_REHEARSAL = 4  # so that each copy of the state is read twice and written twice
_REHEARSALS_UNTIL_CAPTURED = 2  # onnxruntime runs every graph twice before it captures it at the third run


class DeviceFailed(SmaltiError):
    """The GPU failed in a tick: this process can no longer use it, and everything on it is lost."""


class DeviceRunner:
    """Advances the slots of one model on a device; `warm` and all ticks come from one thread.

    A tick runs the smallest of the `buckets` that has room for its highest slot; idle slots get harmless values. Sizes
    are fixed, because the shape of the batch decides the kernels, and so the bits.

    There are two copies of the state. A tick reads one and writes the other: with a single copy, a captured graph would
    overwrite values that it has yet to read. So a tick must contain every slot whose sample goes on; the state of all
    other slots is lost.
    """

    def __init__(
        self,
        open_session: OpenSession,
        manifest: Manifest,
        *,
        buckets: Sequence[int],
        device: Device = "cuda",
    ) -> None:
        self.is_captured = True
        self._open_session = open_session
        self._manifest = manifest
        self._device: Device = device
        self._sizes = sorted(buckets)
        sessions = self._sessions()  # before any memory is asked for: they find CUDA's libraries
        layouts = [Layout(state.input, state.type, state.shape) for state in manifest.states]
        self._states = (Block(layouts, self._sizes[-1], device), Block(layouts, self._sizes[-1], device))
        self._current = 0  # the copy of the state that the next tick reads
        self._next_rows: dict[int, int] = {}  # for every slot in the last tick
        self._buckets = self._bind(sessions)

    def draw_row(self, lanes: Sequence[Lane]) -> list[Row]:
        """One row for each lane, in order. Raises DeviceFailed.

        After a failure, lanes are not run one by one: bad values were refused before, and NaN stays in its slot, so the
        device itself has failed.
        """
        self._check_succession(lanes)
        bucket = self._bucket(lanes)
        try:
            bucket.run(lanes, self._current, captured=self.is_captured)
            rows = bucket.rows(lanes)
        except Exception as error:
            raise DeviceFailed(
                f"The GPU failed in a tick of {self._name}, so this worker gives up its samples and stops: "
                f"{told(error)}"
            ) from error
        self._current = 1 - self._current
        self._next_rows = {lane.slot: lane.row + 1 for lane in lanes}
        return rows

    def warm(self) -> None:
        """Run every bucket, so that its kernels are captured before the first sample comes.

        If they cannot be captured, or a replay draws something else than a plain run, the model is drawn without
        capture. Raises RepositoryDamaged if it cannot be run at all.
        """
        fault = self._fault_of_capture() if self.is_captured else ""
        try:
            if fault:
                self._give_up_capture(fault)
                self._buckets = self._bind(self._sessions())
            self._rehearse(captured=self.is_captured)
            last = [last_colour_of(self._manifest.width)]
            self._bucket(last).run(last, 0, captured=self.is_captured)
            check_colours(self._bucket(last).rows(last)[0].pixels, self._manifest)
        except Exception as error:
            raise RepositoryDamaged(f"{self._name}: the GPU cannot run {GRAPH}: {told(error)}") from error

    def apart(self) -> "DeviceRunner":
        """Another runner of the same graph, with states of its own; it takes as much memory on the device."""
        other = DeviceRunner(self._open_session, self._manifest, buckets=self._sizes, device=self._device)
        other.warm()
        return other

    def _sessions(self) -> dict[int, BindingSession]:
        """A session for every size, with capture if allowed. Raises RepositoryDamaged or ProviderMissing."""
        try:
            return {size: self._open_session(size, self.is_captured) for size in self._sizes}
        except RepositoryDamaged as refused:
            if not self.is_captured:
                raise
            self._give_up_capture(str(refused))
            return self._sessions()

    def _bind(self, sessions: Mapping[int, BindingSession]) -> "dict[int, _Bucket]":
        return {
            size: _Bucket(session, self._manifest, size, self._states, self._device)
            for size, session in sessions.items()
        }

    def _give_up_capture(self, reason: str) -> None:
        log.warning("drawn without CUDA graphs", model=self._manifest.name, reason=reason.splitlines()[0])
        self.is_captured = False

    def _fault_of_capture(self) -> str:
        """Why captured kernels cannot be used here; empty if they draw exactly what plain runs draw."""
        try:
            plain = self._rehearse(captured=False)
            for _ in range(_REHEARSALS_UNTIL_CAPTURED):
                self._rehearse(captured=True)
            same = self._rehearse(captured=True) == plain
        except Exception as error:  # noqa: BLE001 (onnxruntime has one type per error code, none of them public)
            return told(error)
        return "" if same else "replayed kernels draw something else than plain runs"

    def _rehearse(self, *, captured: bool) -> bytes:
        """What a few fixed rows draw in every slot of every bucket."""
        return b"".join(
            bucket.drawn(_rehearsal(self._manifest, size, row), row % 2, captured=captured)
            for (size, bucket), row in product(self._buckets.items(), range(_ROWS_OF_A_REHEARSAL))
        )

    def _bucket(self, lanes: Sequence[Lane]) -> "_Bucket":
        needed = 1 + max(lane.slot for lane in lanes)
        return self._buckets[next(size for size in self._sizes if size >= needed)]

    def _check_succession(self, lanes: Sequence[Lane]) -> None:
        for lane in lanes:
            if lane.row and self._next_rows.get(lane.slot) != lane.row:
                raise ValueError(f"slot {lane.slot} does not hold the state before row {lane.row}")

    @property
    def _name(self) -> str:
        return f"{self._manifest.name} version {self._manifest.version}"


class _Bucket:
    """All ticks of one size."""

    def __init__(
        self,
        session: BindingSession,
        manifest: Manifest,
        size: int,
        states: tuple[Block, Block],
        device: Device,
    ) -> None:
        graph = manifest.graph(GRAPH)
        self._up = Block(_layouts(graph.inputs, INPUTS), size, device)
        self._down = Block(_layouts(graph.outputs, OUTPUTS), size, device)
        up = {name: self._up.tensor(name, size) for name in INPUTS}
        down = {name: self._down.tensor(name, size) for name in OUTPUTS}
        before = {state.input: state.input for state in manifest.states}
        after = {state.output: state.input for state in manifest.states}
        self._passes = [
            Pass(
                session,
                device,
                up | {name: source.tensor(state, size) for name, state in before.items()},
                down | {name: target.tensor(state, size) for name, state in after.items()},
                number=number,
            )
            for number, (source, target) in enumerate((states, states[::-1]), start=1)
        ]

    def run(self, lanes: Sequence[Lane], state: int, *, captured: bool) -> None:
        """Run a tick that reads this copy of the state and writes the other."""
        _fill(self._up.host, lanes)
        self._up.upload()
        self._passes[state].run(captured=captured)

    def rows(self, lanes: Sequence[Lane]) -> list[Row]:
        """The rows that the last tick drew in these lanes."""
        drawn = self._down.download()
        pixels, log_probabilities = (drawn[name] for name in OUTPUTS)
        return [Row(pixels[lane.slot], log_probabilities[lane.slot]) for lane in lanes]

    def drawn(self, lanes: Sequence[Lane], state: int, *, captured: bool) -> bytes:
        """Run a tick and return all its outputs as bytes."""
        self.run(lanes, state, captured=captured)
        return b"".join(values.tobytes() for values in self._down.download().values())


def _layouts(tensors: Sequence[Tensor], names: Sequence[str]) -> list[Layout]:
    by_name = {tensor.name: tensor for tensor in tensors}
    return [Layout(name, by_name[name].type, by_name[name].shape[1:]) for name in names]


def _fill(host: Mapping[str, NDArray[Any]], lanes: Sequence[Lane]) -> None:
    """Set the inputs of a tick: the values of its lanes, and harmless values for idle slots."""
    for name, idle in (("reset", True), ("row", 0), ("uniform", 1.0), ("forced", 0), ("temperature", 1.0)):
        host[name].fill(idle)
    slots = [lane.slot for lane in lanes]
    host["row"][slots] = [lane.row for lane in lanes]
    host["reset"][slots] = [lane.row == 0 for lane in lanes]
    host["uniform"][slots] = np.stack([lane.uniform for lane in lanes])
    host["forced"][slots] = np.stack([lane.forced for lane in lanes])
    host["temperature"][slots] = [lane.temperature for lane in lanes]


def _rehearsal(manifest: Manifest, size: int, row: int) -> list[Lane]:
    """A row in every slot; every third pixel is forced."""
    width = manifest.width
    forced = np.where(np.arange(width) % 3, -1, row % len(manifest.palette))
    return [
        Lane(slot, row % manifest.height, uniforms(0, slot, row * width, width), forced, 1.0)
        for slot in range(size)
    ]
