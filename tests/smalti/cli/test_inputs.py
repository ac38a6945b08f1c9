"""How commands read the pictures that they are given; the toy model takes 2×2."""

import json

import pytest
from click.testing import CliRunner
from PIL import Image as pillow

from smalti.cli import exit_codes, inputs
from smalti.cli.main import main
from smalti.pictures import reader
from smalti.v1 import images_pb2, jobs_pb2, types_pb2
from tests.smalti.pictures.zips import a_picture, packed

ONE = types_pb2.ModelVersion(name="toy", version=1)
ONE_EACH = {  # commands that take any number of pictures and give a result for each
    "score": lambda request: images_pb2.ScoreResponse(
        model=ONE, kind="SCORE_KIND_ELBO", scores=[-float(len(image.png)) for image in request.images]
    ),
    "encode": lambda request: images_pb2.EncodeResponse(
        model=ONE, means=[types_pb2.Latent(values=[0.5, -1]) for _ in request.images]
    ),
    "reconstruct": lambda request: images_pb2.ReconstructResponse(
        model=ONE,
        images=[
            types_pb2.Image(pixels=types_pb2.Pixels(height=2, width=2, indices=bytes(4)))
            for _ in request.images
        ],
    ),
}


@pytest.fixture
def smalti(server):
    """Runs the command against the canned server."""
    for command, answer in ONE_EACH.items():
        server.answers[f"ImageService/{command.capitalize()}"] = answer

    def run(*arguments):
        return CliRunner().invoke(main, [*map(str, arguments)], env={"SMALTI_SERVER": server.address})

    return run


def write(folder, **sizes):
    folder.mkdir(exist_ok=True)
    for name, size in sizes.items():
        (folder / f"{name}.png").write_bytes(a_picture(size=size))
    return folder


def asked(server, kind=images_pb2.ScoreRequest):
    return [request for request in server.requests if isinstance(request, kind)]


@pytest.mark.parametrize("command", ONE_EACH)
def test_a_picture_of_another_size_is_refused_with_both_sizes_before_a_request(
    server, smalti, tmp_path, command
):
    folder = write(tmp_path, good=(2, 2), wide=(3, 2), tall=(2, 5))
    result = smalti(command, "toy", *(folder / f"{name}.png" for name in ("good", "wide", "tall")), "--json")
    assert result.exit_code == 2
    assert f"{folder}/wide.png is 3×2, and toy takes 2×2: see --fit" in result.stderr
    assert f"{folder}/tall.png is 2×5, and toy takes 2×2: see --fit" in result.stderr
    assert len(server.requests) == 1  # it asked for the model's size


@pytest.mark.parametrize("command", ONE_EACH)
def test_good_pictures_of_a_folder_are_used_and_the_others_named_at_the_end(smalti, tmp_path, command):
    folder = write(tmp_path / "pictures", ant=(2, 2), wide=(3, 2), zebra=(2, 2))
    (folder / "torn.png").write_bytes(a_picture()[:50])
    result = smalti(command, "toy", folder, "--json")
    assert result.exit_code == exit_codes.PARTLY
    printed = json.loads(result.stdout)
    assert [picture["name"] for picture in printed["pictures"]] == [
        f"{folder}/ant.png",
        f"{folder}/zebra.png",
    ]
    assert printed["skipped"] == [
        {"name": f"{folder}/torn.png", "reason": "is cut off or damaged"},
        {"name": f"{folder}/wide.png", "reason": "is 3×2, and toy takes 2×2: see --fit"},
    ]
    assert result.stderr.splitlines()[-1].startswith(f"Skipped 2: {folder}/torn.png is cut off")


def test_each_line_begins_with_the_path_of_its_picture(smalti, tmp_path):
    folder = write(tmp_path / "pictures", ant=(2, 2), bat=(2, 2))
    (tmp_path / "more.zip").write_bytes(packed({"in/cat.png": a_picture(size=(2, 2))}))
    result = smalti("encode", "toy", folder, tmp_path / "more.zip")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == [
        f"{name}: 0.5000 -1.0000"
        for name in (f"{folder}/ant.png", f"{folder}/bat.png", f"{tmp_path}/more.zip/in/cat.png")
    ]


@pytest.mark.parametrize("how", ["resize", "crop", "pad"])
def test_fit_brings_every_picture_to_the_models_size(server, smalti, tmp_path, how):
    folder = write(tmp_path, small=(1, 1), right=(2, 2)) if how == "pad" else write(tmp_path, wide=(9, 4))
    assert smalti("score", "toy", folder, "--fit", how).exit_code == 0
    [request] = asked(server)
    assert {reader.read(image.png).rgba.size for image in request.images} == {(2, 2)}


def test_padding_refuses_a_larger_picture(smalti, tmp_path):
    result = smalti("score", "toy", write(tmp_path, wide=(3, 2)) / "wide.png", "--fit", "pad")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "wide.png is 3×2, and padding cannot reduce it to 2×2." in result.stderr


@pytest.mark.parametrize(("command", "option"), [("sweep", "--image"), ("submit", "--complete")])
def test_fit_without_a_picture_is_refused(smalti, tmp_path, command, option):
    output = ["-o", tmp_path / "x.png"] if command == "sweep" else []
    result = smalti(command, "toy", "--fit", "crop", *output)
    assert result.exit_code == 2
    assert f"{option} PICTURE, which is missing" in result.stderr


def test_the_help_says_what_each_way_to_fit_does(smalti):
    for command in ("score", "encode", "reconstruct", "complete", "sweep", "interpolate", "submit"):
        printed = " ".join(smalti(command, "--help").stdout.split())
        assert "--fit [resize|crop|pad]" in printed, command
        assert "repeating pixels" in printed, command


def test_many_pictures_are_sent_in_several_requests(server, smalti, tmp_path):
    names = [f"{number:03d}.png" for number in range(150)]
    (tmp_path / "many.zip").write_bytes(packed(dict.fromkeys(names, a_picture(size=(2, 2)))))
    result = smalti("score", "toy", tmp_path / "many.zip", "--seed", 3)
    assert len(result.stdout.splitlines()) == 150
    assert [(len(request.images), request.seed) for request in asked(server)] == [(64, 3), (64, 3), (22, 3)]


def test_reconstructions_are_named_after_their_pictures_and_overwrite_nothing(smalti, tmp_path):
    folder = write(tmp_path / "in", ant=(2, 2))
    write(folder / "deep", ant=(2, 2))
    before = (folder / "ant.png").read_bytes()
    assert smalti("reconstruct", "toy", folder, "-o", folder).exit_code == 0
    assert sorted(file.name for file in folder.glob("*.png")) == [
        "ant-2-reconstructed.png",
        "ant-reconstructed.png",
        "ant.png",
    ]
    assert (folder / "ant.png").read_bytes() == before


def a_deep_grey(path):
    pillow.new("I;16", (2, 2), 100 * 257).save(path)
    return path


def a_lying_photograph(path):
    image = pillow.new("RGB", (16, 16), "#000000")
    image.paste("#ffffff", (0, 0, 16, 8))
    exif = pillow.Exif()
    exif[0x0112] = 6
    image.save(path, exif=exif)
    return path


def sent_by(server, smalti, command, path, tmp_path):
    """The picture that a command sent, fitted to 2×2."""
    server.requests.clear()
    extra = {
        "sweep": ["--image", path],
        "interpolate": [path, path],
        "submit": ["--complete", path, "--rows", 1],
    }.get(command, [path])
    smalti(command, "toy", *extra, "--fit", "resize", *([] if command == "submit" else ["--json"]))
    request = server.requests[1]
    match request:
        case images_pb2.SweepRequest():
            image = request.image
        case images_pb2.InterpolateRequest():
            image = request.last
        case jobs_pb2.SubmitRequest():
            image = request.completion.image
        case _:
            image = request.images[0]
    return reader.read(image.png).rgba.convert("RGB")


@pytest.mark.parametrize(
    "command", ["score", "encode", "reconstruct", "sweep", "interpolate", "submit", "complete"]
)
def test_every_command_reads_16_bit_greys_and_orientation(server, smalti, tmp_path, command):
    grey = sent_by(server, smalti, command, a_deep_grey(tmp_path / "deep.png"), tmp_path)
    assert grey.getpixel((0, 0)) == (100, 100, 100)
    photograph = sent_by(server, smalti, command, a_lying_photograph(tmp_path / "lying.jpg"), tmp_path)
    left, right = photograph.getpixel((0, 0)), photograph.getpixel((1, 0))
    assert max(left) < 60
    assert min(right) > 200


def test_pictures_with_equal_names_get_different_files():
    assert inputs.stems(["a/ant.png", "b/ant.png", "b.zip/bat.gif", "ant.jpg"]) == [
        "ant",
        "ant-2",
        "bat",
        "ant-3",
    ]


def test_a_mask_is_fitted_like_its_picture(server, smalti, tmp_path):
    mask = pillow.new("L", (4, 4), 0)
    mask.paste(255, (0, 0, 2, 4))
    mask.save(tmp_path / "mask.png")
    picture = write(tmp_path / "in", large=(4, 4)) / "large.png"
    smalti("complete", "toy", picture, "--mask", tmp_path / "mask.png", "--fit", "resize", "--json")
    [request] = asked(server, jobs_pb2.SubmitRequest)
    assert request.completion.mask == bytes([1, 0, 1, 0])
