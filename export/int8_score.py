"""Builds int8 `score` from copies of `draw_row` with every pixel forced, so that both compute the same bits."""

from collections.abc import Iterator, Sequence

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper

from export.compose import Composition
from export.errors import ExportRefused
from smalti.runtime.manifest import State

_KINDS = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "bool": TensorProto.BOOL}


def score_graph(draw_row: ModelProto, states: Sequence[State], *, height: int, width: int) -> ModelProto:
    """pixels (batch, height, width) → logp, by one copy of `draw_row` for each row."""
    row = forced_row(draw_row, [state.output for state in states], width)
    images = Composition(
        [helper.make_tensor_value_info("pixels", TensorProto.INT64, ["batch", height, width])]
    )
    reset, again, *begun = images.place("begin", begin_graph(states, height, width), ["pixels"])
    state = dict(zip((state.input for state in states), begun[height:], strict=True))
    logps = []
    for index, number in enumerate(begun[:height]):
        given = {
            "reset": again if index else reset,
            "row": number,
            "forced": images.column("pixels", index),
            **state,
        }
        logp, *after = images.place("row", row, [given[value.name] for value in row.graph.input])
        state = dict(zip(state, after, strict=True))
        logps.append(logp)
    return images.finish(
        "score",
        {"logp": images.join(logps, [height, width])},
        [helper.make_tensor_value_info("logp", TensorProto.FLOAT, ["batch", height, width])],
    )


def forced_row(draw_row: ModelProto, states: Sequence[str], width: int) -> ModelProto:
    """`draw_row` with every pixel forced: its outputs are `logp` and the states; nodes for drawing only are removed."""
    result = ModelProto()
    result.CopyFrom(draw_row)
    chosen = list(_choices(result))
    if len(chosen) != width:
        raise ExportRefused(
            f"draw_row chooses between drawn and forced pixels in {len(chosen)} places instead of {width}, "
            "so no score can be made of it."
        )
    for node in chosen:
        forced, output = node.input[1], list(node.output)
        node.CopyFrom(helper.make_node("Identity", [forced], output, node.name))
    return prune(result, ["logp", *states])


def _choices(model: ModelProto) -> Iterator[NodeProto]:
    """The nodes that choose between drawn and forced pixel: Max(drawn, forced); forced is −1 if not given."""
    return (node for node in model.graph.node if node.op_type == "Max")


def prune(model: ModelProto, outputs: Sequence[str]) -> ModelProto:
    """The graph with only these outputs, in this order, and the nodes that they need."""
    graph = model.graph
    needed, kept = set(outputs), []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    named = {output.name: output for output in graph.output}
    result = ModelProto()
    result.CopyFrom(model)
    result.graph.CopyFrom(
        helper.make_graph(
            kept[::-1],
            graph.name,
            [value for value in graph.input if value.name in needed],
            [named[name] for name in outputs],
            [constant for constant in graph.initializer if constant.name in needed],
        )
    )
    return result


def begin_graph(states: Sequence[State], height: int, width: int) -> ModelProto:
    """pixels → true and false for every image, each row's number for every image, then states of zeros.

    Everything is made from the first pixel times 0, so that the graph does not need the batch's size.
    """
    begin = Composition(
        [helper.make_tensor_value_info("pixels", TensorProto.INT64, ["batch", height, width])]
    )
    none = begin.constant("none", np.array(0))
    zero = begin.add("Mul", [begin.column(begin.column("pixels", 0), 0), none])
    outputs = [
        begin.add("Equal", [zero, none]),
        begin.add("Greater", [zero, none]),
        *(begin.add("Add", [zero, begin.constant(f"row_{row}", np.array(row))]) for row in range(height)),
        *(_zeros(begin, zero, state) for state in states),
    ]
    kinds = [TensorProto.BOOL] * 2 + [TensorProto.INT64] * height
    shapes = [()] * len(kinds) + [state.shape for state in states]
    kinds += [_KINDS[state.type] for state in states]
    named = {f"out_{index}": output for index, output in enumerate(outputs)}
    described = [
        helper.make_tensor_value_info(name, kind, ["batch", *shape])
        for name, kind, shape in zip(named, kinds, shapes, strict=True)
    ]
    return begin.finish("begin", named, described)


def _zeros(begin: Composition, zero: str, state: State) -> str:
    """A state of zeros for every image."""
    axes = begin.constant(f"axes_{len(state.shape)}", np.array([-1, *[1] * len(state.shape)]))
    value = begin.add("Cast", [begin.add("Reshape", [zero, axes])], to=_KINDS[state.type])
    nothing = np.zeros((1, *state.shape), dtype=state.type)
    return begin.add(
        "Or" if state.type == "bool" else "Add", [value, begin.constant(f"no_{state.input}", nothing)]
    )
