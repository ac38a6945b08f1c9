"""The practice to compare with: torch's LSTM, its state kept, one image and one pixel at a time."""

from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from smalti.repository import Model


class TorchLoop(nn.Module):
    """An exported lecture PixelRNN, back in torch with the weights of its graph `score`."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        manifest, weights = model.manifest, _weights(model.path("score"))
        self.height, self.width, self.colours = manifest.height, manifest.width, len(manifest.palette)
        symbols, size = weights["embedding"].shape
        hidden = weights["output_weights"].shape[0]
        self.embedding = nn.Embedding(symbols, size)
        self.rnn = nn.LSTM(size, hidden, batch_first=True)
        self.head = nn.Linear(hidden, self.colours)
        self._take(weights)
        self.requires_grad_(False).eval()

    @torch.inference_mode()
    def draw(self, uniform: NDArray[np.float32]) -> NDArray[np.int64]:
        """Draw one image: uniform (rows · columns,) in (0, 1] → pixels (rows, columns)."""
        numbers = torch.from_numpy(uniform)
        last, state, pixels = torch.tensor([[self.colours]]), None, []
        for number in numbers:
            hidden, state = self.rnn(self.embedding(last), state)
            cumulative = self.head(hidden[:, -1]).softmax(dim=-1).cumsum(dim=-1)
            last = (cumulative < number * cumulative[:, -1:]).sum(dim=-1, keepdim=True)
            pixels.append(last)
        return torch.cat(pixels).view(self.height, self.width).numpy()

    def _take(self, weights: dict[str, Tensor]) -> None:
        # ONNX keeps the gates as input, output, forget, candidate; torch as input, forget, candidate, output.
        bias = weights["gate_bias"][0].chunk(2)[0]
        self.load_state_dict(
            {
                "embedding.weight": weights["embedding"],
                "rnn.weight_ih_l0": _reorder(weights["input_weights"][0]),
                "rnn.weight_hh_l0": _reorder(weights["recurrent"].T),
                "rnn.bias_ih_l0": _reorder(bias),
                "rnn.bias_hh_l0": torch.zeros_like(bias),
                "head.weight": weights["output_weights"].T,
                "head.bias": weights["output_bias"],
            }
        )


def _weights(score: Path) -> dict[str, Tensor]:
    return {
        weight.name: torch.from_numpy(numpy_helper.to_array(weight).copy())
        for weight in onnx.load(score).graph.initializer
    }


def _reorder(gates: Tensor) -> Tensor:
    gate_in, out, forget, candidate = gates.chunk(4)
    return torch.cat([gate_in, forget, candidate, out])
