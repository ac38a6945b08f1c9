"""A model repository finds versions, checks every file, and says what is wrong in one sentence."""

import hashlib
from pathlib import Path

import pytest

from smalti.errors import GraphNotServed, ModelNotFound, RepositoryDamaged
from smalti.runtime.manifest import MANIFEST, Data, Graph, Manifest, Parity, Tensor
from smalti.runtime.repository import ModelRepository

LATENT = Tensor(name="latent", type="float32", shape=(-1, 4))
PIXELS = Tensor(name="pixels", type="int64", shape=(-1, 2, 3))


def a_manifest(*, name: str = "toy-vae", version: int = 1, weights: bytes = b"weights") -> Manifest:
    return Manifest(
        name=name,
        version=version,
        family="vae",
        variant="plain",
        height=2,
        width=3,
        palette=("#000000", "#ffffff"),
        graphs={"decode": Graph(file="decode.onnx", inputs=(LATENT,), outputs=(PIXELS,))},
        latent_size=4,
        files={"decode.onnx": hashlib.sha256(weights).hexdigest()},
        data=Data(name="toy", source="made here", licence="CC0", digest="0", images=1),
        recipe={"seed": 1},
        figures={"test_nats_per_image": 3.5},
        parity=Parity(max_difference=0.0, images=64, pixels_equal=True),
    )


@pytest.fixture
def store(tmp_path: Path):
    def put(manifest: Manifest, *, weights: bytes = b"weights") -> Path:
        folder = tmp_path / manifest.name / str(manifest.version)
        folder.mkdir(parents=True)
        (folder / "decode.onnx").write_bytes(weights)
        (folder / MANIFEST).write_text(manifest.model_dump_json())
        return folder

    return put


def test_the_latest_version_is_loaded_by_default(store, tmp_path):
    for version in (1, 2, 10):  # given versions whose names sort otherwise than their numbers
        store(a_manifest(version=version))
    repository = ModelRepository(tmp_path)
    assert repository.load("toy-vae").manifest.version == 10
    assert repository.load("toy-vae", 2).manifest.version == 2


def test_a_file_that_differs_from_its_digest_is_refused(store, tmp_path):
    store(a_manifest(), weights=b"weightz")
    with pytest.raises(RepositoryDamaged, match=r"decode\.onnx differs from its manifest"):
        ModelRepository(tmp_path).load("toy-vae")


def test_a_missing_file_is_refused(store, tmp_path):
    (store(a_manifest()) / "decode.onnx").unlink()
    with pytest.raises(RepositoryDamaged, match="cannot be read"):
        ModelRepository(tmp_path).load("toy-vae")


def test_a_manifest_in_another_models_folder_is_refused(store, tmp_path):
    store(a_manifest()).parent.rename(tmp_path / "other-vae")
    with pytest.raises(RepositoryDamaged, match="belongs to toy-vae version 1"):
        ModelRepository(tmp_path).load("other-vae")


@pytest.mark.parametrize("name", ["nothing", "../toy-vae", "toy-vae/1", ""])
def test_an_unknown_name_never_becomes_a_path(store, tmp_path, name):
    store(a_manifest())
    with pytest.raises(ModelNotFound, match="it has toy-vae"):
        ModelRepository(tmp_path).load(name)


def test_an_unknown_version_is_refused_with_a_list_of_versions(store, tmp_path):
    store(a_manifest())
    with pytest.raises(ModelNotFound, match="no version 7; it has 1"):
        ModelRepository(tmp_path).load("toy-vae", 7)


def test_an_empty_or_absent_folder_has_no_models(tmp_path):
    assert ModelRepository(tmp_path / "absent").models() == {}


def test_the_digest_covers_what_decides_the_drawing_but_not_the_figures():
    manifest = a_manifest()
    assert manifest.model_copy(update={"figures": {"test_nats_per_image": 9.0}}).digest == manifest.digest
    assert a_manifest(weights=b"others").digest != manifest.digest


@pytest.mark.parametrize(
    ("family", "kind"), [("autoencoder", "an autoencoder"), ("vae", "a vae"), ("gan", "a gan")]
)
def test_a_family_is_named_with_its_article(family, kind):
    assert a_manifest().model_copy(update={"family": family}).kind == kind


def test_a_missing_graph_is_refused_with_a_list_of_graphs():
    with pytest.raises(GraphNotServed, match="has no graph 'generate'; it has decode"):
        a_manifest().graph("generate")
