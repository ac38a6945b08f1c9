"""The diagonal PixelRNN's graphs, composed of a traced opening, step, closing and sweep."""

from collections.abc import Sequence
from typing import cast

import torch
from onnx import ModelProto, TensorProto, ValueInfoProto, helper
from torch import Tensor, nn

from export import graphs
from export.compose import Composition
from models.diagonal import LEFT, DiagonalDrawer, DiagonalLayer, DiagonalPixelRNN

BATCH = 2  # of the examples: any but 1


def draw_row_graph(drawer: DiagonalDrawer) -> ModelProto:
    """DiagonalDrawer.forward: the four parts are traced, and the row is put together of them."""
    width, states = drawer.width, drawer.states
    parts = _trace_parts(drawer)
    inputs = [*_row_inputs(width), *_state_kinds(drawer, "")]
    row = Composition(inputs)
    begun = row.place("opening", parts["opening"], ["reset", "row", *states])
    ahead, above, recent, leftward = begun[:4]
    sweeping, running = begun[4:6], begun[6:]
    drawn = []
    for column in range(width):
        now = [row.column(value, column) for value in (ahead, above, "uniform", "forced")]
        pixel, logp, seen, *running = row.place("step", parts["step"], [*now, "temperature", *running])
        drawn.append((pixel, logp, seen, running[1]))
    pixels, logps, seen, rightward = (
        row.join(values, shape)
        for values, shape in zip(
            zip(*drawn, strict=True),
            ([width], [width], [width, drawer.inputs_size], [width, drawer.hidden_size]),
            strict=True,
        )
    )
    back, recent = row.place("closing", parts["closing"], [pixels, seen, leftward, recent])
    swept = []
    for column in reversed(range(width)):
        sweeping = row.place("sweep", parts["sweep"], [row.column(back, column), *sweeping])
        swept.append(sweeping[0])
    leftward = row.join(swept[::-1], [width, drawer.hidden_size])
    found = [pixels, logps, recent, rightward, leftward, *running[3:]]
    kinds = [
        _kind("pixels", torch.int64, [width]),
        _kind("logp", torch.float32, [width]),
        *_state_kinds(drawer, "_out"),
    ]
    return row.finish("draw_row", dict(zip((kind.name for kind in kinds), found, strict=True)), kinds)


def _trace_parts(drawer: DiagonalDrawer) -> dict[str, ModelProto]:
    """The drawer's parts as graphs, by examples that flow through them."""
    state = drawer.fresh(BATCH)
    reset, row = torch.tensor([True, False]), torch.zeros(BATCH, dtype=torch.int64)
    opening = [reset, row, *state]
    ahead, above, recent, leftward, *rest = drawer.opening(*opening)
    numbers, forced = torch.ones(BATCH), torch.full((BATCH,), -1)
    step = [ahead[:, 0], above[:, 0], numbers, forced, numbers, *rest[2:]]
    pixel, _, seen, *_ = drawer.step(*step)
    closing = [
        pixel.expand(-1, drawer.width).contiguous(),
        seen[:, None].expand(-1, drawer.width, -1).contiguous(),
        leftward,
        recent,
    ]
    back, _ = drawer.closing(*closing)
    sweep = [back[:, 0], *rest[:2]]
    examples = {"opening": opening, "step": step, "closing": closing, "sweep": sweep}
    return {name: _trace(getattr(drawer, name), example) for name, example in examples.items()}


def _trace(part: nn.Module, example: Sequence[Tensor]) -> ModelProto:
    with torch.no_grad():
        outputs = part(*example)
    return graphs.trace(
        part,
        [value.clone() for value in example],
        inputs=[f"in_{index}" for index in range(len(example))],
        outputs=[f"out_{index}" for index in range(len(outputs))],
    )


def _row_inputs(width: int) -> list[ValueInfoProto]:
    return [
        _kind("reset", torch.bool, []),
        _kind("row", torch.int64, []),
        _kind("uniform", torch.float32, [width]),
        _kind("forced", torch.int64, [width]),
        _kind("temperature", torch.float32, []),
    ]


def _state_kinds(drawer: DiagonalDrawer, suffix: str) -> list[ValueInfoProto]:
    return [
        _kind(f"{name}{suffix}", value.dtype, value.shape[1:])
        for name, value in zip(drawer.states, drawer.fresh(1), strict=True)
    ]


_TYPES = {torch.bool: TensorProto.BOOL, torch.int64: TensorProto.INT64, torch.float32: TensorProto.FLOAT}


def _kind(name: str, kind: torch.dtype, shape: Sequence[int]) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, _TYPES[kind], ["batch", *shape])
