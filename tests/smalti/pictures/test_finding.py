"""Pictures are found in the files, folders and zips of strangers."""

import os
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smalti.errors import ImageRefused
from smalti.pictures import archive, finding, reader
from tests.smalti.pictures.zips import a_picture, packed, with_flag, with_method


def colour_of(picture):
    return picture.rgba.getpixel((0, 0))[:3]


def gather(*paths):
    return finding.gather(paths, colour_of)


def names(gathered):
    return [found.name for found in gathered.found]


def reasons(gathered, root):
    return {Path(each.name).relative_to(root).as_posix(): each.reason for each in gathered.report.skipped}


def test_one_bad_picture_does_not_lose_a_hundred_good_ones(tmp_path):
    for number in range(100):
        (tmp_path / f"{number:03d}.png").write_bytes(a_picture())
    (tmp_path / "050.png").write_bytes(a_picture()[:40])
    found = gather(tmp_path)
    assert (len(found.found), found.report.read) == (99, 99)
    assert reasons(found, tmp_path) == {"050.png": "is cut off or damaged"}
    assert found.report.skipped_sentence() == f"Skipped 1: {tmp_path}/050.png is cut off or damaged."


def test_files_that_systems_put_beside_pictures_are_not_read(tmp_path):
    (tmp_path / "a.png").write_bytes(a_picture())
    for name in (
        "._a.png",
        ".DS_Store",
        "Thumbs.db",
        "__MACOSX/._a.png",
        "__MACOSX/a.png",
        ".cache/a.png",
        "notes.txt",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\0\x05\x16\x07" + bytes(78))
    found = gather(tmp_path)
    assert names(found) == ["a.png"]
    assert found.report.skipped == ()
    with zipfile.ZipFile(tmp_path.parent / "all.zip", "w") as packing:
        for file in tmp_path.rglob("*"):
            packing.write(file, file.relative_to(tmp_path))
    assert names(gather(tmp_path.parent / "all.zip")) == ["a.png"]


def test_each_bad_file_is_skipped_with_its_own_reason(tmp_path):
    (tmp_path / "good.PNG").write_bytes(a_picture())
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.JPG").write_text("once upon a time")
    (tmp_path / "photo.heic").write_bytes(b"ftypheic")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "folder.png" / "inside.jpeg").write_bytes(a_picture())
    found = gather(tmp_path)
    assert names(found) == ["folder.png/inside.jpeg", "good.PNG"]
    assert reasons(found, tmp_path) == {
        "empty.png": "is empty",
        "gone.png": "is a link to nothing",
        "loop.png": "cannot be read: Too many levels of symbolic links",
        "pipe.png": "is not an ordinary file",
        "photo.heic": "is not a PNG, GIF, BMP, JPEG, WEBP, TIFF or PPM",
        "text.JPG": "is not a PNG, GIF, BMP, JPEG, WEBP, TIFF or PPM",
        "up": "is a link to a folder, which is not followed",
    }


def test_unprintable_names_are_escaped(tmp_path):
    (tmp_path / "a.png").write_bytes(a_picture())
    for name in (b"line\nbreak.png", b"\xff\xfe.png", b"\x1b[31mred.png"):
        (Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))).write_bytes(b"bad")
    sentence = gather(tmp_path).report.skipped_sentence()
    assert sentence.isprintable()
    assert sentence.encode()
    assert "line\\nbreak.png" in sentence


def test_folder_and_zip_give_the_same_pictures_in_the_same_order(tmp_path):
    files = {"b.png": a_picture("#00ff00"), "a/c.png": a_picture("#0000ff"), "a.png": a_picture()}
    for name, content in files.items():
        (tmp_path / "tiles" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tiles" / name).write_bytes(content)
    (tmp_path / "tiles.ZIP").write_bytes(packed(files))
    one, other = gather(tmp_path / "tiles"), gather(tmp_path / "tiles.ZIP")
    assert names(one) == names(other) == ["a.png", "a/c.png", "b.png"]
    assert [found.digest for found in one.found] == [found.digest for found in other.found]
    assert other.found[1].label == f"{tmp_path}/tiles.ZIP/a/c.png"


def test_all_named_files_that_cannot_be_used_are_reported_together(tmp_path):
    (tmp_path / "good.png").write_bytes(a_picture())
    (tmp_path / "torn.png").write_bytes(a_picture()[:40])
    with pytest.raises(ImageRefused) as refused:
        gather(tmp_path / "good.png", tmp_path / "torn.png", tmp_path / "missing.png")
    assert (
        str(refused.value)
        == f"{tmp_path}/torn.png is cut off or damaged; {tmp_path}/missing.png is not there."
    )


def test_a_folder_without_a_usable_picture_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(ImageRefused, match=r"holds no picture \(looked for .*\.webp\)\.$"):
        gather(tmp_path)
    for number in range(7):
        (tmp_path / f"{number}.png").touch()
    with pytest.raises(
        ImageRefused, match=r"holds no picture that can be used: .*0\.png is empty; .*; and 2 more\.$"
    ):
        gather(tmp_path)


@pytest.mark.parametrize("name", ["a" * 300, "nul\0.png", "x.zip", "folder/x.png"])
def test_an_impossible_path_is_refused(tmp_path, name):
    with pytest.raises(ImageRefused):
        gather(tmp_path / name)


def test_a_picture_that_take_refuses_is_skipped_with_the_reason(tmp_path):
    for name, size in (("a.png", (4, 4)), ("b.png", (5, 4))):
        (tmp_path / name).write_bytes(a_picture(size=size))

    def square(picture):
        if picture.rgba.width != picture.rgba.height:
            raise ImageRefused("The image is not square.")
        return picture.rgba

    found = finding.gather([tmp_path], square)
    assert reasons(found, tmp_path) == {"b.png": "is not square"}
    assert (found.report.smallest, found.report.largest) == ((4, 4), (4, 4))


FILES = {"a.png": a_picture(), "b.png": a_picture("#00ff00")}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(
            with_flag(packed(FILES), 0), "x.zip is encrypted: unpack it with its password", id="encrypted"
        ),
        pytest.param(with_flag(packed(FILES), 5), "a.png is damaged, or packed in a way", id="patched data"),
        pytest.param(
            with_flag(packed(FILES), 6), "a.png is damaged, or packed in a way", id="strongly encrypted"
        ),
        pytest.param(with_method(packed(FILES), 99), "a.png is damaged, or packed in a way", id="AES"),
        pytest.param(with_method(packed(FILES), 8), "a.png is damaged, or packed in a way", id="no deflate"),
        pytest.param(with_method(packed(FILES), 12), "a.png is damaged, or packed in a way", id="no bzip2"),
        pytest.param(with_method(packed(FILES), 14), "a.png is damaged, or packed in a way", id="no lzma"),
        pytest.param(b"", "is not a zip file that can be read", id="empty"),
        pytest.param(b"PK\x03\x04" + bytes(60), "is not a zip file that can be read", id="no directory"),
        pytest.param(packed(FILES)[:-40], "is not a zip file that can be read", id="cut off"),
        pytest.param(packed({}), "holds no picture", id="nothing in it"),
    ],
)
def test_an_unreadable_zip_is_refused_in_one_sentence(tmp_path, data, reason):
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(ImageRefused) as refused:
        gather(tmp_path / "x.zip")
    assert reason in str(refused.value)
    assert str(refused.value).count(str(tmp_path)) <= 3


def test_one_bad_entry_does_not_lose_the_others(tmp_path):
    data = packed({**FILES, "c.png": a_picture("#0000ff")})
    middle = data.index(FILES["b.png"])
    (tmp_path / "x.zip").write_bytes(data[: middle + 20] + b"?" + data[middle + 21 :])
    found = gather(tmp_path / "x.zip")
    assert names(found) == ["a.png", "c.png"]
    assert reasons(found, tmp_path / "x.zip") == {"b.png": "is damaged, or packed in a way that is not read"}


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_every_compression_method_of_python_is_read(tmp_path, method):
    (tmp_path / "x.zip").write_bytes(packed(FILES, method))
    assert len(gather(tmp_path / "x.zip").found) == 2


def test_names_in_a_zip_are_never_used_as_paths(tmp_path):
    (tmp_path / "x.zip").write_bytes(
        packed({"../../up.png": a_picture(), "/etc/root.png": a_picture(), "./a.png": a_picture()})
    )
    assert names(gather(tmp_path / "x.zip")) == ["../../up.png", "./a.png", "/etc/root.png"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["x.zip"]


def test_the_later_of_two_entries_with_one_name_is_used(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as packing:
        packing.writestr("a.png", a_picture("#ff0000"))
        with pytest.warns(UserWarning, match="Duplicate"):
            packing.writestr("a.png", a_picture("#00ff00"))
    assert [found.content for found in gather(tmp_path / "x.zip").found] == [(0, 255, 0)]


def test_an_entry_that_unpacks_to_too_much_is_skipped(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "MAX_BYTES", 1 << 20)
    files = {"a.png": a_picture(), "bomb.png": bytes(2 << 20)}
    (tmp_path / "x.zip").write_bytes(packed(files, zipfile.ZIP_DEFLATED))
    assert reasons(gather(tmp_path / "x.zip"), tmp_path / "x.zip") == {"bomb.png": "has more than 1 MiB"}


def test_a_zip_whose_entries_share_their_bytes_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as packing:
        packing.writestr("a.png", a_picture())
        first = packing.infolist()[0]
        for number in range(20):
            again = zipfile.ZipInfo(f"{number}.png")
            again.compress_size, again.file_size, again.CRC = first.compress_size, first.file_size, first.CRC
            again.header_offset = first.header_offset
            packing.filelist.append(again)
    with pytest.raises(ImageRefused, match="its entries overlap"):
        gather(tmp_path / "x.zip")


@settings(deadline=None)  # a busy machine may be slow
@given(data=st.data())
def test_any_damage_to_a_zip_gives_a_reason_and_never_a_crash(data, tmp_path_factory):
    method = data.draw(
        st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    )
    damaged = bytearray(packed(FILES, method))
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.zip"
    path.write_bytes(damaged)
    with suppress(ImageRefused):
        gather(path)
    with suppress(archive.ArchiveRefused), archive.opened(path) as entries:
        for entry in entries:
            with suppress(archive.ArchiveRefused):
                entry.read(1 << 20)


def test_an_encrypted_zip_is_reported_once_and_not_once_a_file(tmp_path):
    (tmp_path / "x.zip").write_bytes(with_flag(packed(FILES), 0))
    with pytest.raises(ImageRefused) as refused:
        gather(tmp_path / "x.zip")
    assert str(refused.value).count("is encrypted") == 1
    assert str(refused.value).count(str(tmp_path)) == 1


def test_an_entry_without_a_name_is_ignored(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as damaged:
        damaged.writestr(zipfile.ZipInfo(""), b"")
    with archive.opened(tmp_path / "x.zip") as entries:
        assert entries == []
