"""A session runs on the chosen provider, or is not opened."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper

from smalti.errors import ProviderMissing, RepositoryDamaged
from smalti.runtime.manifest import MANIFEST
from smalti.runtime.opening import _provider, told
from smalti.runtime.provider import Provider
from smalti.runtime.repository import Model, ModelRepository, read
from smalti.runtime.session import fingerprint, open_graph, open_session
from tests.server.toys import reseal, write_vae


def graph(repository: Path) -> Path:
    return repository / "toy-pixel-rnn" / "1" / "draw_row.onnx"


def test_a_graph_is_opened_on_the_cpu(toy_repository: Path) -> None:
    session = open_session(graph(toy_repository), provider=Provider(threads=2))
    assert session.get_providers() == ["CPUExecutionProvider"]


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="has CUDA")
def test_cuda_is_never_replaced_by_the_cpu(toy_repository: Path) -> None:
    with pytest.raises(
        ProviderMissing, match=r"SMALTI_PROVIDERS is 'cuda', but .* set SMALTI_PROVIDERS=cpu\."
    ):
        open_session(graph(toy_repository), provider=Provider(name="cuda"))


@pytest.mark.parametrize("content", [b"", b"no graph"])
def test_a_file_that_is_not_a_graph_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.onnx").write_bytes(content)
    with pytest.raises(RepositoryDamaged, match=r"onnxruntime cannot open .*bad\.onnx"):
        open_session(tmp_path / "bad.onnx")


def test_a_fingerprint_is_one_word_that_names_runtime_and_provider() -> None:
    cpu, cuda = fingerprint("cpu"), fingerprint("cuda")
    assert cpu != cuda
    assert onnxruntime.__version__.split("+")[0] in cpu
    assert not set(cpu) & set(" +\n\t")


def test_a_gpus_fingerprint_contains_the_batch_sizes() -> None:
    one, several = fingerprint("cuda", batches=[32]), fingerprint("cuda", batches=[1, 8, 32])
    assert one.endswith("/32")
    assert several.endswith("/1-8-32")
    assert fingerprint("cpu", batches=[32]) == fingerprint("cpu")  # where they do not matter
    assert not set(several) & set(" +\n\t")


def test_a_session_for_one_batch_size_refuses_another(toy_repository: Path) -> None:
    session = open_session(graph(toy_repository), batch=3)
    assert {tuple(given.shape[:1]) for given in session.get_inputs()} == {(3,)}


def test_kernels_are_captured_only_on_request() -> None:
    for captured in (False, True):
        provider = _provider(Provider(name="cuda"), cuda_graph=captured)
        assert isinstance(provider, tuple)
        assert (provider[1]["enable_cuda_graph"], provider[1]["use_tf32"]) == (captured, 0)


# The manifest and the graph's file must agree


@pytest.fixture
def vae(tmp_path: Path) -> Path:
    """The folder of a toy VAE."""
    write_vae(tmp_path)
    return tmp_path / "toy-vae" / "1"


def resealed(folder: Path, change: Callable[[ModelProto], object] = lambda graph: None) -> Model:
    """The model with a changed decode.onnx and the new digest in its manifest."""
    reseal(folder, change)
    model = read(folder)
    model.verify()
    return model


def refusal(model: Model) -> str:
    """The message that refuses its graph: one line, without a path of this machine."""
    with pytest.raises(RepositoryDamaged) as caught:
        open_graph(model, "decode")
    sentence = str(caught.value)
    assert sentence.startswith("toy-vae version 1: ")
    assert "\n" not in sentence
    assert " /" not in sentence
    assert str(model.folder.parents[1]) not in sentence
    return sentence


def test_a_graph_that_matches_its_manifest_is_opened(vae: Path) -> None:
    for graph in ("encode", "decode", "score"):
        open_graph(read(vae), graph)


def rename(value: str, new: str) -> Callable[[ModelProto], None]:
    def change(model: ModelProto) -> None:
        for node in model.graph.node:
            for names in (node.input, node.output):
                names[:] = [new if name == value else name for name in names]
        for tensor in (*model.graph.input, *model.graph.output):
            tensor.name = new if tensor.name == value else tensor.name

    return change


def resize(model: ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 9


def retype(model: ModelProto) -> None:
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    model.graph.node[-1].output[0] = "whole_pixels"
    model.graph.node.append(helper.make_node("Cast", ["whole_pixels"], ["pixels"], to=TensorProto.FLOAT))


def surplus(model: ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, ["batch"]))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (rename("latent", "z"), "decode.onnx: it has no input 'latent', as the manifest says."),
        (rename("pixels", "image"), "it has no output 'pixels'"),
        (resize, "its output 'pixels' is int64 [batch, any, 5], not int64 [batch, 4, 5]"),
        (retype, "its output 'pixels' is float32 [batch, 4, 5], not int64 [batch, 4, 5]"),
        (surplus, "it has an input 'more'"),
        (lambda m: setattr(m.opset_import[0], "version", 99), "onnxruntime cannot open decode.onnx: "),
        (lambda m: setattr(m, "ir_version", 99), "Unsupported model IR version: 99"),
        (lambda m: setattr(m.graph.node[0], "op_type", "Nothing"), "No Op registered for Nothing"),
        (lambda m: setattr(m.graph.node[0], "domain", "x.y"), "No opset import for domain 'x.y'"),
        (lambda m: m.graph.ClearField("node"), "onnxruntime cannot open decode.onnx: "),
    ],
)
def test_a_graph_that_differs_from_its_manifest_or_cannot_run_is_one_sentence(
    vae: Path, change: Callable[[ModelProto], object], sentence: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert sentence in refusal(resealed(vae, change))
    assert capfd.readouterr() == ("", "")  # onnxruntime prints nothing itself


@pytest.mark.parametrize("content", [b"", b"no graph", b"\x00" * 100, b"\x3a\xff\xff\xff\xff\x7f"])
def test_bytes_that_are_not_a_graph_are_one_sentence(vae: Path, content: bytes) -> None:
    (vae / "decode.onnx").write_bytes(content)
    refusal(resealed(vae))


def outside(location: str) -> Callable[[ModelProto], None]:
    """Put a weight into another file."""

    def change(model: ModelProto) -> None:
        weight = next(each for each in model.graph.initializer if each.name == "to_pixels")
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", "0"), ("length", "240")):
            weight.external_data.add(key=key, value=value)

    return change


def hidden_in_a_branch(model: ModelProto) -> None:
    """Put a weight of another file into a graph within a node."""
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[60], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value="secret")
    branch = helper.make_graph([], "branch", [], [], [weight])
    model.graph.node[0].attribute.append(helper.make_attribute("then_branch", branch))


@pytest.mark.parametrize(
    "location",
    ["../secret", "/etc/passwd", "secret", "./decode.onnx", "a/../../secret", "*/_ORT_MEM_ADDR_/*", ""],
)
def test_weights_in_an_unlisted_file_are_refused(vae: Path, location: str) -> None:
    for place in (vae / "secret", vae.parent / "secret"):
        place.write_bytes(b"\0" * 240)
    said = refusal(resealed(vae, outside(location)))
    assert f"it keeps weights in '{location}', which the manifest does not list" in said


def test_weights_of_a_graph_inside_a_node_are_found_too(vae: Path) -> None:
    (vae / "secret").write_bytes(b"\0" * 240)
    assert "it keeps weights in 'secret'" in refusal(resealed(vae, hidden_in_a_branch))


def test_weights_that_are_too_short_are_one_sentence(vae: Path) -> None:
    (vae / "weights.data").write_bytes(b"1234")
    manifest = read(vae).manifest
    files = dict(manifest.files) | {"weights.data": hashlib.sha256(b"1234").hexdigest()}
    (vae / MANIFEST).write_text(manifest.model_copy(update={"files": files}).model_dump_json())
    assert "onnxruntime cannot open decode.onnx: " in refusal(resealed(vae, outside("weights.data")))


def test_onnxruntimes_messages_are_shown_without_paths_of_this_machine() -> None:
    error = RuntimeError(
        "[ONNXRuntimeError] : 1 : FAIL : Load model from /srv/models/a/m.onnx failed:"
        "/onnxruntime_src/core/graph/model.cc:256 bad\nmore"
    )
    assert told(error) == "bad"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            (
                "[ONNXRuntimeError] : 1 : FAIL : Exception during initialization: /a/optimizer/initializer.cc:44 "
                "onnxruntime::Initializer::Initializer(const onnx::TensorProto&, const std::filesystem::path&) "
                "!model_path.empty() was false. model_path must not be empty."
            ),
            "model_path must not be empty.",
        ),
        (
            (
                "[ONNXRuntimeError] : 1 : FAIL : graph.cc:4479 InjectExternalInitializersFromFilesInMemory External "
                "initializer: w offset: 0 size to read: 12 given file_length: 4 are out of bounds."
            ),
            "External initializer: w offset: 0 size to read: 12 given file_length: 4 are out of bounds.",
        ),
        (
            (
                "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Non-zero status code returned while running Gather node. "
                "Name:'' Status Message: indices element out of data bounds, idx=5"
            ),
            "indices element out of data bounds, idx=5",
        ),
        (
            (
                "[ONNXRuntimeError] : 11 : EP_FAIL : Status Message: /a/cuda_call.cc:129 "
                "std::conditional_t<THRW, void> onnxruntime::CudaCall(ERRTYPE, const char*) "
                "[with ERRTYPE = cudaError] CUDA failure 2: out of memory ; "
                "GPU=0 ; hostname=secret ; file=/a/b.cc ; line=3 ; expr=f()"
            ),
            "CUDA failure 2: out of memory",
        ),
    ],
)
def test_only_the_readable_part_of_onnxruntimes_message_is_shown(error: str, said: str) -> None:
    assert told(RuntimeError(error)) == said


# What was verified is what is used


SHIPPED = Path(__file__).parents[3] / "model_repository"


def drawn(session: onnxruntime.InferenceSession) -> bytes:
    """All that a graph gives for a few inputs."""
    kinds: dict[str, Any] = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(bool)": np.bool_}
    feeds: dict[str, Any] = {
        each.name: np.ones([3, *each.shape[1:]], dtype=kinds[each.type]) for each in session.get_inputs()
    }
    return b"".join(np.asarray(values).tobytes() for values in session.run(None, feeds))


@pytest.mark.parametrize("name", ["digits-pixel-rnn", "digits-pixel-rnn-lecture-int8"])
def test_overwriting_a_file_changes_nothing_that_was_opened_or_verified(tmp_path: Path, name: str) -> None:
    shutil.copytree(SHIPPED / name / "1", tmp_path / name / "1")
    model = ModelRepository(tmp_path).load(name)
    session, expected = open_graph(model, "draw_row"), drawn(open_graph(model, "draw_row"))
    for file in model.manifest.files:
        place = model.folder / file
        with place.open("r+b") as stream:  # in its place: as cp does, not mv
            stream.write(b"\x55" * place.stat().st_size)
    assert drawn(session) == expected
    for file in model.manifest.files:
        (model.folder / file).write_bytes(b"")
    assert drawn(session) == expected
    assert drawn(open_graph(model, "draw_row", batch=3)) == expected  # a GPU's worker opens it again later
    with pytest.raises(RepositoryDamaged, match="differs from its manifest's SHA-256"):
        open_graph(read(model.folder), "draw_row")


def test_weights_of_a_graph_inside_a_node_are_refused_even_in_a_listed_file(vae: Path) -> None:
    (vae / "secret").write_bytes(b"\0" * 240)
    manifest = read(vae).manifest
    files = dict(manifest.files) | {"secret": hashlib.sha256(b"\0" * 240).hexdigest()}
    (vae / MANIFEST).write_text(manifest.model_copy(update={"files": files}).model_dump_json())
    assert "it keeps weights of a node's own graph in 'secret'" in refusal(resealed(vae, hidden_in_a_branch))


@pytest.mark.parametrize("colours", [5, 16])
def test_a_palette_with_fewer_colours_than_a_gan_draws_is_refused(tmp_path: Path, colours: int) -> None:
    shutil.copytree(SHIPPED / "digits-gan" / "1", tmp_path / "digits-gan" / "1")
    place = tmp_path / "digits-gan" / "1" / MANIFEST
    content = json.loads(place.read_text())
    place.write_text(json.dumps(content | {"palette": content["palette"][:colours]}))
    with pytest.raises(RepositoryDamaged, match=f"it draws with 17 colours, but the palette has {colours}"):
        open_graph(ModelRepository(tmp_path).load("digits-gan"), "generate")
