"""A new version is found once. A failed one is tried again when its files change, and logged once."""

import shutil
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from smalti.errors import RepositoryDamaged
from smalti.runtime import following
from smalti.runtime.following import Following
from smalti.runtime.manifest import MANIFEST
from smalti.runtime.repository import ModelRepository
from tests.toy_model import Toy, write_toy_model


@pytest.fixture
def root(toy_repository: Path) -> Path:
    return toy_repository


def news(follower: Following, root: Path) -> list[tuple[str, int]]:
    """Look once, as server and workers do, and take or fail each version; returns the new ones."""
    found = follower.look()
    for each in found:
        try:
            ModelRepository(root).load(each.name, each.number)
            follower.take(each)
        except RepositoryDamaged as error:
            follower.fail(each, error)
    return [(each.name, each.number) for each in found]


def looks(follower: Following, root: Path, count: int) -> list[str]:
    """The reasons that are logged during so many looks."""
    with capture_logs() as lines:
        for _ in range(count):
            news(follower, root)
    return [line["reason"] for line in lines]


def test_a_version_is_new_once_and_again_when_its_files_change(root: Path) -> None:
    follower = Following(ModelRepository(root))
    assert news(follower, root) == [("toy-pixel-rnn", 1)]
    assert news(follower, root) == []
    manifest = root / "toy-pixel-rnn" / "1" / MANIFEST
    manifest.write_text(manifest.read_text() + "\n")
    assert news(follower, root) == [("toy-pixel-rnn", 1)]
    shutil.rmtree(root / "toy-pixel-rnn")
    assert news(follower, root) == []
    write_toy_model(root)
    assert news(follower, root) == [("toy-pixel-rnn", 1)]


def test_a_half_copied_export_is_tried_again_without_a_log_until_it_is_complete(
    root: Path, tmp_path: Path
) -> None:
    follower = Following(ModelRepository(root))
    news(follower, root)
    write_toy_model(tmp_path / "elsewhere", Toy(version=2))
    source, target = tmp_path / "elsewhere" / "toy-pixel-rnn" / "2", root / "toy-pixel-rnn" / "2"
    graph = (source / "draw_row.onnx").read_bytes()
    with capture_logs() as lines:
        target.mkdir()
        news(follower, root)  # given a copy that has only begun
        shutil.copy(source / MANIFEST, target)
        assert news(follower, root) == [("toy-pixel-rnn", 2)]  # then without its graph
        for part in (2, 1):
            (target / "draw_row.onnx").write_bytes(graph[: len(graph) // part - 1])
            assert news(follower, root) == [("toy-pixel-rnn", 2)]  # then with a part of it
        (target / "draw_row.onnx").write_bytes(graph)
        assert news(follower, root) == [("toy-pixel-rnn", 2)]
        assert news(follower, root) == []
    assert (lines, follower.left_out) == ([], [])


def test_a_version_that_stays_damaged_is_logged_once_and_not_read_again(root: Path) -> None:
    follower = Following(ModelRepository(root))
    news(follower, root)
    write_toy_model(root, Toy(version=2))
    (root / "toy-pixel-rnn" / "2" / "draw_row.onnx").write_bytes(b"something else")
    [reason] = looks(follower, root, 5)
    assert "draw_row.onnx differs from its manifest's SHA-256" in reason
    assert [each.reason for each in follower.left_out] == [reason]
    assert news(follower, root) == []


def test_versions_left_out_at_the_first_look_are_logged_at_once(root: Path) -> None:
    (root / "lost+found").mkdir()
    (root / "toy-pixel-rnn" / "1" / MANIFEST).write_text("{}")
    follower = Following(ModelRepository(root))
    first = looks(follower, root, 1)
    assert [reason.split()[0] for reason in first] == ["lost+found", "toy-pixel-rnn/1/manifest.json"]
    assert looks(follower, root, 4) == []


def test_a_version_that_failed_for_a_passing_reason_is_tried_again_after_a_while(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower = Following(ModelRepository(root))
    [found] = follower.look()
    follower.fail(found, RepositoryDamaged("no memory"))
    assert follower.look() == []
    monkeypatch.setattr(following, "_AGAIN_SECONDS", 0.0)
    assert follower.look() == [found]
    (root / "toy-pixel-rnn" / "1" / "draw_row.onnx").write_bytes(b"something else")
    assert len(looks(follower, root, 9)) == 1


def test_a_settled_version_is_not_new(root: Path) -> None:
    write_toy_model(root, Toy(version=2))
    follower = Following(ModelRepository(root))
    follower.settle("toy-pixel-rnn", 2)
    assert [each.number for each in follower.look()] == [1]
    follower.settle("toy-pixel-rnn")
    assert follower.look() == []


def test_only_the_named_models_are_found(root: Path) -> None:
    write_toy_model(root, Toy(name="other"))
    assert [each.name for each in Following(ModelRepository(root), names=["other"]).look()] == ["other"]
