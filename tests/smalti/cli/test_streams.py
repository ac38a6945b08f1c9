"""Standard output and standard error: in any encoding, closed, full, or left by their reader."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from smalti.cli.main import main
from smalti.v1 import images_pb2, jobs_pb2, models_pb2, types_pb2

COMMAND = f"{sys.executable} -m smalti"
ROOT = Path(__file__).parents[3]
ENCODINGS = ["ascii", "cp1252", "latin-1", "cp437", "utf-8", "utf-16"]
NAME = "añ×−→模-\U0001f5bc"


def every_help():
    return [["--help"], *([name, "--help"] for name in main.commands)]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_help_text_prints_in_every_encoding(encoding):
    for arguments in every_help():
        result = CliRunner(charset=encoding).invoke(main, arguments)
        assert result.exit_code == 0, result.exception
        assert "Usage" in result.stdout_bytes.decode(encoding)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_tables_lines_json_and_errors_print_in_every_encoding(server, encoding):
    model = models_pb2.Model(name=NAME, version=1, family="vae", height=2, width=2, palette=["#000000"])
    job = jobs_pb2.Job(
        id="7", model=types_pb2.ModelVersion(name=NAME), state="JOB_STATE_CANCELLED", reason=NAME, count=3
    )
    server.answers["ModelService/List"] = lambda request: models_pb2.ListModelsResponse(models=[model])
    server.answers["JobService/List"] = lambda request: jobs_pb2.ListJobsResponse(jobs=[job])
    server.answers["JobService/Get"] = lambda request: job
    server.answers["JobService/Watch"] = lambda request: iter([jobs_pb2.WatchResponse(job=job)])
    for arguments in (["models"], ["jobs"], ["jobs", "--json"], ["watch", "7"], ["watch", "7", "--json"]):
        result = CliRunner(charset=encoding).invoke(main, arguments, env={"SMALTI_SERVER": server.address})
        assert result.exit_code in (0, 1, 6), result.exception
        assert isinstance(result.exception, SystemExit | None)
        said = result.stdout_bytes.decode(encoding) + result.stderr_bytes.decode(encoding)
        assert said.strip()
        if arguments == ["jobs", "--json"]:
            assert json.loads(said)[0]["model"]["name"] == NAME
    refused = CliRunner(charset=encoding).invoke(main, [NAME])
    assert refused.exit_code == 2
    assert "No such command" in refused.stderr_bytes.decode(encoding)


def test_ascii_output_uses_similar_characters():
    result = CliRunner(charset="ascii").invoke(main, ["sweep", "--help"])
    assert "Default: -3" in result.stdout_bytes.decode("ascii")


def shell(line, *, server="localhost:1"):
    """Run a line in a shell; `smalti` in it is the command."""
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line.replace("smalti", COMMAND)],
        cwd=ROOT,
        env={**os.environ, "SMALTI_SERVER": server},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


FULL = "Error: Standard output cannot be written: No space left on device.\n"
CLOSED = "Error: Standard output cannot be written: Bad file descriptor.\n"


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("smalti models > /dev/full", 1, FULL),
        ("smalti draw toy -o - > /dev/full", 1, FULL),
        ("smalti --help >&-", 1, CLOSED),
        ("smalti models --json >&- 2>&-", 1, ""),
        ("smalti models > /dev/full 2> /dev/full", 1, ""),
        ("smalti delete 7 2> /dev/full", 0, ""),  # only a message to people is lost
        ("smalti nothing 2>&-", 2, ""),
        ("smalti models | true", 141, ""),
    ],
)
def test_a_stream_that_cannot_be_written_causes_no_traceback(server, line, code, said):
    server.answers["ModelService/List"] = lambda request: models_pb2.ListModelsResponse(
        models=[models_pb2.Model(name="toy", version=1)] * 5000
    )
    server.answers["ImageService/Draw"] = _a_drawing
    server.answers["JobService/Delete"] = lambda request: jobs_pb2.DeleteJobResponse()
    done = shell(line, server=server.address)
    assert (done.returncode, done.stderr) == (code, said)


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("smalti submit toy > /dev/full", 1, FULL),
        ("smalti submit toy --json >&-", 1, CLOSED),
        ("smalti submit toy | true", 141, ""),
    ],
)
def test_the_id_of_a_queued_job_goes_to_standard_error_if_standard_output_fails(server, line, code, said):
    job = jobs_pb2.Job(id="7", state="JOB_STATE_QUEUED", count=1)
    server.answers["JobService/Submit"] = lambda request: jobs_pb2.SubmitResponse(job=job)
    done = shell(line, server=server.address)
    assert (done.returncode, done.stderr) == (code, f"Job 7 is queued.\n{said}")


def _a_drawing(request):
    pixels = types_pb2.Pixels(height=2, width=2, indices=bytes(4))
    model = types_pb2.ModelVersion(name="toy", version=1)
    return images_pb2.DrawResponse(model=model, seed=4, images=[types_pb2.Image(pixels=pixels)])


@pytest.mark.parametrize("arguments", [["models"], ["draw", "toy", "-o", "x.png"], ["submit", "toy"]])
def test_ctrl_c_ends_a_waiting_command_quietly(server, tmp_path, arguments):
    asked, answer = threading.Event(), threading.Event()

    def wait(request):
        asked.set()
        answer.wait(30)
        return models_pb2.ListModelsResponse()

    for name in ("ModelService/List", "ImageService/Draw", "JobService/Submit"):
        server.answers[name] = wait
    command = [sys.executable, "-m", "smalti", *arguments, "--server", server.address]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert asked.wait(30)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=30)
    answer.set()
    assert (process.returncode, said) == (130, (b"", b""))
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_during_the_imports_is_quiet(tmp_path):
    (tmp_path / "grpc.py").write_text("print('importing', flush=True)\nimport time\ntime.sleep(30)\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    with subprocess.Popen(
        [sys.executable, "-m", "smalti", "models"],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=10)
    assert (process.returncode, said) == (130, ("", ""))
