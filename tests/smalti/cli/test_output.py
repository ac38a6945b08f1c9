"""Where pictures go: folders, files of every format, standard output, and places that cannot be written."""

import resource
import sys
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image as pillow

from smalti.cli.main import main
from smalti.cli.output import print_table
from smalti.pictures import formats
from smalti.v1 import images_pb2, jobs_pb2, models_pb2, types_pb2

ONE = types_pb2.ModelVersion(name="toy", version=1)
COLOURS = [(0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)]  # the canned model's palette


def pixels(*indices):
    return types_pb2.Image(pixels=types_pb2.Pixels(height=2, width=2, indices=bytes(indices)))


def colours_of(image):
    pixels = image.convert("RGB")
    return [pixels.getpixel((x, y)) for y in range(image.height) for x in range(image.width)]


@pytest.fixture
def smalti(server, tmp_path, monkeypatch):
    """Runs the command in a folder of its own, against a server that draws and has a finished job of two."""
    monkeypatch.chdir(tmp_path)
    job = jobs_pb2.Job(id="7", model=ONE, count=2, height=2, width=2, state="JOB_STATE_SUCCEEDED")
    server.answers["JobService/Get"] = lambda request: job
    server.answers["JobService/Results"] = lambda request: iter(
        [jobs_pb2.SampleResult(index=index, image=pixels(0, 1, 2, 3)) for index in range(2)]
    )
    server.answers["ImageService/Draw"] = lambda request: images_pb2.DrawResponse(
        model=ONE, seed=4, images=[pixels(0, 1, 2, 3)] * request.count
    )
    server.answers["ImageService/Sweep"] = lambda request: images_pb2.SweepResponse(
        model=ONE, steps=request.steps, images=[pixels(0, 1, 2, 3)] * request.steps**2
    )

    def run(*arguments):
        return CliRunner().invoke(main, [*map(str, arguments)], env={"SMALTI_SERVER": server.address})

    return run


def work_requests(server):
    """All requests except those for a model's description."""
    return [request for request in server.requests if not isinstance(request, models_pb2.GetModelRequest)]


@pytest.mark.parametrize("ending", ["png", "webp", "gif", "bmp", "PNG", "WebP"])
def test_a_file_has_the_format_of_its_ending_and_every_colour(smalti, tmp_path, ending):
    assert smalti("draw", "toy", "-o", f"x.{ending}", "--scale", 1).exit_code == 0
    with pillow.open(tmp_path / f"x.{ending}") as image:
        assert image.format == ending.upper()
        assert colours_of(image) == COLOURS


@pytest.mark.parametrize("ending", ["jpg", "JPEG"])
def test_a_jpeg_is_written_with_a_warning_of_its_loss(smalti, tmp_path, ending):
    result = smalti("draw", "toy", "-o", f"x.{ending}")
    with pillow.open(tmp_path / f"x.{ending}") as image:
        assert image.format == "JPEG"
    assert "JPEG changes colours" in result.stderr


@pytest.mark.parametrize(("colours", "warns"), [(256, False), (300, True)])
def test_a_gif_keeps_256_colours_exactly_and_warns_of_more(colours, warns):
    picture = pillow.new("RGB", (20, 15))
    picture.putdata([(number % colours % 256, number % colours // 256, 7) for number in range(300)])
    gif = formats.format_of(Path("x.gif"))
    assert bool(formats.loss(picture, gif)) == warns
    with pillow.open(BytesIO(formats.encoded(picture, gif))) as written:
        assert (colours_of(written) == colours_of(picture)) != warns


@pytest.mark.parametrize("name", ["x.tiff", "run.v2", "x.npy", "x.pdf"])
@pytest.mark.parametrize("command", [["draw", "toy"], ["results", "7"], ["sweep", "toy"]])
def test_an_unknown_ending_is_refused_before_anything_is_drawn(server, smalti, tmp_path, command, name):
    result = smalti(*command, "-o", name)
    assert result.exit_code == 2
    assert ".png, .webp, .jpg, .jpeg, .gif, .bmp" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert (server.requests, list(tmp_path.iterdir())) == ([], [])


@pytest.mark.parametrize("command", [["draw", "toy", "--count", 2], ["results", "7"]])
@pytest.mark.parametrize("name", ["run.v2/", "out/", "out", "there.v2", "deep/er/"])
def test_a_trailing_slash_or_an_existing_folder_means_a_folder(smalti, tmp_path, command, name):
    (tmp_path / "there.v2").mkdir()
    assert smalti(*command, "-o", name).exit_code == 0
    assert sorted(file.name for file in (tmp_path / name).iterdir()) == ["00000.png", "00001.png"]


def test_files_in_a_folder_are_enlarged_only_on_request(smalti, tmp_path):
    for scale, side in ((), 2), (("--scale", 3), 6):
        assert smalti("results", "7", "-o", "out/", *scale).exit_code == 0
        with pillow.open(tmp_path / "out" / "00001.png") as image:
            assert image.size == (side, side)


@pytest.mark.parametrize(
    ("command", "side"),
    [
        (["draw", "toy"], 2),
        (["draw", "toy", "--count", 4], 7),  # a sheet: a gap, two columns of two pixels and a gap
        (["sweep", "toy", "--steps", 2], 7),
        (["results", "7"], 7),
    ],
)
def test_scale_enlarges_each_pixel_and_keeps_its_colour(smalti, tmp_path, command, side):
    for scale in (1, 5):
        assert smalti(*command, "--scale", scale, "-o", f"{scale}.png").exit_code == 0
    with pillow.open(tmp_path / "1.png") as small, pillow.open(tmp_path / "5.png") as large:
        assert (small.width, large.width) == (side, 5 * side)
        assert colours_of(large.resize(small.size, pillow.Resampling.NEAREST)) == colours_of(small)
        assert len(set(colours_of(large))) == len(set(colours_of(small)))


def test_a_scale_that_needs_too_much_memory_is_refused(smalti, tmp_path):
    assert smalti("draw", "toy", "--scale", 65, "-o", "x.png").exit_code == 2
    result = smalti("draw", "toy", "--count", 5000, "--scale", 64, "-o", "x.png")
    assert (result.exit_code, "too large" in result.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [["draw", "toy"], ["results", "7"], ["sweep", "toy"]])
def test_a_dash_writes_only_the_picture_to_standard_output(smalti, command):
    result = smalti(*command, "-o", "-")
    assert result.exit_code == 0
    with pillow.open(BytesIO(result.stdout_bytes)) as image:
        image.load()
        assert image.format == "PNG"
    again = BytesIO()
    image.save(again, "PNG")
    assert again.getvalue() == result.stdout_bytes


def test_a_picture_and_json_cannot_share_standard_output(server, smalti):
    for command in (["draw", "toy"], ["results", "7"]):
        result = smalti(*command, "--json", "-o", "-")
        assert (result.exit_code, result.stdout) == (2, "")
    assert work_requests(server) == []


def test_a_picture_is_not_written_as_bytes_to_a_terminal(server, smalti, monkeypatch):
    monkeypatch.setattr("smalti.cli.places.on_terminal", lambda stream: True)
    result = smalti("draw", "toy", "-o", "-")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "terminal" in result.stderr
    assert work_requests(server) == []


@pytest.mark.parametrize(
    "name",
    [
        "",
        "file",
        "file/",
        "file/x.png",
        "file/deep/x.png",
        "file.png/",
        "file.png/x/",
        "n\0ught.png",
        300 * "x" + ".png",
    ],
)
def test_an_impossible_output_is_one_sentence(smalti, tmp_path, name):
    for file in ("file", "file.png"):
        (tmp_path / file).write_bytes(b"before")
    result = smalti("draw", "toy", "-o", name)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "file.png"]
    assert (tmp_path / "file").read_bytes() == b"before"


@pytest.mark.parametrize("name", [".png", "x.", " ", "some/ ", "...", ".hidden"])
def test_a_name_that_fits_no_file_needs_a_slash_to_mean_a_folder(server, smalti, tmp_path, name):
    result = smalti("draw", "toy", "-o", name)
    assert (result.exit_code, server.requests, list(tmp_path.iterdir())) == (2, [], [])
    assert "names neither a file nor a folder" in result.stderr
    assert smalti("draw", "toy", "-o", f"{name}/").exit_code == 0
    assert (tmp_path / name / "00000.png").exists()


def test_a_device_is_written_to_and_a_full_one_is_one_sentence(smalti):
    assert smalti("draw", "toy", "-o", "/dev/null").exit_code == 0
    result = smalti("draw", "toy", "-o", "/dev/full")
    assert (result.exit_code, result.stderr) == (
        2,
        "Error: /dev/full cannot be written: No space left on device.\n",
    )


@contextmanager
def files_end_after(size):
    """Files cannot grow beyond this size, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("place", ["x.png", "x.bmp", "out/"])
def test_a_failed_write_leaves_no_part_and_keeps_the_old_file(smalti, tmp_path, place):
    (tmp_path / "x.png").write_bytes(b"before")
    with files_end_after(40):
        result = smalti("draw", "toy", "-o", place)
    assert (result.exit_code, "cannot be written" in result.stderr) == (2, True)
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["x.png"]
    assert (tmp_path / "x.png").read_bytes() == b"before"


def test_a_link_stays_a_link_and_its_file_is_written(smalti, tmp_path):
    (tmp_path / "link.png").symlink_to("real.png")
    assert smalti("draw", "toy", "-o", "link.png").exit_code == 0
    assert (tmp_path / "link.png").is_symlink()
    assert (tmp_path / "real.png").read_bytes().startswith(b"\x89PNG")


NAME = "a-model-with-quite-a-long-name-" + 50 * "x"


@pytest.mark.parametrize("width", [200, 80, 40, 1])
@pytest.mark.parametrize("on_terminal", [True, False])
def test_a_table_never_cuts_off_a_name(monkeypatch, capsys, width, on_terminal):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("smalti.cli.output.on_terminal", lambda stream: on_terminal)
    words = "score reconstruct interpolate"
    print_table([["MODEL", "SIZE", "CAN"], [NAME, "8×8", words], ["short", "8×8", ""]])
    printed = capsys.readouterr().out
    assert NAME in printed
    assert printed.split() == ["MODEL", "SIZE", "CAN", NAME, "8×8", *words.split(), "short", "8×8"]
    if not on_terminal:
        assert len(printed.splitlines()) == 3


def test_force_color_does_not_cut_names_in_a_file(server, smalti, monkeypatch):
    model = models_pb2.Model(name=NAME, version=1, family="vae", height=2, width=2, palette=["#000000"])
    server.answers["ModelService/List"] = lambda request: models_pb2.ListModelsResponse(models=[model])
    monkeypatch.setenv("FORCE_COLOR", "1")
    result = smalti("models")
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["MODEL", NAME]
    assert smalti("models", "toy").stdout == '{\n  "figures": {}\n}\n'
    assert sys.stdout is not None  # the command gave the streams back
