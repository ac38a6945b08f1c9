"""Makes the manifest of an ONNX file that has none: everything is read from the file itself.

Inputs, outputs, types and shapes are those that onnxruntime finds. The graph is batched if the first axis of every
input and output may have any size, unless the inputs give that axis different names.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from smalti.errors import RepositoryDamaged
from smalti.printable import printable
from smalti.runtime import folder as files
from smalti.runtime import inventory, onnx_file
from smalti.runtime.manifest import FILE_NAME, MOST_AXES, Manifest, fault_of
from smalti.runtime.names import TENSORS_GRAPH
from smalti.runtime.opening import TYPES, open_bytes

_LONGEST_TYPE = 60  # of onnxruntime's name for a type, in a message


class Described(NamedTuple):
    """The manifest of an ONNX file, and the bytes of every file that it lists."""

    manifest: Manifest
    contents: Mapping[str, bytes]


def described(folder: Path, *, name: str, version: int) -> Described:
    """The model that an ONNX file in this folder is; raises RepositoryDamaged."""
    below = name if folder.name == name else f"{name}/{version}"
    try:
        file = inventory.onnx_file_of(folder)
    except ValueError as error:
        raise RepositoryDamaged(f"{below} {error}.") from error
    except OSError as error:
        raise RepositoryDamaged(f"{below} cannot be read: {error.strerror}.") from error
    try:
        contents = _contents(folder, file, below)
        return Described(manifest_of(file, contents, name=name, version=version), contents)
    except ValueError as error:
        raise RepositoryDamaged(f"{below}/{file} cannot be served: {error}.") from error


def manifest_of(
    file: str, contents: Mapping[str, bytes], *, name: str, version: int, batched: bool | None = None
) -> Manifest:
    """The manifest of an ONNX file; `contents` has its bytes, and those of the files with its weights.

    `batched` is None if the shapes shall say it. Raises ValueError with what is wrong with the file.
    """
    weights = {other: content for other, content in contents.items() if other != file}
    inputs, outputs = _tensors(file, contents[file], weights)
    if not outputs:
        raise ValueError("it has no outputs")
    if batched is None and _is_contradictory(inputs):
        batched = False
    content = {
        "name": name,
        "version": version,
        "medium": "tensors",
        "graphs": {
            TENSORS_GRAPH: {
                "file": file,
                "inputs": [_described("input", each) for each in inputs],
                "outputs": [_described("output", each) for each in outputs],
                "batched": batched,
            }
        },
        "files": {each: hashlib.sha256(content).hexdigest() for each, content in sorted(contents.items())},
    }
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        raise ValueError(printable(fault_of(error), longest=300)) from error


def weights_of(graph: bytes) -> list[str]:
    """The files beside an ONNX file that hold its weights; raises ValueError for any that cannot be used."""
    own, inner = onnx_file.files_of(graph)
    if inner:  # onnxruntime would search for that file in the current folder
        raise ValueError(
            f"it keeps weights of a node's own graph in '{printable(min(inner))}'; only the graph's own weights may "
            "be in another file"
        )
    outside = [name for name in own if not re.fullmatch(FILE_NAME, name)]
    if outside:
        raise ValueError(
            f"it keeps weights in '{printable(min(outside), longest=100)}', but they must lie in a file of its own "
            "folder, such as 'model.data', or in the graph"
        )
    return sorted(own)


def _contents(folder: Path, file: str, below: str) -> dict[str, bytes]:
    graph = files.content(folder, file, place=f"{below}/{file}")
    weights = {name: files.content(folder, name, place=f"{below}/{name}") for name in weights_of(graph)}
    return {file: graph, **weights}


def _tensors(file: str, graph: bytes, weights: Mapping[str, bytes]) -> tuple[Sequence[Any], Sequence[Any]]:
    """Inputs and outputs as onnxruntime describes them."""
    if shapeless := onnx_file.without_shapes(graph):
        raise ValueError(
            f"'{printable(min(shapeless))}' has no shape, not even a number of axes: export it with one"
        )
    try:
        session = open_bytes(file, graph, weights, optimised=False)
    except RepositoryDamaged as error:
        raise ValueError(str(error).removesuffix(".")) from error
    return session.get_inputs(), session.get_outputs()


def _described(what: str, tensor: Any) -> dict[str, Any]:
    """An input or output as a manifest has it; raises ValueError for a type that cannot be served."""
    if tensor.type not in TYPES:
        raise ValueError(
            f"its {what} '{printable(tensor.name)}' has the type {printable(tensor.type, longest=_LONGEST_TYPE)}, but "
            f"smalti serves only tensors of {', '.join(TYPES.values())}"
        )
    if len(tensor.shape) > MOST_AXES:
        raise ValueError(
            f"its {what} '{printable(tensor.name)}' has {len(tensor.shape)} axes, but smalti serves at most {MOST_AXES}"
        )
    shape = [size if isinstance(size, int) else -1 for size in tensor.shape]
    return {"name": tensor.name, "type": TYPES[tensor.type], "shape": shape}


def _is_contradictory(inputs: Sequence[Any]) -> bool:
    """Whether the inputs give their first axes different names, so that these are not one batch."""
    return len({each.shape[0] for each in inputs if each.shape and isinstance(each.shape[0], str)}) > 1
