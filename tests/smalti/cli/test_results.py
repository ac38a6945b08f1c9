"""Results of a job in every form, and downloads that broke off."""

from zipfile import ZipFile

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image as pillow
from PIL import ImageSequence

from smalti import media
from smalti.cli.downloading import Part, gaps
from smalti.cli.main import main
from smalti.v1 import jobs_pb2, types_pb2

TOY = types_pb2.ModelVersion(name="toy", version=1)
COUNT = 6


def sample(index):
    """Each sample has other pixels; the fifth failed."""
    if index == 4:
        return jobs_pb2.SampleResult(index=4, error="Its pixels were no numbers.")
    pixels = types_pb2.Pixels(height=2, width=2, indices=bytes([0, 1, 2, index % 4]))
    return jobs_pb2.SampleResult(
        index=index, image=types_pb2.Image(pixels=pixels), log_probability=-index, fingerprint="cpu"
    )


def arrays(path):
    with np.load(path) as read:
        return dict(read)


class Job:
    """A job of six samples; `ends` is the index at which the server goes away, once."""

    def __init__(self, server, refusal):
        self.id, self.ends, self.asked, self._refusal = "7", None, [], refusal
        server.answers["JobService/Get"] = lambda request: jobs_pb2.Job(
            id=self.id, model=TOY, count=COUNT, height=2, width=2, done=5, seed=9, state="JOB_STATE_FAILED"
        )
        server.answers["JobService/Results"] = self.results

    def results(self, request):
        self.asked.append((request.start, request.limit))
        for index in range(request.start, min(COUNT, request.start + request.limit)):
            if index == self.ends:
                self.ends = None
                raise self._refusal("UNAVAILABLE", "UNAVAILABLE", "Redis is away.", retry=0.05)
            yield sample(index)


@pytest.fixture
def job(server, refusal):
    return Job(server, refusal)


@pytest.fixture
def smalti(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        return CliRunner().invoke(main, [*map(str, arguments)], env={"SMALTI_SERVER": server.address})

    return run


@pytest.mark.usefixtures("job")
def test_an_npz_holds_what_numpy_needs(smalti, tmp_path):
    assert smalti("results", "7", "-o", "x.npz").exit_code == 0
    read = arrays(tmp_path / "x.npz")
    assert read["index"].tolist() == [0, 1, 2, 3, 5]
    assert read["pixels"].dtype == np.uint8
    assert read["pixels"].tolist() == [[[0, 1], [2, index % 4]] for index in (0, 1, 2, 3, 5)]
    assert read["palette"].tolist() == [[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]]
    assert read["log_probability"].tolist() == [0, -1, -2, -3, -5]
    assert (read["seed"].tolist(), str(read["model"]), str(read["job"])) == ([9], "toy version 1", "7")


@pytest.mark.usefixtures("job")
def test_a_zip_holds_the_files_of_a_folder(smalti, tmp_path):
    for place in ("x.zip", "out/"):
        assert smalti("results", "7", "--scale", 3, "-o", place).exit_code == 0
    with ZipFile(tmp_path / "x.zip") as archive:
        zipped = {name: archive.read(name) for name in archive.namelist()}
    assert zipped == {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    assert sorted(zipped) == [f"0000{index}.png" for index in (0, 1, 2, 3, 5)]


@pytest.mark.usefixtures("job")
def test_a_drawing_begins_hidden_gets_a_row_in_each_frame_and_ends_as_the_sheet(smalti, tmp_path):
    assert smalti("results", "7", "--drawing", "--scale", 1, "-o", "x.gif").exit_code == 0
    assert smalti("results", "7", "--scale", 1, "-o", "x.png").exit_code == 0
    with pillow.open(tmp_path / "x.gif") as moving, pillow.open(tmp_path / "x.png") as sheet:
        frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(moving)]
        finished = np.asarray(sheet.convert("RGB"))
    hidden = np.asarray(pillow.new("RGB", (1, 1), media.HIDDEN))[0, 0]
    assert len(frames) == 3  # no row, one row, two rows
    assert (frames[0][1, 1] == hidden).all()
    assert (frames[0][2, 1] == hidden).all()
    assert (frames[1][1] == finished[1]).all()
    assert (frames[1][2, 1] == hidden).all()
    assert (frames[2] == finished).all()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--drawing", "-o", "x.png"], "-o FILE.gif"),
        (["--drawing", "-o", "out/"], "-o FILE.gif"),
        (["--drawing", "-o", "x.zip"], "-o FILE.gif"),
        (["--scale", 2, "-o", "x.npz"], "--scale is for pictures"),
        (["-o", "x.tiff"], "it may also be .npz or .zip"),
        (["--start", 6, "-o", "x.npz"], "after the last one"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is_downloaded(
    smalti, job, tmp_path, arguments, said
):
    result = smalti("results", "7", *arguments)
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr
    assert (job.asked, list(tmp_path.iterdir())) == ([], [])


def test_only_results_may_be_an_archive(smalti):
    assert smalti("draw", "toy", "-o", "x.npz").exit_code == 2


def test_a_sheet_that_would_be_too_large_is_refused_before_anything_is_downloaded(server, smalti, job):
    server.answers["JobService/Get"] = lambda request: jobs_pb2.Job(
        id="7", model=TOY, count=10**6, height=20, width=20, done=10**6, state="JOB_STATE_SUCCEEDED"
    )
    result = smalti("results", "7", "-o", "x.png")
    assert (result.exit_code, "too large" in result.stderr, job.asked) == (2, True, [])


def test_a_download_whose_server_comes_back_goes_on_by_itself(smalti, job, tmp_path):
    job.ends = 3
    assert smalti("results", "7", "-o", "x.npz").exit_code == 0
    assert job.asked == [(0, 6), (3, 3)]
    assert arrays(tmp_path / "x.npz")["index"].tolist() == [0, 1, 2, 3, 5]


@pytest.mark.parametrize("place", ["x.npz", "x.zip", "x.png", "new/x.gif"])
def test_the_same_command_goes_on_with_a_download_that_broke_off(smalti, job, tmp_path, place):
    job.ends = 3
    broken = smalti("results", "7", "-o", place, "--patience", 0)  # given one that broke off
    assert (broken.exit_code, "3 results have come and are kept" in broken.stderr) == (4, True)
    assert not (tmp_path / place).exists()
    whole = smalti("results", "7", "-o", place)  # when the same command comes again
    assert (whole.exit_code, "3 had come before" in whole.stderr) == (0, True), whole.stderr
    assert job.asked == [(0, 6), (3, 3)]  # then only the others are asked for
    undisturbed = tmp_path / f"other{(tmp_path / place).suffix}"
    assert smalti("results", "7", "-o", undisturbed).exit_code == 0
    assert (tmp_path / place).read_bytes() == undisturbed.read_bytes()
    assert not list(tmp_path.rglob("*.part"))


def test_a_line_that_was_being_written_when_the_process_was_killed_is_asked_for_again(smalti, job, tmp_path):
    job.ends = 3
    smalti("results", "7", "-o", "x.npz", "--patience", 0)
    [part] = tmp_path.glob(".smalti-*.part")
    part.write_bytes(part.read_bytes()[:-20] + b"\n{")  # given a last line that was cut off
    assert smalti("results", "7", "-o", "x.npz").exit_code == 0
    assert job.asked == [(0, 6), (2, 4)]
    assert arrays(tmp_path / "x.npz")["index"].tolist() == [0, 1, 2, 3, 5]


def test_a_folder_gets_only_the_samples_that_it_lacks(smalti, job, tmp_path):
    job.ends = 3
    assert smalti("results", "7", "-o", "out/", "--patience", 0).exit_code == 4
    (tmp_path / "out" / "00001.png").unlink()
    assert smalti("results", "7", "-o", "out/").exit_code == 0
    assert job.asked == [(0, 6), (1, 5)]
    assert sorted(file.name for file in (tmp_path / "out").iterdir())[1] == "00001.png"
    job.asked.clear()
    again = smalti("results", "7", "-o", "out/")
    assert "5 had come before" in again.stderr
    assert "1 failed; the first because: Its pixels" in again.stderr
    assert job.asked == [(4, 1)]  # the failed one, for its reason


@pytest.mark.parametrize("change", ["job", "scale", "foreign"])
def test_files_of_another_job_or_size_are_written_anew(smalti, job, tmp_path, change):
    assert smalti("results", "7", "-o", "out/").exit_code == 0
    there = sorted((tmp_path / "out").iterdir())
    scale = 2 if change == "scale" else 1
    if change == "job":
        job.id = "8"
    elif change == "foreign":
        for file in there:
            file.write_bytes(b"no picture")
    job.asked.clear()
    assert smalti("results", job.id, "-o", "out/", "--scale", scale).exit_code == 0
    assert job.asked == [(0, 6)]
    with pillow.open(there[0]) as picture:
        assert (picture.size, f'"job": "{job.id}"' in picture.info["smalti"]) == (
            (2 * scale, 2 * scale),
            True,
        )


@pytest.mark.usefixtures("job")
def test_a_full_disk_leaves_no_part(smalti, tmp_path, monkeypatch):
    class Full(Part):
        def _append(self, values):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("smalti.cli.downloading.Part", Full)
    result = smalti("results", "7", "-o", "x.npz")
    assert (result.exit_code, "No space left" in result.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arrived", "left"),
    [
        ([], [range(1000)]),
        (range(1000), []),
        (range(400), [range(400, 1000)]),
        ([*range(10), *range(20, 1000)], [range(10, 20)]),
        ([*range(10), *range(20, 30), *range(40, 1000)], [range(10, 40)]),
        ([*range(10), *range(20, 900)], [range(10, 20), range(900, 1000)]),
    ],
)
def test_what_lacks_is_asked_for_in_few_calls(arrived, left):
    assert gaps(range(1000), set(arrived)) == left
