"""Jobs that complete many pictures, from folders, zips and lists."""

import json
from base64 import b64encode
from io import BytesIO
from zipfile import ZipFile

import pytest
from click.testing import CliRunner
from PIL import Image as pillow

from smalti.cli.main import main
from smalti.v1 import jobs_pb2, types_pb2

TOY = types_pb2.ModelVersion(name="toy", version=1)
RED, GREEN, BLUE = "#ff0000", "#00ff00", "#0000ff"


def png(colour, size=(2, 2)):
    stream = BytesIO()
    pillow.new("RGB", size, colour).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def uploads(server):
    received = []

    def submit(messages):
        received.append(messages)
        job = jobs_pb2.Job(id="7", model=TOY, count=messages[0].job.count, state="JOB_STATE_QUEUED")
        return jobs_pb2.SubmitResponse(job=job)

    server.answers["JobService/SubmitCompletions"] = submit
    return received


@pytest.fixture
def smalti(server, uploads, tmp_path, monkeypatch):
    """Runs the command in a folder with three pictures."""
    monkeypatch.chdir(tmp_path)
    for name, colour in (("a/red", RED), ("a/green", GREEN), ("blue", BLUE)):
        file = tmp_path / f"{name}.png"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(png(colour))

    def run(*arguments):
        return CliRunner().invoke(
            main, ["submit", "toy", *map(str, arguments)], env={"SMALTI_SERVER": server.address}
        )

    return run


def sent(uploads):
    """Name, colour, rows and mask of each picture that was uploaded."""
    [[_, *portions]] = uploads
    found = []
    for portion in portions:
        for completion, name in zip(portion.completions.completions, portion.completions.names, strict=True):
            with pillow.open(BytesIO(completion.image.png)) as picture:
                colour = f"#{picture.convert('RGB').tobytes()[:3].hex()}"
            found.append((name, colour, completion.rows, completion.mask))
    return found


@pytest.mark.parametrize("way", ["folder", "zip", "files"])
def test_every_picture_of_a_folder_a_zip_or_a_list_of_files_is_a_sample(smalti, uploads, tmp_path, way):
    with ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, colour in (("red", RED), ("green", GREEN)):
            archive.writestr(f"{name}.png", png(colour))
    places = {"folder": ["a"], "zip": ["a.zip"], "files": ["a/green.png", "a/red.png"]}[way]
    result = smalti(*(word for place in places for word in ("--complete", place)), "--rows", 1, "--seed", 5)
    assert (result.exit_code, result.stdout) == (0, "7\n"), result.stderr
    assert uploads[0][0].job.seed == 5
    [green, red] = sorted(sent(uploads))
    assert (green[0].endswith("green.png"), green[1:]) == (True, (GREEN, 1, b""))
    assert (red[0].endswith("red.png"), red[1:]) == (True, (RED, 1, b""))


def test_a_list_says_for_each_picture_what_is_kept(smalti, uploads, tmp_path):
    pillow.new("L", (2, 2), 255).save(tmp_path / "a" / "all.png")
    lines = [
        {"image": "red.png", "rows": 2},
        {"image": "../blue.png", "mask": "all.png", "name": "the sky"},
        {"png": b64encode(png(GREEN)).decode()},
    ]
    (tmp_path / "a" / "list.jsonl").write_text("\n\n".join(map(json.dumps, lines)) + "\n")
    result = smalti("--complete", "a/list.jsonl", "--rows", 1)
    assert result.exit_code == 0, result.stderr
    assert sent(uploads) == [
        ("red.png", RED, 2, b""),
        ("the sky", BLUE, 0, bytes([1, 1, 1, 1])),
        ("line 5", GREEN, 1, b""),
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 3: This is not JSON"),
        ("[1]", "line 3: A line is an object"),
        ('{"image": "blue.png", "row": 1}', "line 3: Nothing reads 'row'"),
        ('{"image": "blue.png", "rows": "1"}', "line 3: 'rows' is a whole number"),
        ('{"image": "blue.png", "rows": true}', "line 3: 'rows' is a whole number"),
        ('{"image": 5, "rows": 1}', "line 3: 'image' is a text"),
        ('{"image": "blue.png"}', "line 3: Say which part to keep"),
        ('{"image": "blue.png", "rows": 1, "mask": "blue.png"}', "line 3: Say which part to keep"),
        ('{"rows": 1}', "line 3: A line has either an image"),
        ('{"png": "?", "rows": 1}', "line 3: 'png' is not base64"),
        ('{"png": "AAAA", "rows": 1}', "line 3: "),
        ('{"image": "", "rows": 1}', "line 3: The name of a picture is empty"),
        ('{"image": "nowhere.png", "rows": 1}', "line 3: nowhere.png is not there"),
        ('{"image": "wide.png", "rows": 1}', "line 3: wide.png is 3×2, and toy takes 2×2"),
        ('{"image": "blue.png", "rows": -1}', "Picture 2 of 3 (blue.png): rows is -1"),
    ],
)
def test_a_line_that_cannot_be_used_is_named_and_nothing_is_sent(smalti, uploads, tmp_path, line, said):
    (tmp_path / "wide.png").write_bytes(png(RED, (3, 2)))
    good = '{"image": "blue.png", "rows": 1}'
    (tmp_path / "list.jsonl").write_text(f"{good}\n\n{line}\n{good}\n")
    result = smalti("--complete", "list.jsonl")
    assert (result.exit_code, uploads) == (2, [])
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--complete", "a"], "Say which part of the pictures to keep"),
        (["--complete", "a", "--rows", 1, "--mask", "blue.png"], "Say which part of the pictures to keep"),
        (["--complete", "a", "--rows", 1, "--count", 2], "--count is for one picture"),
        (["--complete", "a", "--complete", "x.jsonl", "--rows", 1], "give it alone"),
        (["--complete", "x.jsonl", "--rows", 1], "x.jsonl cannot be read: No such file"),
        (["--complete", "empty.jsonl", "--rows", 1], "empty.jsonl lists no picture"),
    ],
)
def test_options_that_do_not_fit_are_refused(smalti, uploads, tmp_path, arguments, said):
    (tmp_path / "empty.jsonl").write_text("\n")
    result = smalti(*arguments)
    assert (result.exit_code, uploads) == (2, [])
    assert said in result.stderr


def test_unusable_pictures_of_a_folder_are_skipped_and_named(smalti, uploads, tmp_path):
    (tmp_path / "a" / "bad.png").write_bytes(b"no picture")
    result = smalti("--complete", "a", "--rows", 1)
    assert (result.exit_code, result.stdout) == (5, "7\n")
    assert "bad.png" in result.stderr
    printed = smalti("--complete", "a", "--rows", 1, "--json")
    answer = json.loads(printed.stdout)
    assert answer["id"] == "7"
    assert answer["pictures"] == ["a/green.png", "a/red.png"]
    assert [each["name"] for each in answer["skipped"]] == ["a/bad.png"]


def test_a_single_picture_is_completed_in_every_sample_as_before(server, smalti, uploads):
    submitted = []

    def submit(request):
        submitted.append(request)
        return jobs_pb2.SubmitResponse(job=jobs_pb2.Job(id="8", model=TOY, state="JOB_STATE_QUEUED"))

    server.answers["JobService/Submit"] = submit
    assert smalti("--complete", "blue.png", "--rows", 1, "--count", 4).stdout == "8\n"
    assert (submitted[0].count, submitted[0].completion.rows, uploads) == (4, 1, [])
