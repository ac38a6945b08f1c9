"""Reads a ModelInferRequest: checks every tensor against what the model takes, and gives arrays."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.inference.datatypes import read_contents, read_raw
from server.inference.naming import ProtocolModel, named_in_errors
from server.inference.parameters import Options, count_of, options_of
from server.inference.shared_memory import Place, Regions, place_of
from server.inference.signatures import ModelKind, TensorKind, spelled, values_in
from server.oneshot.waiting import Arrays
from smalti.errors import InvalidRequest
from smalti.printable import printable

_SLOW_BYTES = 64 * 1024  # of values that are read one by one


class Wanted(NamedTuple):
    """An output that the client wants, and how."""

    kind: TensorKind
    classes: int = 0  # if not 0, only so many of the highest values, as texts
    place: Place | None = None  # where its values are written; None: into the response


class Asked(NamedTuple):
    """A checked request."""

    inputs: Arrays
    outputs: tuple[Wanted, ...]
    options: Options


def read(model: ProtocolModel, request: Any, regions: Regions) -> Asked:
    """What a request asks of its model. Raises RegionNotFound or InvalidRequest; both name the model first."""
    with named_in_errors(model):
        inputs = _inputs(model.kind, request, regions)
        if model.kind.is_batched:
            _check_batch(inputs, model.served.batching(model.graph).max_batch_size)
        return Asked(inputs, _outputs(model.kind, request, regions), options_of(request.parameters))


def is_slow_to_read(kind: ModelKind, request: Any) -> bool:
    """Whether a request has so many values to read one by one that others should not wait for it."""
    return bool((kind.has_texts or not request.raw_input_contents) and request.ByteSize() > _SLOW_BYTES)


def _inputs(kind: ModelKind, request: Any, regions: Regions) -> dict[str, NDArray[Any]]:
    raw, used = request.raw_input_contents, 0
    arrays: dict[str, NDArray[Any]] = {}
    for tensor in request.inputs:
        name = tensor.name
        expected = kind.inputs.get(name)
        if expected is None or name in arrays or tensor.datatype != expected.datatype.name:
            raise _refused_input(kind, tensor, is_twice=name in arrays)
        shape = tuple(tensor.shape)
        count = values_in(expected, shape)
        if tensor.parameters and (place := place_of(tensor.parameters)):
            _refuse_contents(tensor, "shared memory")
            values = _values_in(expected, count, regions.read(place), "shared memory")
        elif raw:
            _refuse_contents(tensor, "raw_input_contents")
            values = _values_of(expected, count, raw, used)
            used += 1
        else:
            values = _typed_values(expected, count, tensor)
        arrays[name] = _shaped(expected, values, count, shape)
    if used != len(raw):
        raise InvalidRequest(
            f"expected {used} raw_input_contents, one for each input outside shared memory, but got {len(raw)}."
        )
    _check_names(kind, arrays)
    return arrays


def _refused_input(kind: ModelKind, tensor: Any, *, is_twice: bool) -> InvalidRequest:
    name = tensor.name
    if name not in kind.inputs:
        return InvalidRequest(
            f"unexpected inference input '{printable(name)}': the inputs are {_listed(kind.inputs)}.",
            field="inputs",
        )
    if is_twice:
        return InvalidRequest(f"input '{name}' is given twice.", field="inputs")
    return InvalidRequest(
        f"inference input '{name}' data-type is '{printable(tensor.datatype)}', "
        f"but '{kind.inputs[name].datatype.name}' is expected.",
        field="inputs",
    )


def _refuse_contents(tensor: Any, other: str) -> None:
    if tensor.HasField("contents"):
        raise InvalidRequest(
            f"contents field must not be specified when using {other}, as it is for '{tensor.name}'.",
            field="inputs",
        )


def _values_of(expected: TensorKind, count: int, raw: Any, position: int) -> NDArray[Any]:
    if position >= len(raw):
        raise InvalidRequest(
            f"input '{expected.name}' has no raw_input_contents: there are only {len(raw)}.",
            field="raw_input_contents",
        )
    return _values_in(expected, count, raw[position], "raw_input_contents")


def _values_in(expected: TensorKind, count: int, data: bytes, where: str) -> NDArray[Any]:
    try:
        return read_raw(data, expected.datatype, most=count)
    except InvalidRequest as error:
        raise InvalidRequest(
            f"unexpected {where} of input '{expected.name}': {error}", field="inputs"
        ) from error


def _typed_values(expected: TensorKind, count: int, tensor: Any) -> NDArray[Any]:
    field = expected.datatype.contents
    if not field:
        raise InvalidRequest(
            f"input '{expected.name}' of type {expected.datatype.name} must be sent in raw_input_contents.",
            field="inputs",
        )
    foreign = [each.name for each, _ in tensor.contents.ListFields() if each.name != field]
    if foreign:
        raise InvalidRequest(
            f"input '{expected.name}' of type {expected.datatype.name} has values in {foreign[0]}, "
            f"which belong into {field}.",
            field="inputs",
        )
    values = getattr(tensor.contents, field)
    if len(values) != count:
        raise _wrong_size(expected, count, len(values))  # before they are read one by one
    try:
        return read_contents(values, expected.datatype)
    except InvalidRequest as error:
        raise InvalidRequest(f"in the contents of input '{expected.name}' {error}", field="inputs") from error


def _shaped(expected: TensorKind, values: NDArray[Any], count: int, shape: tuple[int, ...]) -> NDArray[Any]:
    if values.size != count:
        raise _wrong_size(expected, count, values.size)
    if expected.colours and count and values.view(np.uint64).max() >= expected.colours:  # negative ones, too
        raise InvalidRequest(
            f"input '{expected.name}' has a value outside 0 to {expected.colours - 1}, the numbers of the colours.",
            field="inputs",
        )
    return values.reshape(shape)


def _wrong_size(expected: TensorKind, count: int, found: int) -> InvalidRequest:
    return InvalidRequest(
        f"unexpected size of input '{expected.name}': its shape has {count} values, but {found} came.",
        field="inputs",
    )


def _check_names(kind: ModelKind, arrays: Arrays) -> None:
    """Every required input must be there; the others were known, so only the count can differ."""
    if not kind.required <= arrays.keys():
        raise InvalidRequest(
            f"expected {len(kind.inputs)} inputs but got {len(arrays)}: "
            f"{_listed(sorted(kind.required - arrays.keys()))} must be given.",
            field="inputs",
        )


def _check_batch(arrays: Arrays, most: int) -> None:
    sizes = {len(array) for array in arrays.values()}
    if len(sizes) > 1:
        raise InvalidRequest(
            f"the inputs have different batch sizes, {spelled(sorted(sizes))}.", field="inputs"
        )
    [size] = sizes
    if not 1 <= size <= most:
        raise InvalidRequest(
            f"inference request batch-size must be <= {most} and not 0, but it is {size}.", field="inputs"
        )


def _outputs(kind: ModelKind, request: Any, regions: Regions) -> tuple[Wanted, ...]:
    if not request.outputs:
        return tuple(map(Wanted, kind.outputs.values()))
    wanted: dict[str, Wanted] = {}
    for output in request.outputs:
        name = output.name
        expected = kind.outputs.get(name)
        if expected is None:
            raise InvalidRequest(
                f"unexpected inference output '{printable(name)}': the outputs are {_listed(kind.outputs)}.",
                field="outputs",
            )
        if name in wanted:
            raise InvalidRequest(f"output '{name}' is requested twice.", field="outputs")
        parameters = output.parameters
        wanted[name] = _wanted(expected, parameters, regions) if parameters else Wanted(expected)
    return tuple(wanted.values())


def _wanted(expected: TensorKind, parameters: Any, regions: Regions) -> Wanted:
    classes, place = count_of(parameters, "classification"), place_of(parameters)
    if classes and expected.datatype.dtype.kind not in "iuf":
        raise InvalidRequest(
            f"classification is not available for output '{expected.name}' of type {expected.datatype.name}.",
            field="outputs",
        )
    if classes and place:
        raise InvalidRequest(
            f"classification of output '{expected.name}' cannot go into shared memory.", field="outputs"
        )
    if place:
        regions.check(place)
    return Wanted(expected, classes, place)


def _listed(names: Any) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"
