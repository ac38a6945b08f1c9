"""A manifest is outside data: any fault in it is found when it is read, and described in one sentence."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from smalti.errors import NoImages, RepositoryDamaged
from smalti.runtime.manifest import MANIFEST, Manifest, parse
from smalti.runtime.repository import ModelRepository, read
from tests.server.toys import write_gan, write_vae
from tests.toy_model import write_toy_model

SHIPPED = ModelRepository(Path(__file__).parents[3] / "model_repository")
Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def vae(tmp_path: Path) -> Path:
    """The folder of a toy VAE."""
    write_vae(tmp_path)
    return tmp_path / "toy-vae" / "1"


@pytest.fixture
def pixel_rnn(toy_repository: Path) -> Path:
    """The folder of a toy PixelRNN."""
    return toy_repository / "toy-pixel-rnn" / "1"


def changed(folder: Path, change: Change) -> Path:
    """The folder, after changing its manifest."""
    content = json.loads((folder / MANIFEST).read_text())
    change(content)
    (folder / MANIFEST).write_text(json.dumps(content))
    return folder


def refusal(folder: Path) -> str:
    """The message that refuses a version: one line, without a path of this machine."""
    with pytest.raises(RepositoryDamaged) as caught:
        read(folder).verify()
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert str(folder.parents[1]) not in sentence
    assert len(sentence) < 500
    return sentence


@pytest.mark.parametrize("name", sorted(SHIPPED.models()))
def test_every_shipped_manifest_is_accepted(name: str) -> None:
    SHIPPED.load(name)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "it is empty"),
        (b"\0" * 4096, "it is empty"),
        (b"{", "it is not JSON: Expecting property name"),
        (b"[1, 2]", "it is not an object, but a list"),
        (b"null", "it is not an object, but a NoneType"),
        (b"\xff\xfe{\x00}\x00", "it is not text in UTF-8"),
        (b'{"a": NaN}', "the number NaN"),
        (b'{"a": -Infinity}', "the number -Infinity"),
        (b'{"a": 1e999}', "1e999, which is too large"),
        (b'{"name": "x", "name": "y"}', "it has 'name' twice"),
        (b'{"a": {"b\\u001b[31m": 1, "b\\u001b[31m": 1}}', r"it has 'b\x1b[31m' twice"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "the number 99999999999999999999…, which is too large"),
        (b'{"a": "' + b"x" * 5_000_000 + b'"}', "larger than 4194304 bytes"),
        (b"{}", "name is missing"),
    ],
)
def test_a_manifest_that_is_not_strict_json_is_refused_with_the_reason(
    vae: Path, content: bytes, sentence: str
) -> None:
    (vae / MANIFEST).write_bytes(content)
    assert sentence in refusal(vae)


def test_a_byte_order_mark_before_the_json_is_ignored(vae: Path) -> None:
    (vae / MANIFEST).write_bytes(b"\xef\xbb\xbf" + (vae / MANIFEST).read_bytes())
    read(vae).verify()


WRONG: dict[str, tuple[Change, str]] = {
    "a negative latent": (lambda m: m.update(latent_size=-5), "latent_size is -5"),
    "a latent that is no number": (lambda m: m.update(latent_size="3"), "latent_size is '3'"),
    "a latent with a fraction": (lambda m: m.update(latent_size=3.5), "latent_size is 3.5"),
    "a latent that is true": (lambda m: m.update(latent_size=True), "latent_size is True"),
    "no latent": (lambda m: m.update(latent_size=0), "latent_size is 0, which a vae cannot have"),
    "another latent": (lambda m: m.update(latent_size=9), "float32 [batch, 3], not float32 [batch, 9]"),
    "no height": (lambda m: m.update(height=0), "height is 0"),
    "a huge width": (lambda m: m.update(width=10**9), "width is 1000000000"),
    "another height": (lambda m: m.update(height=7), "not int64 [batch, 7, 5]"),
    "version 0": (lambda m: m.update(version=0), "version is 0"),
    "a version beyond the messages'": (lambda m: m.update(version=2**32), "version is 4294967296"),
    "another version": (lambda m: m.update(version=2), "belongs to toy-vae version 2"),
    "a path as its name": (lambda m: m.update(name="../x"), "name is '../x'"),
    "an unknown family": (lambda m: m.update(family="diffusion"), "family is 'diffusion'"),
    "a family of other graphs": (lambda m: m.update(family="gan"), "it has no graph 'generate'"),
    "a variant of two lines": (lambda m: m.update(variant="a\nb"), "variant is 'a\\nb'"),
    "one colour": (lambda m: m.update(palette=["#000000"]), "palette is"),
    "a colour by name": (lambda m: m["palette"].__setitem__(1, "red"), "palette.1 is 'red'"),
    "a colour that is a number": (lambda m: m["palette"].__setitem__(1, 7), "palette.1 is 7"),
    "no graphs": (lambda m: m.update(graphs={}), "it has no graph 'decode'"),
    "a foreign graph": (lambda m: m["graphs"].update(x=m["graphs"]["decode"]), "a graph 'x'"),
    "a wrong input": (
        lambda m: m["graphs"]["decode"]["inputs"][0].update(name="latnet"),
        "no input 'latent'",
    ),
    "a surplus input": (
        lambda m: m["graphs"]["decode"]["inputs"].append(m["graphs"]["encode"]["inputs"][0]),
        "an input 'pixels', for which smalti has no value",
    ),
    "an input twice": (
        lambda m: m["graphs"]["decode"]["inputs"].append(m["graphs"]["decode"]["inputs"][0]),
        "an input twice",
    ),
    "a wrong type": (
        lambda m: m["graphs"]["decode"]["inputs"][0].update(type="bool"),
        "is bool [batch, 3], not float32",
    ),
    "a missing output": (lambda m: m["graphs"]["encode"]["outputs"].pop(0), "it has no output 'mean'"),
    "no output": (lambda m: m["graphs"]["encode"].update(outputs=[]), "must have at least 1 entries"),
    "states of a VAE": (
        lambda m: m.update(states=[{"input": "a", "output": "b", "type": "bool", "shape": []}]),
        "it has states, which a vae cannot have",
    ),
    "a digest in capitals": (lambda m: m["files"].update({"decode.onnx": "A" * 64}), "files.decode.onnx is"),
    "a negative count": (lambda m: m["parity"].update(images=-1), "parity.images is -1"),
    "a background that is no colour": (
        lambda m: m.update(recipe={"data": {"background": "puce"}}),
        "recipe.data.background is 'puce'",
    ),
    "a recipe of another shape": (
        lambda m: m.update(recipe={"optimiser": [1]}),
        "recipe.optimiser is not an object",
    ),
    "a field of tomorrow": (lambda m: m.update(tomorrow=1), "'tomorrow' is an unknown field"),
    "a field without a name": (lambda m: m.update({"": 1}), "'' is an unknown field"),
    "another medium": (lambda m: m.update(medium="smell"), "medium is 'smell', but must be 'image'"),
    "no score beside a graph that scores": (
        lambda m: m.update(score=None),
        'its score is missing: it must be {"graph":"score","output":"elbo","kind":"elbo"}',
    ),
    "another kind of score": (
        lambda m: m["score"].update(kind="log_likelihood"),
        'its score must be {"graph":"score","output":"elbo","kind":"elbo"}',
    ),
    "a score of an unknown kind": (lambda m: m["score"].update(kind="praise"), "score.kind is 'praise'"),
    "a score without a graph": (lambda m: m["graphs"].pop("score"), "its score must be null"),
    "another schema": (lambda m: m.update(schema_version=2), "schema_version is 2"),
}


@pytest.mark.parametrize("change", WRONG)
def test_a_manifest_with_one_wrong_value_is_refused_and_the_field_named(vae: Path, change: str) -> None:
    spoil, sentence = WRONG[change]
    assert sentence in refusal(changed(vae, spoil))


def test_states_need_different_names_and_must_fit_into_memory(pixel_rnn: Path) -> None:
    whole = (pixel_rnn / MANIFEST).read_text()
    assert "have the same input" in refusal(changed(pixel_rnn, lambda m: m["states"][0].update(input="row")))
    (pixel_rnn / MANIFEST).write_text(whole)
    assert "have the same output" in refusal(
        changed(pixel_rnn, lambda m: m["states"][1].update(output="hash_out"))
    )
    (pixel_rnn / MANIFEST).write_text(whole)
    assert "the most" in refusal(changed(pixel_rnn, lambda m: m["states"][0].update(shape=[4096, 4096])))
    (pixel_rnn / MANIFEST).write_text(whole)
    assert "it has no input 'taint'" not in refusal(changed(pixel_rnn, lambda m: m.update(states=[])))


@pytest.mark.parametrize(
    "file",
    [
        "../2/decode.onnx",
        "../../../etc/passwd",
        "/etc/passwd",
        "..\\2\\decode.onnx",
        "C:\\decode.onnx",
        "sub/decode.onnx",
        "./decode.onnx",
        "..",
        ".hidden",
        "",
        "a\0b",
        "a\nb",
        "x" * 300,
    ],
)
def test_a_path_outside_the_versions_folder_is_refused_in_every_field(vae: Path, file: str) -> None:
    whole = (vae / MANIFEST).read_text()
    assert "graphs.decode.file is" in refusal(changed(vae, lambda m: m["graphs"]["decode"].update(file=file)))
    (vae / MANIFEST).write_text(whole)
    assert "files." in refusal(changed(vae, lambda m: m["files"].update({file: "0" * 64})))


def test_a_graph_file_without_a_digest_is_refused(vae: Path) -> None:
    assert "'decode.onnx' is not listed in files" in refusal(
        changed(vae, lambda m: m["files"].pop("decode.onnx"))
    )


@pytest.mark.parametrize("file", ["decode.onnx", MANIFEST])
def test_a_link_out_of_the_folder_is_refused_and_one_inside_is_followed(
    vae: Path, tmp_path: Path, file: str
) -> None:
    (vae / file).rename(vae / "kept")
    (vae / file).symlink_to("kept")
    read(vae).verify()
    (vae / "kept").rename(tmp_path / "outside")
    (vae / file).unlink()
    (vae / file).symlink_to(tmp_path / "outside")
    assert f"toy-vae/1/{file} is a link that leads out of its folder" in refusal(vae)


@pytest.mark.parametrize("file", ["decode.onnx", MANIFEST])
def test_a_missing_file_a_folder_a_pipe_or_a_loop_of_links_is_refused(vae: Path, file: str) -> None:
    (vae / file).unlink()
    assert f"toy-vae/1/{file} cannot be read: No such file" in refusal(vae)
    (vae / file).symlink_to(file)
    assert f"toy-vae/1/{file} cannot be read: " in refusal(vae)
    (vae / file).unlink()
    os.mkfifo(vae / file)
    assert f"toy-vae/1/{file} is not a file" in refusal(vae)
    (vae / file).unlink()
    (vae / file).mkdir()
    assert f"toy-vae/1/{file} is not a file" in refusal(vae)


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.just([]),
    st.just({}),
    st.lists(st.integers(-2, 9), max_size=3),
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_content_is_a_valid_manifest_or_refused_in_one_sentence(
    tmp_path: Path, data: st.DataObject
) -> None:
    for write in (write_vae, write_gan, write_toy_model):
        if not (tmp_path / write.__name__).exists():
            write(tmp_path / write.__name__)
    folder = data.draw(st.sampled_from(sorted(tmp_path.glob("*/*/1"))))
    whole = (folder / MANIFEST).read_text()
    content = json.loads(whole)
    place, key = data.draw(st.sampled_from(list(_places(content))))
    place[key] = data.draw(values)
    (folder / MANIFEST).write_text(json.dumps(content))
    try:
        said = _read(folder)
    finally:
        (folder / MANIFEST).write_text(whole)
    assert "\n" not in said


def _read(folder: Path) -> str:
    """The message that refuses the manifest; empty if it is good."""
    try:
        read(folder)
    except RepositoryDamaged as error:
        return str(error)
    return ""


def _places(content: Any) -> Any:
    """Every container and key in the JSON."""
    for key, value in list(content.items() if isinstance(content, dict) else enumerate(content)):
        yield content, key
        if isinstance(value, dict | list):
            yield from _places(value)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda m: m.update(palette=["#fff", "#000000"]),
            "palette.0 is '#fff', but must be a colour, such as '#1a2b3c'",
        ),
        (
            lambda m: m.update(name="A b"),
            "must be a name of a-z, A-Z, 0-9, '.', '-' and '_', such as 'sprites-vae'",
        ),
        (
            lambda m: m.update(name="my.decode"),
            "name is 'my.decode', but must not end with '.decode', which names",
        ),
        (lambda m: m.update(height=1.5), "height is 1.5, but must be a whole number, such as 8"),
        (lambda m: m.update(height=10**30), "but must be at most 1024"),
        (lambda m: m.update(graphs=3), "graphs is 3, but must be an object"),
        (lambda m: m["files"].update(x="12"), "files.x is '12', but must be a SHA-256"),
        (lambda m: m.update(extra=1), "'extra' is an unknown field"),
        (lambda m: m["parity"].update(pixels_equal="yes"), "must be true or false"),
        (lambda m: m.update(palette=["#000000"]), "must have at least 2 entries"),
    ],
)
def test_a_wrong_field_is_explained_in_plain_words(vae: Path, change: Change, sentence: str) -> None:
    said = refusal(changed(vae, change))
    assert sentence in said
    assert not any(word in said for word in ("pattern", "Input", "^", "valid"))


def test_colours_in_capitals_are_the_same_colours(vae: Path) -> None:
    before = read(vae).manifest
    after = read(
        changed(vae, lambda m: m.update(palette=[colour.upper() for colour in m["palette"]]))
    ).manifest
    assert (after.palette, after.digest) == (before.palette, before.digest)


def test_a_palette_that_does_not_match_the_networks_logits_is_refused() -> None:
    manifest = json.loads(SHIPPED.load("digits-vae").manifest.model_dump_json())
    for palette in (manifest["palette"][:5], manifest["palette"][:-1], [*manifest["palette"], "#123456"]):
        with pytest.raises(ValidationError, match=rf"its palette has {len(palette)} colours, but .* with 17"):
            Manifest.model_validate_json(json.dumps(manifest | {"palette": palette}))


def tensors(**changes: Any) -> dict[str, Any]:
    """A manifest of an ONNX file, as JSON; the changes go into its graph."""
    graph = {
        "file": "model.onnx",
        "inputs": [{"name": "input_1:0", "type": "float16", "shape": [-1, 3]}],
        "outputs": [{"name": "the answer", "type": "string", "shape": [-1]}],
    }
    return {
        "name": "any_file",
        "version": 2,
        "medium": "tensors",
        "graphs": {"model": graph | changes},
        "files": {"model.onnx": "0" * 64},
    }


def parsed(content: dict[str, Any]) -> Manifest:
    return parse(json.dumps(content).encode())


def test_a_manifest_of_an_onnx_file_says_nothing_of_images_and_is_read_back_as_it_was() -> None:
    manifest = parsed(tensors())
    assert parse(manifest.model_dump_json().encode()) == manifest
    assert "palette" not in manifest.model_dump()
    assert (manifest.has_images, manifest.draws_rows, manifest.has_latents, manifest.latent_graph) == (
        (False,) * 3 + (None,)
    )
    with pytest.raises(NoImages, match="any_file is an ONNX file and has no images: ask it by the Open"):
        manifest.require_images()


@pytest.mark.parametrize(
    ("inputs", "outputs", "batched", "is_batched"),
    [
        ([[-1, 3]], [[-1]], None, True),
        ([[-1], [-1, 4]], [[-1, -1], [-1]], None, True),
        ([[-1, 3]], [[3]], None, False),
        ([[-1, 3], [3]], [[-1]], None, False),
        ([[-1, 3]], [[]], None, False),
        ([[]], [[-1]], None, False),
        ([], [[-1]], None, False),
        ([[0, -1]], [[0]], None, False),
        ([[-1, 3]], [[-1]], False, False),
        ([[-1, 3]], [[-1]], True, True),
    ],
)
def test_a_graph_is_batched_if_the_first_axis_of_all_its_tensors_has_any_size(
    inputs: list[list[int]], outputs: list[list[int]], batched: bool | None, is_batched: bool
) -> None:
    def described(letter: str, shapes: list[list[int]]) -> list[dict[str, Any]]:
        return [{"name": f"{letter}{i}", "type": "int8", "shape": shape} for i, shape in enumerate(shapes)]

    content = tensors(inputs=described("x", inputs), outputs=described("y", outputs), batched=batched)
    assert parsed(content).graph("model").is_batched == is_batched


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda m: m.update(height=3), "it has no images, and so no height"),
        (lambda m: m.update(score=None), "it has no images, and so no score"),
        (lambda m: m.update(graphs={}), "a model without images has one graph, 'model'"),
        (lambda m: m["graphs"].update(other=m["graphs"]["model"]), "has one graph, 'model'"),
        (lambda m: m.update(files={}), "'model.onnx' is not listed in files"),
        (
            lambda m: m["graphs"]["model"]["inputs"].append(m["graphs"]["model"]["inputs"][0]),
            "an input twice",
        ),
        (
            lambda m: m["graphs"]["model"].update(batched=True, inputs=[]),
            "that it is batched, but not all its inputs and outputs have a first axis of any size",
        ),
        (
            lambda m: m["graphs"]["model"]["inputs"][0].update(type="bfloat16"),
            "graphs.model.inputs.0.type is 'bfloat16', but must be 'bool', 'uint8'",
        ),
        (lambda m: m.pop("medium"), "family is missing"),
    ],
)
def test_a_wrong_manifest_of_an_onnx_file_is_refused(change: Change, sentence: str) -> None:
    content = tensors()
    change(content)
    with pytest.raises(ValueError, match=re.escape(sentence)):
        parsed(content)


def test_a_graph_of_images_is_always_batched(vae: Path) -> None:
    said = refusal(changed(vae, lambda m: m["graphs"]["decode"].update(batched=False)))
    assert "it says of graph 'decode' that it is not batched" in said


@pytest.mark.parametrize("name", ["family", "parity", "data", "variant", "palette"])
def test_a_model_of_images_has_every_field_about_images(vae: Path, name: str) -> None:
    whole = (vae / MANIFEST).read_text()
    assert f"{name} is missing" in refusal(changed(vae, lambda m: m.pop(name)))
    (vae / MANIFEST).write_text(whole)
    assert f"{name} is " in refusal(changed(vae, lambda m: m.update({name: None})))
