"""The usual practices in torch: drawing pixel by pixel, with the state kept or with the image read again.

Each loop has the weights of the exported graphs, so it draws exactly the pixels that a worker draws.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import GraphProto, numpy_helper
from torch import Tensor, nn

from models import pixel_rnn
from models.pixel_rnn import Drawer, LecturePixelRNN
from smalti.runtime.repository import Model
from training.families.pixel_rnn import make_network
from training.recipe import Recipe


class TorchLoop(Protocol):
    """Draws images of one model, of `height` × `width` pixels."""

    height: int
    width: int

    def drawer(self) -> Drawer:
        """The network's step path, a row at a time."""
        ...

    def draw(self, uniform: NDArray[np.float32]) -> NDArray[np.int64]:
        """Draw images: uniform (images, rows · columns) in (0, 1] → pixels (images, rows, columns)."""
        ...

    def read(self, pixels: NDArray[np.int64]) -> None:
        """Compute the distribution of every pixel of images (images, rows, columns), as a loop without state must."""
        ...


def torch_loop(model: Model, device: str = "cpu") -> TorchLoop:
    """The loop for an exported PixelRNN of any variant, on a torch device."""
    return LOOPS[model.manifest.variant](model, device)


class LectureLoop(nn.Module):
    """The lecture's network as it is usually written in torch: `nn.LSTM`, one step per call."""

    def __init__(self, model: Model, device: str) -> None:
        super().__init__()
        manifest, weights = model.manifest, _weights(_graph(model.path("score")))
        self.height, self.width, self.colours = manifest.height, manifest.width, len(manifest.palette)
        symbols, size = weights["embedding"].shape
        hidden = weights["output_weights"].shape[0]
        self.embedding = nn.Embedding(symbols, size)
        self.rnn = nn.LSTM(size, hidden, batch_first=True)
        self.head = nn.Linear(hidden, self.colours)
        self._take(weights)
        self.requires_grad_(False).eval().to(device)

    def drawer(self) -> Drawer:
        """The network's step path, a row at a time."""
        network = LecturePixelRNN(
            height=self.height,
            width=self.width,
            colours=self.colours,
            embedding=self.embedding.embedding_dim,
            hidden=self.rnn.hidden_size,
        )
        network.load_state_dict(self.state_dict())
        return network.to(self.head.weight.device).drawer()

    @torch.inference_mode()
    def draw(self, uniform: NDArray[np.float32]) -> NDArray[np.int64]:
        """Draw images: uniform (images, rows · columns) in (0, 1] → pixels (images, rows, columns)."""
        numbers = torch.from_numpy(uniform).to(self.head.weight.device)
        last, state, pixels = torch.full_like(numbers[:, :1], self.colours, dtype=torch.int64), None, []
        for number in numbers.T:
            hidden, state = self.rnn(self.embedding(last), state)
            cumulative = self.head(hidden[:, -1]).softmax(dim=-1).cumsum(dim=-1)
            last = (cumulative < number[:, None] * cumulative[:, -1:]).sum(dim=-1, keepdim=True)
            pixels.append(last)
        return torch.cat(pixels, dim=1).view(-1, self.height, self.width).cpu().numpy()

    @torch.inference_mode()
    def read(self, pixels: NDArray[np.int64]) -> None:
        """Compute every pixel's distribution of images (images, rows, columns)."""
        read = torch.from_numpy(pixels).to(self.head.weight.device).flatten(1)
        self.head(self.rnn(self.embedding(read))[0]).softmax(dim=-1)

    def _take(self, weights: dict[str, Tensor]) -> None:
        # ONNX keeps the gates as input, output, forget, candidate; torch as input, forget, candidate, output.
        bias = weights["gate_bias"][0].chunk(2)[0]
        recurrent = torch.cat([weights[f"recurrent.{gate}"] for gate in range(4)], dim=1)
        self.load_state_dict(
            {
                "embedding.weight": weights["embedding"],
                "rnn.weight_ih_l0": _reorder(weights["input_weights"][0]),
                "rnn.weight_hh_l0": _reorder(recurrent.T),
                "rnn.bias_ih_l0": _reorder(bias),
                "rnn.bias_hh_l0": torch.zeros_like(bias),
                "head.weight": weights["output_weights"].T,
                "head.bias": weights["output_bias"],
            }
        )


class DiagonalLoop:
    """The step path of the diagonal network: it keeps a row of states, so no cell is computed twice."""

    def __init__(self, model: Model, device: str) -> None:
        manifest, graph = model.manifest, _graph(model.path("draw_row"))
        self.height, self.width = manifest.height, manifest.width
        self._network = make_network(
            Recipe.model_validate(manifest.recipe),
            height=self.height,
            width=self.width,
            colours=len(manifest.palette),
        )
        self._drawer = self._network.drawer()
        weights = _weights(graph)
        self._drawer.load_state_dict({name: weights[name] for name in self._drawer.state_dict()})
        self._device = device
        self._network.to(device)
        self._drawer.to(device)

    def drawer(self) -> Drawer:
        """The network's step path, a row at a time."""
        return self._drawer

    @torch.inference_mode()
    def draw(self, uniform: NDArray[np.float32]) -> NDArray[np.int64]:
        """Draw images: uniform (images, rows · columns) in (0, 1] → pixels (images, rows, columns)."""
        numbers = torch.from_numpy(uniform).to(self._device).view(-1, self.height, self.width)
        return pixel_rnn.draw(self._network, numbers, drawer=self._drawer).cpu().numpy()

    @torch.inference_mode()
    def read(self, pixels: NDArray[np.int64]) -> None:
        """Compute every pixel's distribution of images (images, rows, columns), with weights of the same shapes."""
        self._network.logits(torch.from_numpy(pixels).to(self._device)).softmax(dim=-1)


LOOPS: dict[str, Callable[[Model, str], TorchLoop]] = {"lecture": LectureLoop, "diagonal": DiagonalLoop}


def _graph(file: Path) -> GraphProto:
    return onnx.load(file).graph


def _weights(graph: GraphProto) -> dict[str, Tensor]:
    return {
        weight.name: torch.from_numpy(numpy_helper.to_array(weight).copy()) for weight in graph.initializer
    }


def _reorder(gates: Tensor) -> Tensor:
    gate_in, out, forget, candidate = gates.chunk(4)
    return torch.cat([gate_in, forget, candidate, out])
