"""Anything in a repository that is not a model is left out with a reason; all models are found."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from smalti.runtime import inventory
from smalti.runtime.inventory import Inventory
from smalti.runtime.manifest import MANIFEST
from smalti.runtime.names import fault_of_name
from smalti.runtime.repository import ModelRepository
from tests.onnx_files import put, scaled
from tests.rights import NEEDS_ROOT, WITHOUT_RIGHTS, lock

LOOK = """
import sys
from pathlib import Path
from smalti.runtime import inventory
print(*(left_out.reason for left_out in inventory.look(Path(sys.argv[1])).left_out), sep="\\n")
"""


@pytest.fixture
def root(toy_repository: Path) -> Path:
    """A repository with one good model."""
    return toy_repository


def reasons(root: Path) -> list[str]:
    """Why things are left out; the good model is found all the same."""
    found = inventory.look(root)
    assert found.versions == {"toy-pixel-rnn": (1,)}
    return [each.reason for each in found.left_out]


@pytest.mark.parametrize(
    "name", ["lost+found", "__MACOSX", "a" * 64, "ü", "a b", "-x", "sprites.decode", "sprites.draw"]
)
def test_a_folder_with_a_name_that_is_not_a_models_is_left_out_with_one_sentence(
    root: Path, name: str
) -> None:
    (root / name / "1").mkdir(parents=True)
    [reason] = reasons(root)
    assert reason.startswith(f"{name} is not a model")


@pytest.mark.parametrize("name", [b"caf\xff", b"a\nb", b"\x1b[31m", b"\xe2\x80\xae"])
def test_a_name_that_cannot_be_printed_is_escaped(root: Path, name: bytes) -> None:
    os.mkdir(os.fsencode(root) + b"/" + name)
    [reason] = reasons(root)
    assert reason.isprintable()


def test_a_link_to_a_folder_with_many_others_is_left_out_with_one_sentence(
    root: Path, tmp_path: Path
) -> None:
    for number in range(50):
        (tmp_path / "etc" / f"folder-{number:02}").mkdir(parents=True)
    (tmp_path / "etc" / "gone").symlink_to("nowhere")
    (tmp_path / "etc" / "hosts").touch()
    (root / "link").symlink_to(tmp_path / "etc")
    [reason] = reasons(root)
    assert reason.startswith(
        "link has 51 entries that are not versions, such as folder-00: versions are folders"
    )


@pytest.mark.parametrize("name", ["01", "v1", "-1", "0", "latest", "1.0", "99999999999", "4294967296", "١"])
def test_a_version_folder_with_a_wrong_name_is_left_out_with_one_sentence(root: Path, name: str) -> None:
    (root / "toy-pixel-rnn" / name).mkdir()
    (root / "toy-pixel-rnn" / name / MANIFEST).write_text("{}")
    [reason] = reasons(root)
    assert reason.startswith(f"toy-pixel-rnn/{name} is not a version")


@pytest.mark.parametrize("name", ["ResNet50", "resnet50-v1.7", "dec.model", "a" * 63])
def test_names_of_models_are_as_in_repositories_of_triton(tmp_path: Path, name: str) -> None:
    put(tmp_path, scaled(), name=name)
    assert inventory.look(tmp_path) == Inventory({name: (1,)}, ())


def test_several_onnx_files_in_a_models_own_folder_are_left_out_as_its_version_1(tmp_path: Path) -> None:
    (tmp_path / "dec").mkdir()
    for name in ("a.onnx", "b.onnx"):
        (tmp_path / "dec" / name).write_bytes(scaled())
    [left_out] = inventory.look(tmp_path).left_out
    assert left_out.place == "dec/1"
    assert left_out.reason == "dec has 2 ONNX files and no manifest.json: call the one to serve model.onnx."


def test_a_version_without_a_manifest_is_left_out(root: Path) -> None:
    (root / "toy-pixel-rnn" / "2").mkdir()
    assert reasons(root) == ["toy-pixel-rnn/2 has no manifest.json, or not yet."]


def test_files_and_links_where_folders_should_be_are_left_out(root: Path) -> None:
    (root / "a-file").touch()
    (root / "dangling").symlink_to("nowhere")
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "pipe")
    (root / "toy-pixel-rnn" / "2").touch()
    assert reasons(root) == [
        "a-file is not a folder.",
        "dangling cannot be read: No such file or directory.",
        "loop cannot be read: Too many levels of symbolic links.",
        "pipe is not a folder.",
        "toy-pixel-rnn/2 is not a folder.",
    ]


def test_hidden_files_and_readmes_are_ignored(root: Path) -> None:
    for name in (".DS_Store", "README.md", "LICENSE", "toy-pixel-rnn/NOTES.txt", "toy-pixel-rnn/.DS_Store"):
        (root / name).touch()
    (root / ".export-x3c").mkdir()
    assert reasons(root) == []


def test_a_missing_or_unusable_repository_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    for name, reason in (
        ("absent", "No such file or directory"),
        ("file", "Not a directory"),
        ("loop", "Too many levels of symbolic links"),
    ):
        [left_out] = ModelRepository(tmp_path / name).look().left_out
        assert left_out.reason == f"The model repository cannot be read: {reason}."


@NEEDS_ROOT
def test_an_unreadable_folder_is_left_out_with_one_sentence(root: Path) -> None:
    for name in ("toy-vae/1", "toy-gan", "lost+found"):
        (root / name).mkdir(parents=True)
        lock(root / name)
    assert seen_without_rights(root) == [
        f"lost+found is not a model: {fault_of_name('lost+found')}.",
        "toy-gan cannot be read: Permission denied.",
        "toy-vae/1/manifest.json cannot be read: Permission denied.",
    ]
    assert seen_without_rights(root / "toy-gan") == [
        "The model repository cannot be read: Permission denied."
    ]


def seen_without_rights(root: Path) -> list[str]:
    """The reasons for which somebody without rights leaves things out."""
    command = [*WITHOUT_RIGHTS, sys.executable, "-c", LOOK, str(root)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    return found.stdout.splitlines()
