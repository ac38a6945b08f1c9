"""A toy VAE and a toy GAN of a few ONNX nodes: they keep the contract of their graphs and run in onnxruntime."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from smalti.runtime.families import FamilyName
from smalti.runtime.manifest import MANIFEST, Data, Graph, Manifest, Parity, Tensor, score_of

HEIGHT, WIDTH, COLOURS, LATENT = 4, 5, 4, 3
PIXELS = HEIGHT * WIDTH
PALETTE = ("#000000", "#ff0000", "#00ff00", "#0000ff")
_OPSET = 18
_TO_PIXELS = np.linspace(-7.0, 9.0, LATENT * PIXELS, dtype=np.float32).reshape(LATENT, PIXELS)
_TO_LATENT = np.linspace(-0.1, 0.1, PIXELS * LATENT, dtype=np.float32).reshape(PIXELS, LATENT)

_pixels = Tensor(name="pixels", type="int64", shape=(-1, HEIGHT, WIDTH))
_latent = Tensor(name="latent", type="float32", shape=(-1, LATENT))
_noise = Tensor(name="noise", type="float32", shape=(-1, LATENT))
_TYPES = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "bool": TensorProto.BOOL}


def decoded(latents: NDArray[np.float32]) -> NDArray[np.int64]:
    """The images that `decode` and `generate` give for latents (images, LATENT)."""
    values = np.floor(np.abs(latents @ _TO_PIXELS)).astype(np.int64) % COLOURS
    return np.asarray(values.reshape(-1, HEIGHT, WIDTH))


def encoded(pixels: NDArray[np.int64]) -> NDArray[np.float32]:
    """The mean that `encode` gives for pixels (images, HEIGHT, WIDTH)."""
    return pixels.reshape(-1, PIXELS).astype(np.float32) @ _TO_LATENT


def write_vae(root: Path, *, name: str = "toy-vae", version: int = 1) -> Manifest:
    """Put the toy VAE into a repository: encode, decode, score (the sum of all pixels, and of the noise)."""
    encode = _graph(
        [_pixels],
        [_mean_tensor("mean"), _mean_tensor("log_deviation")],
        [
            helper.make_node("Reshape", ["pixels", "flat"], ["row"]),
            helper.make_node("Cast", ["row"], ["numbers"], to=TensorProto.FLOAT),
            helper.make_node("MatMul", ["numbers", "to_latent"], ["mean"]),
            helper.make_node("Mul", ["mean", "zero"], ["log_deviation"]),
        ],
    )
    score = _graph(
        [_pixels, _noise],
        [Tensor(name="elbo", type="float32", shape=(-1,))],
        [
            helper.make_node("Cast", ["pixels"], ["numbers"], to=TensorProto.FLOAT),
            helper.make_node("ReduceSum", ["numbers", "axes_hw"], ["of_pixels"], keepdims=0),
            helper.make_node("ReduceSum", ["noise", "axis_latent"], ["of_noise"], keepdims=0),
            helper.make_node("Add", ["of_pixels", "of_noise"], ["elbo"]),
        ],
    )
    graphs = {"encode": encode, "decode": _decode(), "score": score}
    return _write(root, name, version, "vae", graphs)


def write_gan(root: Path, *, name: str = "toy-gan") -> Manifest:
    """Put the toy GAN into a repository: generate, discriminate (0.25 for every image)."""
    discriminate = _graph(
        [_pixels],
        [Tensor(name="probability", type="float32", shape=(-1,))],
        [
            helper.make_node("Cast", ["pixels"], ["numbers"], to=TensorProto.FLOAT),
            helper.make_node("ReduceSum", ["numbers", "axes_hw"], ["sum"], keepdims=0),
            helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
            helper.make_node("Add", ["nothing", "quarter"], ["probability"]),
        ],
    )
    return _write(root, name, 1, "gan", {"generate": _decode(), "discriminate": discriminate})


def _mean_tensor(name: str) -> Tensor:
    return Tensor(name=name, type="float32", shape=(-1, LATENT))


def _decode() -> tuple[onnx.ModelProto, list[Tensor], list[Tensor]]:
    return _graph(
        [_latent],
        [_pixels],
        [
            helper.make_node("MatMul", ["latent", "to_pixels"], ["raw"]),
            helper.make_node("Abs", ["raw"], ["positive"]),
            helper.make_node("Floor", ["positive"], ["whole"]),
            helper.make_node("Cast", ["whole"], ["integer"], to=TensorProto.INT64),
            helper.make_node("Mod", ["integer", "colours"], ["flat_pixels"]),
            helper.make_node("Reshape", ["flat_pixels", "square"], ["pixels"]),
        ],
    )


def _graph(
    inputs: list[Tensor], outputs: list[Tensor], nodes: list[onnx.NodeProto]
) -> tuple[onnx.ModelProto, list[Tensor], list[Tensor]]:
    graph = helper.make_graph(
        nodes, "toy", [_value(each) for each in inputs], [_value(each) for each in outputs], _constants()
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=10)
    return model, inputs, outputs


def _constants() -> list[TensorProto]:
    values: dict[str, NDArray[Any]] = {
        "to_pixels": _TO_PIXELS,
        "to_latent": _TO_LATENT,
        "colours": np.array(COLOURS, dtype=np.int64),
        "square": np.array([-1, HEIGHT, WIDTH], dtype=np.int64),
        "flat": np.array([-1, PIXELS], dtype=np.int64),
        "axes_hw": np.array([1, 2], dtype=np.int64),
        "axis_latent": np.array([1], dtype=np.int64),
        "zero": np.array(0, dtype=np.float32),
        "quarter": np.array(0.25, dtype=np.float32),
    }
    return [numpy_helper.from_array(value, name) for name, value in values.items()]


def _value(tensor: Tensor) -> onnx.ValueInfoProto:
    shape = ["batch" if axis == -1 else axis for axis in tensor.shape]
    return helper.make_tensor_value_info(tensor.name, _TYPES[tensor.type], shape)


def _write(
    root: Path,
    name: str,
    version: int,
    family: FamilyName,
    graphs: dict[str, tuple[onnx.ModelProto, list[Tensor], list[Tensor]]],
) -> Manifest:
    folder = root / name / str(version)
    folder.mkdir(parents=True)
    files, described = {}, {}
    for graph, (model, inputs, outputs) in graphs.items():
        content = model.SerializeToString()
        (folder / f"{graph}.onnx").write_bytes(content)
        files[f"{graph}.onnx"] = hashlib.sha256(content).hexdigest()
        described[graph] = Graph(file=f"{graph}.onnx", inputs=tuple(inputs), outputs=tuple(outputs))
    manifest = Manifest.model_validate(
        {
            "name": name,
            "version": version,
            "family": family,
            "variant": "toy",
            "height": HEIGHT,
            "width": WIDTH,
            "palette": PALETTE,
            "graphs": {graph: each.model_dump() for graph, each in described.items()},
            "score": score_of(family, graphs),
            "latent_size": LATENT,
            "files": files,
            "data": Data(name="toys", source="made up", licence="CC0-1.0", digest="", images=1).model_dump(),
            "recipe": {},
            "figures": {},
            "parity": Parity(max_difference=0.0, images=0, pixels_equal=True).model_dump(),
        }
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json())
    return manifest


def reseal(folder: Path, change: Callable[[onnx.ModelProto], object] = lambda graph: None) -> None:
    """Change a version's decode.onnx, and write its new digest into the manifest."""
    file = folder / "decode.onnx"
    if (graph := _parsed(file)) is not None:
        change(graph)
        file.write_bytes(graph.SerializeToString())
    manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    files = {**manifest.files, file.name: hashlib.sha256(file.read_bytes()).hexdigest()}
    (folder / MANIFEST).write_text(manifest.model_copy(update={"files": files}).model_dump_json())


def _parsed(file: Path) -> onnx.ModelProto | None:
    try:
        return onnx.load(file, load_external_data=False)
    except Exception:  # noqa: BLE001 (whatever onnx raises for other bytes)
        return None


def lie(graph: onnx.ModelProto) -> None:
    """Make the last Reshape give width × height, in a way that onnxruntime sees only when it runs."""
    graph.graph.initializer.append(numpy_helper.from_array(np.array([-1, WIDTH, HEIGHT]), "turned"))
    last = graph.graph.node.pop()
    graph.graph.node.extend(
        [
            helper.make_node("ReduceSum", ["latent"], ["sum"], keepdims=0),
            helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
            helper.make_node("Cast", ["nothing"], ["none"], to=TensorProto.INT64),
            helper.make_node("Add", ["turned", "none"], ["shape"]),
            helper.make_node("Reshape", ["flat_pixels", "shape"], list(last.output)),
        ]
    )
