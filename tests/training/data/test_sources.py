"""The four kinds of image data, and what is refused before any training."""

import io
import os
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.smalti.pictures.zips import a_picture, packed, with_flag, with_method
from training.data import sources
from training.data.sources import Indexed, Pictures
from training.errors import DataRefused

WHITE = "#ffffff"


def read(path, size=8):
    return sources.read(path, size=size, background=WHITE)


def save(path, values, mode="RGBA"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, dtype=np.uint8), mode).save(path)


def a_square(size=16, colour=(200, 0, 0, 255)):
    picture = np.zeros((size, size, 4), dtype=np.uint8)
    picture[4:12, 6:14] = colour
    return picture


def write_lecture(folder, images, colours="255 255 255\n0 0 0\n200 0 0\n"):
    lines = [" ".join(map(str, image)) for image in images]
    (folder / "pixel_color.txt").write_text("\n".join(lines) + "\n")
    (folder / "colormap.txt").write_text(colours)


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def arrays(**other):
    """An .npz of three good arrays; the given files replace some of them."""
    good = npy(np.zeros((2, 8, 1), np.uint8))
    return packed({f"{name}.npy": other.get(name, good) for name in ("train", "valid", "test")})


def claiming(images):
    """An array whose header promises very many images, without any data."""
    stream = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": (images, 8, 1)}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue()


class TestPictures:
    def test_a_picture_is_cropped_to_its_content_and_placed_at_the_bottom(self, tmp_path):
        save(tmp_path / "square.png", a_square())
        found = read(tmp_path, size=12)
        assert isinstance(found, Pictures)
        expected = np.zeros((12, 12), dtype=bool)
        expected[4:12, 2:10] = True
        assert (found.opaque[0] == expected).all()

    def test_transparent_pixels_become_background_and_do_not_change_their_neighbours(self, tmp_path):
        save(tmp_path / "square.png", a_square())
        found = read(tmp_path, size=8)
        assert set(map(tuple, found.rgb.reshape(-1, 3).tolist())) <= {(200, 0, 0), (255, 255, 255)}

    def test_a_large_picture_is_reduced(self, tmp_path):
        save(tmp_path / "large.png", np.full((64, 32, 4), 255))
        found = read(tmp_path, size=8)
        assert found.opaque[0].sum(axis=0).tolist() == [0, 0, 8, 8, 8, 8, 0, 0]

    def test_a_stretched_picture_fills_its_square(self, tmp_path):
        wide = np.zeros((16, 16, 4), dtype=np.uint8)
        wide[6:10] = (200, 0, 0, 255)
        save(tmp_path / "wide.png", wide)
        assert sources.pictures(tmp_path, size=8, background=WHITE).opaque.mean() < 0.5
        found = sources.pictures(tmp_path, size=8, background=WHITE, stretched=True)
        assert found.opaque.all()
        assert (found.rgb == (200, 0, 0)).all()

    def test_folder_and_zip_give_the_same_images(self, tmp_path):
        folder = tmp_path / "tiles"
        save(folder / "a.png", a_square())
        save(folder / "deep" / "b.png", a_square(colour=(0, 90, 0, 255)))
        with zipfile.ZipFile(tmp_path / "tiles.zip", "w") as archive:
            for file in folder.rglob("*.png"):
                archive.write(file, file.relative_to(folder))
        one, other = read(folder), read(tmp_path / "tiles.zip")
        assert (one.rgb == other.rgb).all()
        assert one.origin.name == other.origin.name == "tiles"

    def test_an_empty_picture_is_left_out(self, tmp_path):
        save(tmp_path / "full.png", a_square())
        save(tmp_path / "empty.png", np.zeros((16, 16, 4)))
        assert len(read(tmp_path).rgb) == 1

    def test_the_digest_depends_on_the_content(self, tmp_path):
        save(tmp_path / "a.png", a_square())
        before = read(tmp_path).origin.digest
        save(tmp_path / "a.png", a_square(colour=(0, 0, 9, 255)))
        assert read(tmp_path).origin.digest != before

    def test_a_broken_image_is_skipped_and_named(self, tmp_path):
        save(tmp_path / "good.png", a_square())
        (tmp_path / "torn.png").write_bytes((tmp_path / "good.png").read_bytes()[:60])
        found = read(tmp_path)
        assert len(found.rgb) == found.report.read == 1
        assert [Path(skipped.name).name for skipped in found.report.skipped] == ["torn.png"]

    def test_sixteen_bit_greys_become_the_greys_that_they_show(self, tmp_path):
        Image.fromarray(np.full((8, 8), 100 * 257, dtype=np.uint16)).save(tmp_path / "deep.png")
        found = read(tmp_path)
        assert (found.rgb == 100).all()
        assert found.report.deep == 1

    def test_a_photograph_is_turned_upright(self, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 6
        lying = np.zeros((8, 8, 3), dtype=np.uint8)
        lying[:4] = 255
        Image.fromarray(lying).save(tmp_path / "lying.png", exif=exif)
        assert read(tmp_path).rgb[0, 0, :, 0].tolist() == [0, 0, 0, 0, 255, 255, 255, 255]

    def test_a_photograph_of_millions_of_pixels_becomes_one_image(self, tmp_path):
        Image.new("RGB", (2100, 700), "#c80000").save(tmp_path / "wide.png")
        found = read(tmp_path)
        assert found.rgb.shape == (1, 8, 8, 3)
        assert (found.rgb[found.opaque] == (200, 0, 0)).all()

    def test_the_report_says_what_happened_to_every_file(self, tmp_path):
        save(tmp_path / "square.png", a_square())
        save(tmp_path / "small.png", np.full((4, 4, 4), 255))
        save(tmp_path / "exact.png", np.full((8, 8, 4), 255))
        save(tmp_path / "large.png", np.full((64, 32, 4), 255))
        save(tmp_path / "clear.png", np.zeros((16, 16, 4)))
        (tmp_path / "._square.png").write_bytes(b"finder")
        (tmp_path / "torn.png").write_bytes((tmp_path / "square.png").read_bytes()[:60])
        report = read(tmp_path).report
        assert (report.read, report.others, report.transparent) == (4, 1, 1)
        assert (report.reduced, report.padded, report.smallest, report.largest) == (1, 2, (4, 4), (32, 64))
        assert sorted(map(str, report.skipped)) == [
            "clear.png is transparent, or almost",
            "torn.png is cut off or damaged",
        ]

    def test_the_report_counts_a_transparent_border_as_cropped_and_not_as_padded(self, tmp_path):
        bordered = np.zeros((8, 8, 4))
        bordered[2:6, 3:6] = 255
        save(tmp_path / "bordered.png", bordered)
        save(tmp_path / "small.png", np.full((4, 4, 4), 255))
        report = read(tmp_path).report
        assert (report.cropped, report.padded, report.reduced) == (1, 1, 0)
        assert "1 had a transparent border, which was cut off" in " ".join(report.sentences())

    def test_a_folder_of_transparent_pictures_is_refused(self, tmp_path):
        save(tmp_path / "clear.png", np.zeros((16, 16, 4)))
        with pytest.raises(DataRefused, match=r"All 1 pictures of .* are transparent"):
            read(tmp_path)

    def test_an_encrypted_zip_is_refused_in_one_sentence(self, tmp_path):
        (tmp_path / "x.zip").write_bytes(with_flag(packed({"a.png": a_picture()}), 0))
        with pytest.raises(DataRefused, match=r"x\.zip is encrypted: unpack it with its password"):
            read(tmp_path / "x.zip")

    def test_file_endings_may_be_in_capitals(self, tmp_path):
        (tmp_path / "SPRITES.ZIP").write_bytes(packed({"A.PNG": a_picture(), "B.JPEG": a_picture()}))
        assert len(read(tmp_path / "SPRITES.ZIP").rgb) == 2

    def test_a_file_name_that_is_not_unicode_is_accepted(self, tmp_path):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")).write_bytes(a_picture())
        assert len(read(tmp_path).origin.digest) == 64

    def test_an_empty_folder_is_refused(self, tmp_path):
        with pytest.raises(DataRefused, match="holds no picture"):
            read(tmp_path)

    def test_a_file_that_is_not_a_zip_is_refused(self, tmp_path):
        (tmp_path / "not.zip").write_bytes(b"not a zip")
        with pytest.raises(DataRefused, match="not a zip file"):
            read(tmp_path / "not.zip")

    def test_a_missing_path_is_refused(self, tmp_path):
        with pytest.raises(DataRefused, match="nothing at"):
            read(tmp_path / "missing")

    def test_an_unknown_kind_of_file_is_refused(self, tmp_path):
        (tmp_path / "song.mp3").write_bytes(b"la")
        with pytest.raises(DataRefused, match=r"known kinds: a folder or \.zip .*pixel_color\.txt .*\.npz"):
            read(tmp_path / "song.mp3")


class TestLecture:
    def test_lines_become_square_images_with_their_palette(self, tmp_path):
        write_lecture(tmp_path, [[0, 1, 2, 0], [1, 1, 1, 1]])
        found = read(tmp_path)
        assert isinstance(found, Indexed)
        assert found.pixels.tolist() == [[[0, 1], [2, 0]], [[1, 1], [1, 1]]]
        assert found.palette.tolist() == [[255, 255, 255], [0, 0, 0], [200, 0, 0]]

    def test_the_path_of_the_pixel_file_is_accepted(self, tmp_path):
        write_lecture(tmp_path, [[0, 1, 2, 0]])
        assert len(read(tmp_path / "pixel_color.txt").pixels) == 1

    @pytest.mark.parametrize(
        ("images", "reason"),
        [
            ([[0, 1, 3, 0]], "pixel 3, but the palette ends at 2"),
            ([[0, 1, -1, 0]], "pixel -1"),
            ([[0, 1, 2, 0, 1]], "do not make a square image"),
            ([[0, 1, 2, 0], [0, 1, 2]], "Line 2 .* has 3 numbers"),
            ([["x", 1, 2, 0]], "Line 1 .* cannot be read as integers with spaces between: 'x'"),
            ([[0, 1, 1.5, 0]], "Line 1 .* '1.5'"),
            ([["0,1,2,0"]], "Line 1 .* '0,1,2,0'"),
            ([[0, 1, 2, 99999999999999999999]], "Line 1 .* '99999999999999999999'"),
            ([[0, 1, 2, "\N{WAVE DASH}"]], "Line 1 .*"),
            ([[0, 1, 2, 0], [], [0, 1, 9, 0]], "Line 3 .* has the pixel 9"),
            ([[0, 1, 2, 0], [], [0, 1, 2]], "Line 3 .* has 3 numbers"),
            ([], "is empty"),
        ],
    )
    def test_a_wrong_line_is_named(self, tmp_path, images, reason):
        write_lecture(tmp_path, images)
        with pytest.raises(DataRefused, match=reason):
            read(tmp_path)

    def test_a_colour_beyond_255_is_refused(self, tmp_path):
        write_lecture(tmp_path, [[0, 1, 1, 0]], colours="0 0 0\n0 0 256\n")
        with pytest.raises(DataRefused, match="three integers 0 … 255"):
            read(tmp_path)

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
    @pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
    def test_encodings_and_line_ends_of_windows_are_read(self, tmp_path, encoding, end):
        for name, lines in {
            "pixel_color.txt": ["0 1 1 0", "1 1 1 1"],
            "colormap.txt": ["0 0 0", "9 9 9"],
        }.items():
            (tmp_path / name).write_bytes((end.join(lines) + end).encode(encoding))
        assert read(tmp_path).pixels.tolist() == [[[0, 1], [1, 0]], [[1, 1], [1, 1]]]

    def test_file_names_may_be_in_capitals(self, tmp_path):
        write_lecture(tmp_path, [[0, 1, 2, 0]])
        for name in ("pixel_color.txt", "colormap.txt"):
            (tmp_path / name).rename(tmp_path / name.upper())
        assert len(read(tmp_path).pixels) == len(read(tmp_path / "PIXEL_COLOR.TXT").pixels) == 1

    def test_a_file_that_is_not_text_is_refused(self, tmp_path):
        write_lecture(tmp_path, [[0, 1, 1, 0]])
        (tmp_path / "pixel_color.txt").write_bytes(b"\x89PNG\xff\xfe")
        with pytest.raises(DataRefused, match=r"pixel_color\.txt is not text"):
            read(tmp_path)

    def test_a_missing_palette_is_refused(self, tmp_path):
        write_lecture(tmp_path, [[0, 1, 1, 0]])
        (tmp_path / "colormap.txt").unlink()
        with pytest.raises(DataRefused, match=r"colormap\.txt is not there"):
            read(tmp_path)


class TestBinary:
    def save(self, path, side=12, parts=(3, 2, 2)):
        rng = np.random.default_rng(0)
        bits = {
            name: rng.integers(0, 2, (n, side, side))
            for name, n in zip(("train", "valid", "test"), parts, strict=True)
        }
        packed = {name: np.packbits(array.astype(np.uint8), axis=2) for name, array in bits.items()}
        np.savez(path, train=packed["train"], valid=packed["valid"], test=packed["test"])
        return bits

    def test_bits_are_unpacked_and_the_three_parts_are_kept(self, tmp_path):
        bits = self.save(tmp_path / "Static MNIST.npz")
        found = read(tmp_path / "Static MNIST.npz")
        assert (found.pixels == np.concatenate(list(bits.values()))).all()
        assert (found.parts, found.origin.name) == ((3, 2, 2), "static-mnist")

    def test_a_missing_part_is_refused(self, tmp_path):
        np.savez(tmp_path / "x.npz", train=np.zeros((2, 8, 1), np.uint8), valid=np.zeros((2, 8, 1), np.uint8))
        with pytest.raises(DataRefused, match="lacks one of the arrays"):
            read(tmp_path / "x.npz")

    def test_a_width_that_does_not_fit_is_refused(self, tmp_path):
        array = np.zeros((2, 8, 4), np.uint8)
        np.savez(tmp_path / "x.npz", train=array, valid=array, test=array)
        with pytest.raises(DataRefused, match="4 bytes per row, which does not fit images of 8×8"):
            read(tmp_path / "x.npz")

    def test_the_ending_npz_may_be_in_capitals(self, tmp_path):
        self.save(tmp_path / "x.npz")
        (tmp_path / "x.npz").rename(tmp_path / "X.NPZ")
        assert read(tmp_path / "X.NPZ").report.read == 7

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"no archive", r"cannot be read as an \.npz file"),
            (b"", r"cannot be read as an \.npz file"),
            (npy(np.zeros((2, 8, 1), np.uint8)), r"cannot be read as an \.npz file"),
            (
                arrays(train=npy(np.array([None, "x"], dtype=object))),
                "train .* is damaged, or contains objects",
            ),
            (arrays(train=b"no array"), "train .* is damaged"),
            (arrays(valid=npy(np.zeros((2, 8, 1), np.uint8))[:-5]), "valid .* is damaged"),
            (arrays(valid=npy(np.zeros((2, 8, 1), np.float32))), "valid .* must be .* of uint8"),
            (arrays(test=npy(np.zeros((0, 8, 1), np.uint8))), "test .* must be"),
            (arrays(test=claiming(10**15)), "test .* is damaged"),
            (with_flag(arrays(), 0), "it is encrypted: unpack it"),
            (with_method(arrays(), 99), "train .* is damaged, or packed in a way that is not read"),
        ],
    )
    def test_a_wrong_npz_is_refused_in_one_sentence(self, tmp_path, content, reason):
        (tmp_path / "x.npz").write_bytes(content)
        with pytest.raises(DataRefused, match=reason):
            read(tmp_path / "x.npz")


@settings(deadline=None)  # a busy machine may be slow
@given(data=st.data())
def test_damaged_data_are_read_or_refused_and_never_crash(data, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "damaged"
    folder.mkdir(exist_ok=True)
    good = {"x.npz": arrays(), "pixel_color.txt": b"0 1 1 0\n1 1 1 1\n", "colormap.txt": b"0 0 0\n9 9 9\n"}
    name = data.draw(st.sampled_from(sorted(good)))
    damaged = bytearray(good[name])
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    for file, content in {**good, name: bytes(damaged)}.items():
        (folder / file).write_bytes(content)
    with suppress(DataRefused):
        read(folder / name)


def test_without_a_path_the_digits_are_read():
    found = read(None)
    assert found.pixels.shape == (1797, 8, 8)
    assert (found.pixels.max(), len(found.palette)) == (16, 17)
    assert sum(found.parts) == 1797
