"""An ONNX file without a manifest is a model: everything is read from the file, or it is left out with one sentence."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from smalti.errors import RepositoryDamaged
from smalti.runtime import describing, inventory
from smalti.runtime.following import Following
from smalti.runtime.manifest import MANIFEST, Graph, Manifest, parse
from smalti.runtime.repository import ModelRepository
from smalti.runtime.session import open_graph
from tests.onnx_files import (
    TYPES,
    WEIGHTS,
    graph,
    identity,
    joined,
    put,
    scaled,
    tensor,
    with_weights_in,
)
from tests.toy_model import write_toy_model


def described(content: bytes) -> Graph:
    """What is read from an ONNX file."""
    manifest = describing.manifest_of("model.onnx", {"model.onnx": content}, name="dec", version=1)
    return manifest.graph("model")


def refusal(root: Path, content: bytes) -> str:
    """Why a file is left out: one line."""
    put(root, content)
    with pytest.raises(RepositoryDamaged) as refused:
        ModelRepository(root).load("dec")
    sentence = str(refused.value)
    assert sentence.startswith("dec/1")
    assert "\n" not in sentence
    assert str(root) not in sentence
    assert len(sentence) < 500
    return sentence


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_is_read_and_runs(tmp_path: Path, kind: str) -> None:
    put(tmp_path, identity(kind=TYPES[kind]))
    model = ModelRepository(tmp_path).load("dec")
    [given], [taken] = model.manifest.graph("model").inputs, model.manifest.graph("model").outputs
    assert (given.name, given.type, given.shape) == ("x", kind, (-1, 3))
    assert (taken.name, taken.type, taken.shape) == ("y", kind, (-1, 3))
    values = np.array([["1", "0", "1"]]).astype(object if kind == "string" else int)
    values = values if kind == "string" else values.astype(kind)
    [found] = open_graph(model, "model").run(None, {"x": values})
    assert found.tolist() == values.tolist()


@pytest.mark.parametrize(
    ("content", "inputs", "outputs", "is_batched"),
    [
        (scaled(), [(-1, 3)], [(-1, 3), (-1,)], True),
        (identity((None, None)), [(-1, -1)], [(-1, -1)], True),
        (identity((2, "n")), [(2, -1)], [(2, -1)], False),
        (identity(()), [()], [()], False),
        (identity((0, "n")), [(0, -1)], [(0, -1)], False),
        (joined("a", "b"), [(-1,), (-1,)], [(-1,)], False),  # axes with different names are not one batch
        (joined("a", "a"), [(-1,), (-1,)], [(-1,)], True),
        (joined("a", 2), [(-1,), (2,)], [(-1,)], False),
    ],
)
def test_a_graph_is_batched_if_all_tensors_share_a_first_axis_of_any_size(
    content: bytes, inputs: list[tuple[int, ...]], outputs: list[tuple[int, ...]], is_batched: bool
) -> None:
    found = described(content)
    assert [each.shape for each in found.inputs] == inputs
    assert [each.shape for each in found.outputs] == outputs
    assert found.is_batched == is_batched


def test_weights_in_the_graph_are_no_inputs_and_a_graph_may_have_none() -> None:
    weights = numpy_helper.from_array(WEIGHTS, "w")
    node = helper.make_node("Add", ["x", "w"], ["y"])
    old = graph([node], [tensor("x"), tensor("w", [3])], [tensor("y")], [weights])  # as before IR version 4
    assert [each.name for each in described(old).inputs] == ["x"]
    constant = graph([helper.make_node("Identity", ["w"], ["y"])], [], [tensor("y", [3])], [weights])
    assert (described(constant).inputs, described(constant).is_batched) == ((), False)


def test_the_manifest_lists_the_files_with_their_sha256_and_can_be_written(tmp_path: Path) -> None:
    folder = put(tmp_path, with_weights_in("model.data"))
    (folder / "model.data").write_bytes(WEIGHTS.tobytes())
    model = ModelRepository(tmp_path).load("dec")
    assert model.manifest.files == {
        file: hashlib.sha256((folder / file).read_bytes()).hexdigest()
        for file in ("model.data", "model.onnx")
    }
    assert parse(model.manifest.model_dump_json().encode()) == model.manifest
    [found] = open_graph(model, "model").run(None, {"x": np.ones((2, 3), np.float32)})
    assert found.tolist() == [[1, 2, 3]] * 2


def test_other_bytes_have_another_digest_and_are_found_by_those_who_follow(tmp_path: Path) -> None:
    put(tmp_path, scaled(2.0))
    following, repository = Following(ModelRepository(tmp_path)), ModelRepository(tmp_path)
    [found] = following.look()
    following.take(found)
    before = repository.load("dec").manifest.digest
    assert following.look() == []
    put(tmp_path, scaled(3.0))  # when another file takes its place
    assert [each[:2] for each in following.look()] == [("dec", 1)]
    assert repository.load("dec").manifest.digest != before


BAD = {
    "an empty file": (b"", "No graph was found"),
    "text": (b"<!DOCTYPE html><html>", "it is not an ONNX graph"),
    "half a file": (scaled()[:-9], "it is not an ONNX graph"),
    "an opset of tomorrow": (
        graph([helper.make_node("Identity", ["x"], ["y"])], [tensor("x")], [tensor("y")], opset=99),
        "Opset 99",
    ),
    "an unknown operator": (
        graph([helper.make_node("Frobnicate", ["x"], ["y"])], [tensor("x")], [tensor("y")]),
        "Frobnicate",
    ),
    "bfloat16": (
        identity(kind=TensorProto.BFLOAT16),
        "its input 'x' has the type tensor(bfloat16), but smalti",
    ),
    "a sequence": (
        graph(
            [helper.make_node("SequenceConstruct", ["x"], ["y"])],
            [tensor("x")],
            [helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        ),
        "its output 'y' has the type seq(tensor(float)), but smalti",
    ),
    "an optional input": (
        graph(
            [helper.make_node("OptionalHasElement", ["x"], ["y"])],
            [
                helper.make_value_info(
                    "x",
                    helper.make_optional_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, [1])),
                )
            ],
            [tensor("y", [], TensorProto.BOOL)],
        ),
        "its input 'x' has the type optional(tensor(float)), but smalti",
    ),
    "no outputs": (
        graph([helper.make_node("Identity", ["x"], ["y"])], [tensor("x")], []),
        "it has no outputs",
    ),
    "no shape": (identity(None), "'x' has no shape"),
    "a huge axis": (identity((2**40,)), "shape.0 is 1099511627776, but must be at most"),
    "too many axes": (identity((1,) * 9), "has 9 axes, but smalti serves at most 8"),
    "a name of two lines": (identity(name="x\n\x1b[31m"), "1 to 200 characters in one line"),
    "a name that is too long": (identity(name="x" * 5000), "1 to 200 characters in one line"),
    "no weights": (with_weights_in("lost.data"), "dec/1/lost.data cannot be read: No such file"),
    "weights outside": (
        with_weights_in("../dec.data"),
        "'../dec.data', but they must lie in a file of its own",
    ),
    "weights by a path": (
        with_weights_in("/etc/hostname"),
        "'/etc/hostname', but they must lie in a file of its own",
    ),
    "weights of a strange name": (with_weights_in("a:b\n"), r"'a:b\n', but they must lie in a file"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_file_is_refused_in_one_sentence(tmp_path: Path, what: str) -> None:
    content, sentence = BAD[what]
    assert sentence in refusal(tmp_path, content)


def test_weights_that_claim_a_huge_size_are_refused_before_they_are_allocated(tmp_path: Path) -> None:
    weights = helper.make_tensor("w", TensorProto.FLOAT, (2,), [1, 2])
    weights.dims[:] = [2**34, 2**20]
    content = graph([helper.make_node("Identity", ["w"], ["y"])], [], [tensor("y", [2])], [weights])
    assert "exceeds the" in refusal(tmp_path, content)


@pytest.mark.parametrize("name", ["model.onnx", "model.data"])
def test_links_out_of_the_folder_and_pipes_are_refused(tmp_path: Path, name: str) -> None:
    root = tmp_path / "models"
    folder = put(root, with_weights_in("model.data"))
    (folder / "model.data").write_bytes(WEIGHTS.tobytes())
    (folder / name).rename(tmp_path / "outside")
    (folder / name).symlink_to(tmp_path / "outside")
    with pytest.raises(RepositoryDamaged, match=f"dec/1/{name} is a link that leads out of its folder"):
        ModelRepository(root).load("dec")
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(RepositoryDamaged, match=f"dec/1/{name} is not a file"):
        ModelRepository(root).load("dec")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_change_of_a_file_gives_a_manifest_or_one_sentence(data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from([scaled(), joined(), with_weights_in("w.data")])))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    said = _reread(bytes(content))
    assert said.isprintable()


def _reread(content: bytes) -> str:
    """Why a file is refused; empty if its manifest can be written and read."""
    try:
        weights = describing.weights_of(content)
        contents = {"model.onnx": content, **{name: WEIGHTS.tobytes() for name in weights}}
        found = describing.manifest_of("model.onnx", contents, name="dec", version=1)
    except ValueError as error:
        return str(error)
    assert parse(found.model_dump_json().encode()) == found
    return ""


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(sorted(TYPES)),
    shape=st.lists(st.one_of(st.none(), st.integers(0, 5), st.sampled_from("nm")), max_size=4),
)
def test_types_and_shapes_are_those_of_the_file(kind: str, shape: list[int | str | None]) -> None:
    [found] = described(identity(shape, TYPES[kind])).inputs
    expected = tuple(size if isinstance(size, int) else -1 for size in shape)
    assert (found.type, found.shape) == (kind, expected)


# Where the file lies
def test_the_only_onnx_file_is_served_whatever_its_name(tmp_path: Path) -> None:
    (put(tmp_path, scaled()) / "model.onnx").rename(tmp_path / "dec" / "1" / "decoder-final.onnx")
    assert ModelRepository(tmp_path).load("dec").manifest.graph("model").file == "decoder-final.onnx"


def test_of_several_files_model_onnx_is_served(tmp_path: Path) -> None:
    folder = put(tmp_path, scaled())
    for name in ("a.onnx", "b.onnx", "config.pbtxt"):
        (folder / name).write_bytes(b"")
    assert ModelRepository(tmp_path).load("dec").manifest.graph("model").file == "model.onnx"
    (folder / "model.onnx").unlink()
    assert [each.reason for each in inventory.look(tmp_path).left_out] == [
        "dec/1 has 2 ONNX files and no manifest.json: call the one to serve model.onnx."
    ]


def test_half_a_copy_of_an_export_is_no_onnx_file(tmp_path: Path) -> None:
    write_toy_model(tmp_path)
    (tmp_path / "toy-pixel-rnn" / "1" / MANIFEST).unlink()  # it is copied last
    found = inventory.look(tmp_path)
    assert found.versions == {}
    assert [each.reason for each in found.left_out] == ["toy-pixel-rnn/1 has no manifest.json, or not yet."]


def test_a_file_in_the_models_own_folder_is_version_1(tmp_path: Path) -> None:
    folder = put(tmp_path, scaled(), name="in_place", version=None)
    repository = ModelRepository(tmp_path)
    manifest: Manifest = repository.load("in_place").manifest
    assert (manifest.name, manifest.version) == ("in_place", 1)
    [found] = Following(repository).look()
    assert [each[0] for each in found.state] == ["model.onnx"]  # whose changes are followed
    (folder / "model.onnx").write_bytes(b"no")
    with pytest.raises(RepositoryDamaged, match=r"^in_place/model\.onnx cannot be served: it is not an ONNX"):
        repository.load("in_place")


def test_folders_of_versions_go_before_a_file_beside_them(tmp_path: Path) -> None:
    put(tmp_path, scaled(2.0), version=None)
    put(tmp_path, scaled(3.0), version=2)
    assert ModelRepository(tmp_path).models() == {"dec": (2,)}
