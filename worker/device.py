"""Tensors that stay on a device, at addresses that never change, and the runs that read and write them there."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from onnxruntime import OrtValue, RunOptions

Device: TypeAlias = Literal["cpu", "cuda"]

_ALIGNED = 256  # bytes: what CUDA's own allocations are aligned to
_CAPTURE = "gpu_graph_id"  # onnxruntime's run option
_NO_CAPTURE = -1


class BindingSession(Protocol):
    """The part of onnxruntime's session that a Pass needs."""

    def io_binding(self) -> Any:
        """A binding, on which inputs and outputs can be bound."""
        ...

    def run_with_iobinding(self, iobinding: Any, run_options: Any) -> None:
        """Run from and to what is bound, and wait for the end."""
        ...


@dataclass(frozen=True, slots=True)
class Layout:
    """A tensor without its batch axis."""

    name: str
    type: str  # as NumPy and the manifest name it
    shape: tuple[int, ...]

    def size(self, entries: int) -> int:
        """Bytes of so many entries of a batch, rounded up to where the next tensor may begin."""
        size = entries * prod(self.shape) * np.dtype(self.type).itemsize
        return -(-size // _ALIGNED) * _ALIGNED


@dataclass(frozen=True, slots=True)
class DeviceTensor:
    """A tensor at its address on the device."""

    address: int
    type: str
    shape: tuple[int, ...]  # the batch first


class Block:
    """Tensors of one batch in one piece of the device's memory, with a copy on the host: one transfer moves them all.

    They are zeros at first.
    """

    def __init__(self, layouts: Iterable[Layout], entries: int, device: Device) -> None:
        self._layouts = {layout.name: layout for layout in layouts}
        self._entries = entries
        self._offsets: dict[str, int] = {}
        size = 0
        for layout in self._layouts.values():
            self._offsets[layout.name] = size
            size += layout.size(entries)
        self._is_shared = device == "cpu"  # OrtValue.numpy() copies a GPU's memory, but not the CPU's
        self._bytes = np.zeros(size, dtype=np.uint8)
        self._value = OrtValue.ortvalue_from_shape_and_type([size], np.uint8, device)
        self.host: Mapping[str, NDArray[Any]] = self._views(self._bytes)
        self.upload()

    def tensor(self, name: str, entries: int) -> DeviceTensor:
        """The first entries of a tensor, at their address."""
        layout = self._layouts[name]
        return DeviceTensor(
            self._value.data_ptr() + self._offsets[name], layout.type, (entries, *layout.shape)
        )

    def upload(self) -> None:
        """Copy the host's values to the device."""
        self._value.update_inplace(self._bytes)

    def download(self) -> Mapping[str, NDArray[Any]]:
        """Copy the device's values into new arrays."""
        found = self._value.numpy()
        return self._views(found.copy() if self._is_shared else found)

    def _views(self, content: NDArray[np.uint8]) -> Mapping[str, NDArray[Any]]:
        return {name: self._view(content, layout) for name, layout in self._layouts.items()}

    def _view(self, content: NDArray[np.uint8], layout: Layout) -> NDArray[Any]:
        shape = (self._entries, *layout.shape)
        return np.ndarray(shape, layout.type, buffer=content, offset=self._offsets[layout.name])


class Pass:
    """One run of a graph from and to fixed addresses: what a CUDA graph can capture.

    `number` identifies the captured graph. It is greater than 0, which onnxruntime reserves, and no other Pass of the
    session has it: a replay would read and write the other one's tensors.
    """

    def __init__(
        self,
        session: BindingSession,
        device: Device,
        inputs: Mapping[str, DeviceTensor],
        outputs: Mapping[str, DeviceTensor],
        *,
        number: int,
    ) -> None:
        self._session = session
        self._device = device
        self._inputs = inputs
        self._binding = session.io_binding()
        self._captured, self._plain = _run_options(number), _run_options(_NO_CAPTURE)
        self._bind_inputs()
        for name, tensor in outputs.items():
            self._binding.bind_output(name, *self._bound(tensor))

    def run(self, *, captured: bool) -> None:
        """Run plainly, or capture and replay if the session can capture.

        onnxruntime copies the inputs of nodes on the CPU when they are bound, so a plain run binds all inputs again.
        """
        if not captured:
            self._bind_inputs()
        self._session.run_with_iobinding(self._binding, self._captured if captured else self._plain)

    def _bind_inputs(self) -> None:
        for name, tensor in self._inputs.items():
            self._binding.bind_input(name, *self._bound(tensor))

    def _bound(self, tensor: DeviceTensor) -> tuple[Any, ...]:
        return self._device, 0, np.dtype(tensor.type).type, tensor.shape, tensor.address


def _run_options(number: int) -> RunOptions:
    options = RunOptions()
    options.add_run_config_entry(_CAPTURE, str(number))
    return options
