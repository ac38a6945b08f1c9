"""Errors at the command line use the words of the command line."""

import ast
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image as pillow

from smalti.cli.main import main
from smalti.v1 import images_pb2, jobs_pb2, models_pb2

ROOT = Path(__file__).parents[3]
SERVICES = [
    service
    for file in (images_pb2, jobs_pb2, models_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
]


@pytest.fixture
def smalti(server):
    """Runs the command against the canned server."""

    def run(*arguments):
        return CliRunner().invoke(main, [*map(str, arguments)], env={"SMALTI_SERVER": server.address})

    return run


def raised():
    """Every text in a `raise` that users can meet."""
    for folder in ("server", "smalti"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            if file.parent.name != "v1":
                for node in ast.walk(ast.parse(file.read_text())):
                    if isinstance(node, ast.Raise):
                        parts = [part for part in ast.walk(node) if isinstance(part, ast.Constant)]
                        yield file.name, "".join(str(part.value) for part in parts)


def test_no_error_message_names_an_rpc():
    methods = "|".join(method.name for service in SERVICES for method in service.methods)
    names = re.compile(rf"\w+Service\b|(?:\bby|\bcall|\bor|\bwith) (?:{methods})\b")
    texts = list(raised())
    assert len(texts) > 50
    assert [text for text in texts if names.search(text[1])] == []


@pytest.mark.parametrize(
    ("arguments", "said", "message"),
    [
        (
            ["draw", "toy"],
            "first_index + count is more than 2^64.",
            "--first-index + count is more than 2^64.",
        ),
        (["draw", "toy"], "count is 0; it must be 1.", "--count is 0; it must be 1."),
        (
            ["submit", "toy"],
            "A request_id has at most 128 characters.",
            "A --request-id has at most 128 characters.",
        ),
        (["submit", "toy"], "The file my_first_index.png is one.", "The file my_first_index.png is one."),
        (["submit", "toy"], "toy is a pixel_rnn.", "toy is a pixel_rnn."),
    ],
)
def test_errors_name_the_option_in_place_of_the_field(
    server, smalti, refusal, tmp_path, arguments, said, message
):
    def refuse(request):
        raise refusal("INVALID_ARGUMENT", "INVALID_REQUEST", said, field="x")

    server.answers["ImageService/Draw"] = server.answers["JobService/Submit"] = refuse
    place = ["-o", tmp_path / "x.png"] if arguments[0] == "draw" else []
    result = smalti(*arguments, *place)
    assert (result.exit_code, result.stderr) == (2, f"Error: {message}\n")


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["draw", "toy", "--count", 2**32, "-o", "x.png"], "--count"),
        (["draw", "toy", "--first-index", 2**64, "-o", "x.png"], "--first-index"),
        (["draw", "toy", "--version", 2**32, "-o", "x.png"], "--version"),
        (["sweep", "toy", "--dims", "-1,2", "-o", "x.png"], "--dims"),
        (["sweep", "toy", "--dims", f"1,{2**32}", "-o", "x.png"], "--dims"),
        (["sweep", "toy", "--steps", 2**32, "-o", "x.png"], "--steps"),
        (["submit", "toy", "--count", 2**64], "--count"),
        (["submit", "toy", "--keep-seconds", "nan"], "--keep-seconds"),
        (["submit", "toy", "--temperature", "nan"], "--temperature"),
        (["watch", "7", "--patience", "nan"], "--patience"),
        (["complete", "toy", "x.png", "--hidden", "nan", "-o", "x.png"], "--hidden"),
        (["jobs", "--limit", 10**30], "--limit"),
        (["results", "7", "--start", 2**64, "-o", "x.png"], "--start"),
    ],
)
def test_errors_of_wrong_numbers_name_the_option(server, smalti, tmp_path, monkeypatch, arguments, option):
    monkeypatch.chdir(tmp_path)
    server.answers["JobService/Get"] = lambda request: jobs_pb2.Job(
        id="7", count=1, state="JOB_STATE_RUNNING"
    )
    result = smalti(*arguments)
    assert (result.exit_code, isinstance(result.exception, SystemExit)) == (2, True), result.exception
    assert option in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["draw", "\udcff", "-o", "x.png"], "model"),
        (["submit", "\udcff"], "model"),
        (["submit", "toy", "--request-id", "\udcff"], "--request-id"),
        (["models", "\udcff"], "model"),
        (["load", "\udcff"], "model"),
        (["complete", "\udcff", "x.png", "-o", "x.png"], "model"),
        (["watch", "\udcff"], "job"),
        (["results", "\udcff", "-o", "x.png"], "job"),
        (["cancel", "\udcff"], "job"),
        (["delete", "\udcff"], "job"),
    ],
)
def test_arguments_that_are_not_utf8_are_refused_in_one_sentence(
    server, smalti, tmp_path, monkeypatch, arguments, named
):
    monkeypatch.chdir(tmp_path)
    result = smalti(*arguments)
    assert (result.exit_code, server.requests) == (2, [])
    assert result.stderr == f"Error: {named} is '\\udcff', which is not UTF-8 text.\n"


@pytest.mark.parametrize("command", ["encode", "score", "reconstruct", "complete"])
def test_an_empty_path_is_refused_and_not_the_current_folder(smalti, command):
    result = smalti(command, "toy", "")
    assert (result.exit_code, result.stderr) == (
        2,
        "Error: The name of a picture is empty: write the path of its file.\n",
    )


def test_endless_patience_is_announced_without_a_number(server, smalti, refusal):
    def answer(request):
        if len(server.requests) == 1:
            raise refusal("RESOURCE_EXHAUSTED", "QUEUE_FULL", "The queue is full.", retry=0.05)
        return jobs_pb2.SubmitResponse(job=jobs_pb2.Job(id="7", state="JOB_STATE_QUEUED"))

    server.answers["JobService/Submit"] = answer
    assert smalti("submit", "toy", "--patience", "inf").stderr == "The queue is full. Trying again.\n"


def test_a_model_of_the_wrong_kind_is_refused_with_the_right_command(server, smalti, refusal, tmp_path):
    def refuse(request):
        raise refusal("FAILED_PRECONDITION", "GRAPH_NOT_SERVED", "toy is of another kind.")

    server.answers["ImageService/Draw"] = server.answers["JobService/Submit"] = refuse
    drawn = smalti("draw", "toy", "-o", tmp_path / "x.png")
    assert drawn.stderr == "Error: toy is of another kind. The command for it: smalti submit toy --watch\n"
    assert smalti("submit", "toy").stderr.endswith("The command for it: smalti draw toy\n")


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [(["drw"], "draw"), (["result", "7"], "results"), (["draw", "--cout", "3"], "--count")],
)
def test_a_mistyped_command_or_option_gets_a_suggestion(smalti, arguments, meant):
    result = smalti(*arguments)
    assert (result.exit_code, meant in result.stderr.splitlines()[-1]) == (2, True)
    assert "Did you mean" in result.stderr


def test_an_enlarged_picture_is_refused_with_both_sizes(server, smalti, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pillow.new("RGB", (128, 128)).save("large.png")
    result = smalti("complete", "toy", "large.png", "-o", "x.png")
    assert result.exit_code == 2
    assert "large.png is 128×128, and toy takes 2×2" in result.stderr
    assert "2×2" in result.stderr
