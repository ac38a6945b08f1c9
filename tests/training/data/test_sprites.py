"""`python -m training.data.sprites`: only the listed pictures, from any folder or archive, in always the same file."""

import hashlib
import shutil
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from smalti.pictures import finding
from training.data import provenance, sprites

PICTURES = {"mon/dragon.png": b"a dragon", "mon/deep/orc.png": b"an orc"}


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A folder like that of the tiles, with a list of two of its pictures."""
    folder = tmp_path / "tiles" / "releases" / "Nov-2015"
    for name, content in (PICTURES | {"mon/zombie.png": b"of unknown licence"}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    listed = tmp_path / "sprites.txt"
    listed.write_text(
        "".join(
            f"{hashlib.sha256(content).hexdigest()[:16]} {name.removeprefix('mon/')}\n"
            for name, content in PICTURES.items()
        )
    )
    monkeypatch.setattr(sprites, "LIST", listed)
    return tmp_path / "tiles"


def run(*arguments):
    return CliRunner().invoke(sprites.main, [str(argument) for argument in arguments])


def test_a_folder_a_zip_and_a_tar_make_the_same_file_of_only_the_listed_pictures(source, tmp_path):
    kinds = ("zip", "tar", "xztar", "gztar")
    archives = [shutil.make_archive(str(tmp_path / "tiles"), kind, source) for kind in kinds]
    written = []
    for number, place in enumerate([source, *archives]):
        result = run(place, tmp_path / f"{number}.zip")
        assert result.exit_code == 0, result.output
        assert result.output.startswith("2 of 2 sprites")
        written.append((tmp_path / f"{number}.zip").read_bytes())
    assert len(set(written)) == 1
    with zipfile.ZipFile(tmp_path / "0.zip") as archive:
        assert archive.namelist() == ["sprites/deep/orc.png", "sprites/dragon.png"]
    again = run(tmp_path / "0.zip", tmp_path / "again.zip")  # its own file is a source, too
    assert again.exit_code == 0
    assert (tmp_path / "again.zip").read_bytes() == written[0]


def test_the_training_data_of_the_shipped_models_are_recognised(source, tmp_path, monkeypatch):
    assert "your own models" in run(source, tmp_path / "x.zip").output
    digest = hashlib.sha256((tmp_path / "x.zip").read_bytes()).hexdigest()
    monkeypatch.setitem(provenance.KNOWN, digest, provenance.UNKNOWN)
    assert (
        "exactly the file that the shipped models were trained on" in run(source, tmp_path / "x.zip").output
    )


def test_without_a_source_the_command_says_where_to_get_the_tiles():
    result = run()
    assert result.exit_code == 1
    assert "github.com/crawl/tiles" in result.output
    assert "apt-get source --download-only crawl" in result.output


@pytest.mark.parametrize("content", [None, b"", b"no archive", b"PK\x05\x06" + b"\0" * 18])
def test_a_source_without_sprites_is_refused_in_one_sentence(source, tmp_path, content):
    if content is not None:
        (tmp_path / "x").write_bytes(content)
    result = run(tmp_path / "x", tmp_path / "x.zip")
    assert result.exit_code == 1
    [line] = result.output.splitlines()
    assert line.startswith("Error: ")
    assert not (tmp_path / "x.zip").exists()


def test_a_damaged_archive_is_refused_in_one_sentence(source, tmp_path):
    for kind in ("zip", "xztar"):
        file = shutil.make_archive(str(tmp_path / "tiles"), kind, source)
        with open(file, "r+b") as stream:
            stream.seek(60)
            stream.write(b"\xff" * 40)
        assert len(run(file, tmp_path / "x.zip").output.splitlines()) == 1


def test_the_list_has_772_different_pictures():
    names = sprites.listed()
    assert len(names) == len(set(names.values())) == 772
    assert all(len(digest) == sprites.DIGITS for digest in names)


def with_one_encrypted_entry(file):
    """The zip with the flag of its last entry set, which says that it is encrypted."""
    data = bytearray(file.read_bytes())
    place = data.rindex(b"PK\x01\x02")
    data[place + 8] |= 1
    file.write_bytes(data)


def test_one_encrypted_entry_is_named_and_the_others_are_read(source, tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as target:
        for name, content in PICTURES.items():
            target.writestr(name, content)
    with_one_encrypted_entry(tmp_path / "x.zip")
    result = run(tmp_path / "x.zip", tmp_path / "out.zip")
    assert result.exit_code == 0, result.output
    assert "1 pictures could not be read: mon/deep/orc.png is encrypted." in result.output
    assert "1 of 2 sprites" in result.output


def test_one_damaged_entry_is_named_and_the_others_are_read(source, tmp_path):
    file = Path(shutil.make_archive(str(tmp_path / "tiles"), "zip", source))
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as target:
        for name, content in PICTURES.items():
            target.writestr(name, content)
    file.write_bytes(file.read_bytes().replace(b"an orc", b"an ork"))
    result = run(file, tmp_path / "out.zip")
    assert "1 of 2 sprites" in result.output
    assert "orc.png is damaged" in result.output


def test_an_encrypted_zip_is_called_encrypted(source, tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as target:
        target.writestr("a.png", b"a dragon")
    with_one_encrypted_entry(tmp_path / "x.zip")
    assert "is encrypted: unpack it" in run(tmp_path / "x.zip", tmp_path / "out.zip").output


def test_a_file_that_cannot_be_read_is_named_and_the_others_are_read(source, tmp_path, monkeypatch):
    read = finding.read_file

    def unreadable(path, most):
        if path.name == "orc.png":
            raise finding.FileRefused("cannot be read: Input/output error")
        return read(path, most)

    monkeypatch.setattr(finding, "read_file", unreadable)
    output = run(source, tmp_path / "out.zip").output
    assert "orc.png cannot be read" in output
    assert "1 of 2 sprites" in output


def test_file_endings_may_be_in_capitals(source, tmp_path):
    for file in list(source.rglob("*.png")):
        file.rename(file.with_suffix(".PNG"))
    assert run(source, tmp_path / "out.zip").output.startswith("2 of 2 sprites")
