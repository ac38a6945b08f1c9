"""How fast a runner on a GPU is, compared with torch and the same network: kernel by kernel, and as CUDA graphs."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.candidates import SEED, Candidate, draws_a_batch
from benchmarks.torch_loop import TorchLoop, torch_loop
from models.pixel_rnn import Drawer
from smalti.randomness import uniforms
from smalti.runtime.repository import Model
from worker.engine import DrawsRows

OURS, EAGER, GRAPHS = "smalti", "torch", "torch with CUDA graphs"
GOALS = {EAGER: 20.0, GRAPHS: 1.5}  # how many times as fast as these smalti should be
_WARM_UP_RUNS = 3  # torch's advice before a capture


def candidates(model: Model, runner: DrawsRows, slots: int) -> dict[str, Candidate]:
    """The three candidates, each with `slots` images at once."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # as in smalti
    loop = torch_loop(model, "cuda")
    pixels = loop.height * loop.width
    numbers = np.stack([uniforms(SEED, index, 0, pixels) for index in range(slots)])
    graphs = TorchRows(loop, slots, "cuda")
    graphs.capture()
    return {
        OURS: draws_a_batch(runner, model, slots),
        EAGER: _drawing(loop.draw, numbers),
        GRAPHS: _drawing(graphs.draw, numbers),
    }


def ratios(rates: Mapping[str, float]) -> dict[str, float]:
    """How many times as fast as torch smalti is."""
    return {name: rates[OURS] / rates[name] for name in GOALS}


class TorchRows:
    """A network's step path in torch. No tensor ever moves in memory, so a row can be captured as a CUDA graph."""

    def __init__(self, loop: TorchLoop, images: int, device: str) -> None:
        self._drawer: Drawer = loop.drawer()
        self._height, self._width = loop.height, loop.width
        self._device = device
        self._reset = torch.ones(images, dtype=torch.bool, device=device)
        self._row = torch.zeros(images, dtype=torch.int64, device=device)
        self._uniform = torch.ones(images, loop.width, device=device)
        self._forced = torch.full((images, loop.width), -1, device=device)
        self._temperature = torch.ones(images, device=device)
        self._state = [tensor.clone() for tensor in self._drawer.fresh(images)]
        self._pixels = torch.zeros(images, loop.width, dtype=torch.int64, device=device)
        self._advance: Callable[[], None] = self._draw_row

    @torch.no_grad()
    def capture(self) -> None:
        """Capture one row as a CUDA graph; every later row replays it."""
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UP_RUNS):
                self._draw_row()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._draw_row()
        self._advance = graph.replay

    @torch.no_grad()
    def draw(self, uniform: NDArray[np.float32]) -> NDArray[np.int64]:
        """Draw images: uniform (images, rows · columns) in (0, 1] → pixels (images, rows, columns)."""
        numbers = torch.from_numpy(uniform).to(self._device).view(-1, self._height, self._width)
        rows = [self._next_row(row, numbers[:, row]) for row in range(self._height)]
        return torch.stack(rows, dim=1).cpu().numpy()

    def _next_row(self, row: int, uniform: Tensor) -> Tensor:
        self._row.fill_(row)
        self._reset.fill_(row == 0)
        self._uniform.copy_(uniform)
        self._advance()
        return self._pixels.clone()

    def _draw_row(self) -> None:
        given = (self._reset, self._row, self._uniform, self._forced, self._temperature)
        pixels, _, *after = self._drawer(*given, *self._state)
        self._pixels.copy_(pixels)
        for kept, new in zip(self._state, after, strict=True):
            kept.copy_(new)


def _drawing(
    draw: Callable[[NDArray[np.float32]], NDArray[np.int64]], numbers: NDArray[np.float32]
) -> Candidate:
    return lambda: float(len(draw(numbers)))
