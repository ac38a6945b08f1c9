"""Any ONNX file is put into the repository: whole, with its manifest, or not at all and with one sentence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from export.errors import ExportRefused
from export.register import main, register
from smalti.runtime import inventory, repository
from smalti.runtime.manifest import MANIFEST
from smalti.runtime.repository import ModelRepository
from tests.onnx_files import WEIGHTS, identity, joined, put, scaled, with_weights_in


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository that does not exist yet."""
    return tmp_path / "models"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """An ONNX file outside the repository."""
    (tmp_path / "mine.onnx").write_bytes(scaled())
    return tmp_path / "mine.onnx"


def refusal(file: Path, root: Path, **options: object) -> str:
    """Why a file is refused: one line; the repository stays as it was."""
    before = sorted(root.rglob("*"))
    with pytest.raises(ExportRefused) as refused:
        register(file, root, **({"name": "dec"} | options))  # type: ignore[arg-type]  # any options
    assert sorted(root.rglob("*")) == before
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_the_version_has_a_manifest_that_says_what_the_file_says(file: Path, root: Path) -> None:
    folder = register(file, root, name="dec")
    assert sorted(each.name for each in folder.iterdir()) == [MANIFEST, "model.onnx"]
    registered = ModelRepository(root).load("dec").manifest
    (folder / MANIFEST).unlink()  # when the file is served without its manifest
    assert ModelRepository(root).load("dec").manifest == registered


def test_a_version_is_the_next_free_one_or_the_one_asked_for(file: Path, root: Path) -> None:
    assert register(file, root, name="dec") == root / "dec" / "1"
    assert register(file, root, name="dec", version=7) == root / "dec" / "7"
    assert register(file, root, name="dec") == root / "dec" / "8"
    assert ModelRepository(root).models() == {"dec": (1, 7, 8)}


def test_the_same_file_again_is_welcome_and_another_refused(file: Path, root: Path) -> None:
    register(file, root, name="dec", version=1)
    register(file, root, name="dec", version=1)
    file.write_bytes(scaled(3.0))
    assert "models/dec/1 exists and " in refusal(file, root, version=1)


def test_weights_beside_the_file_are_copied(tmp_path: Path, root: Path) -> None:
    (tmp_path / "mine.onnx").write_bytes(with_weights_in("mine.data"))
    assert "mine.data cannot be read: No such file" in refusal(tmp_path / "mine.onnx", root)
    (tmp_path / "mine.data").write_bytes(WEIGHTS.tobytes())
    folder = register(tmp_path / "mine.onnx", root, name="dec")
    assert (folder / "mine.data").read_bytes() == WEIGHTS.tobytes()
    ModelRepository(root).load("dec")


@pytest.mark.parametrize("location", ["../mine.data", "/etc/hostname", "model.onnx", MANIFEST])
def test_weights_elsewhere_or_in_a_file_with_another_meaning_are_refused(
    tmp_path: Path, root: Path, location: str
) -> None:
    (tmp_path / "mine.onnx").write_bytes(with_weights_in(location))
    (tmp_path / "model.onnx").write_bytes(WEIGHTS.tobytes())
    (tmp_path / MANIFEST).write_bytes(WEIGHTS.tobytes())
    assert f"it keeps weights in '{location}'" in refusal(tmp_path / "mine.onnx", root)


@pytest.mark.parametrize("name", ["../dec", "/tmp/dec", "dec/1", "_dec", "", ".", "..", "a" * 64, "dec\n"])
def test_a_name_that_is_no_models_name_is_refused(file: Path, root: Path, name: str) -> None:
    assert "must be a name of a-z, A-Z, 0-9, '.', '-' and '_'" in refusal(file, root, name=name)


@pytest.mark.parametrize("name", ["ResNet50", "resnet50-v1.7", "dec.model"])
def test_names_are_as_in_repositories_of_triton(file: Path, root: Path, name: str) -> None:
    register(file, root, name=name)
    assert ModelRepository(root).load(name).manifest.name == name


def test_a_name_that_ends_as_a_graphs_does_is_refused(file: Path, root: Path) -> None:
    assert "must not end with '.decode', which names a graph" in refusal(file, root, name="dec.decode")


def test_what_is_no_onnx_file_or_no_file_is_refused(tmp_path: Path, root: Path, file: Path) -> None:
    file.write_bytes(b"PNG")
    assert "mine.onnx cannot be served: it is not an ONNX graph." in refusal(file, root)
    assert "lost.onnx cannot be read: No such file or directory." in refusal(tmp_path / "lost.onnx", root)
    assert "is not a file" in refusal(tmp_path, root)
    os.mkfifo(tmp_path / "pipe")
    assert "is not a file" in refusal(tmp_path / "pipe", root)


def test_a_file_in_the_models_own_folder_would_be_hidden_so_it_is_to_be_moved_first(
    file: Path, root: Path
) -> None:
    put(root, scaled(), version=None)
    assert "has an ONNX file outside a version's folder: move it into" in refusal(file, root)


def test_a_version_that_lies_there_without_a_manifest_is_kept(file: Path, root: Path) -> None:
    put(root, joined())
    assert "dec/1 exists" in refusal(file, root, version=1)
    assert register(file, root, name="dec") == root / "dec" / "2"


def test_a_graph_can_be_registered_as_not_batched(file: Path, root: Path) -> None:
    for unbatched in (False, True):
        folder = register(file, root, name=f"dec-{unbatched}".lower(), unbatched=unbatched)
        assert repository.read(folder).manifest.graph("model").is_batched != unbatched


def test_the_command_needs_neither_torch_nor_onnx() -> None:
    """So people can use it where only the server is installed."""
    code = "import sys, export.register; print({'torch', 'onnx'} & sys.modules.keys())"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout == "set()\n"


def test_the_command_says_what_it_wrote_and_how_to_ask(file: Path, root: Path) -> None:
    arguments = [str(file), "--name", "dec_2", "--repository", str(root)]
    printed = CliRunner().invoke(main, arguments)
    assert printed.exit_code == 0, printed.output
    assert f"{root}/dec_2/1: x float32[-1,3] → y float32[-1,3], sum float32[-1]; batched" in printed.output
    assert "serves dec_2 within seconds." in printed.output
    file.write_bytes(identity(None))
    refused = CliRunner().invoke(main, arguments)
    assert refused.exit_code == 1
    assert refused.output.startswith(f"Error: {file} cannot be served: 'x' has no shape, not even a number")
    assert inventory.look(root).left_out == ()
