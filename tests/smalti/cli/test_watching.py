import io
import os
import signal
import subprocess
import sys
from threading import Event

import pytest
from PIL import Image as pillow
from rich.console import Console

from smalti.cli.progress import Pace, describe, progress_lines
from smalti.cli.terminal import Canvas, canvas_of
from smalti.cli.watching import CompletionView, LineView, LiveView, follow
from smalti.client import (
    Client,
    Image,
    Interrupted,
    Job,
    ModelVersion,
    SampleRows,
)
from smalti.jobs.job import JobState
from smalti.v1 import jobs_pb2, types_pb2

ONE = types_pb2.ModelVersion(name="toy", version=1)
PALETTE = ("#000000", "#ff0000")


def a_job(state=JobState.RUNNING, **fields):
    values = {
        "id": "7",
        "model": ModelVersion("toy", 1),
        "state": state,
        "count": 4,
        "seed": 0,
        "first_index": 0,
        "temperature": 1.0,
        "height": 2,
        "width": 2,
        "done": 0,
        "failed": 0,
        "running": 0,
        "created": None,
        "started": None,
        "ended": None,
        "expires": None,
        "reason": "",
    }
    return Job(**{**values, **fields})


def a_message(state, **fields):
    job = jobs_pb2.Job(id="7", model=ONE, count=2, height=2, width=2, state=f"JOB_STATE_{state}", **fields)
    return jobs_pb2.WatchResponse(job=job)


def a_console(*, terminal):
    return Console(
        file=io.StringIO(),
        force_terminal=terminal,
        color_system="truecolor",
        width=60,
        height=20,
        soft_wrap=True,
    )


def text_of(console):
    return console.file.getvalue()


def test_line_view_prints_each_new_state_but_not_each_sample():
    console = a_console(terminal=False)
    view = LineView(console)
    for event in (a_job(JobState.QUEUED), a_job(done=1), a_job(done=2), a_job(JobState.SUCCEEDED, done=4)):
        view.show(event)
    assert [line.split(":")[0] for line in text_of(console).splitlines()] == [
        "QUEUED",
        "RUNNING",
        "SUCCEEDED",
    ]


def test_line_view_says_why_a_job_waits():
    console = a_console(terminal=False)
    view = LineView(console)
    view.show(a_job(JobState.QUEUED, reason="NO_WORKER_FOR_MODEL"))
    view.show(Interrupted(message="No server.", retry_seconds=1))
    assert "no worker is running that draws this model" in text_of(console)
    assert "No server. Trying again." in text_of(console)


def test_the_description_counts_failed_samples():
    job = a_job(JobState.FAILED, done=3, failed=1)
    assert describe(job, Pace(job)) == "3 of 4 samples, 1 failed."


def test_a_job_is_followed_with_pictures_in_a_terminal(server):
    server.answers["JobService/Watch"] = lambda request: iter(
        [
            a_message("RUNNING"),
            jobs_pb2.WatchResponse(rows=jobs_pb2.SampleRows(index=0, indices=bytes([1, 1]))),
            jobs_pb2.WatchResponse(ended=jobs_pb2.SampleEnded(index=0, succeeded=True)),
            a_message("SUCCEEDED", done=2),
        ]
    )
    # The last row came with the end, so the watcher asks for the finished picture.
    finished = types_pb2.Image(pixels=types_pb2.Pixels(height=2, width=2, indices=bytes([1, 1, 2, 2])))
    server.answers["JobService/Get"] = lambda request: a_message("RUNNING").job
    server.answers["JobService/Results"] = lambda request: iter([jobs_pb2.SampleResult(image=finished)])
    console = a_console(terminal=True)
    with Client(server.address) as client:
        job = client.get_job("7")
        ended = follow(client, job, LiveView(client, job, console), patience_seconds=1)
    assert ended.state is JobState.SUCCEEDED
    last = text_of(console)[-1000:]
    assert "\x1b[38;2;255;0;0;48;2;0;255;0m▀▀" in last  # red above green: both rows
    assert "SUCCEEDED: 2 of 2 samples" in last


def a_view(console, *, hidden=False):
    original = Image(height=2, width=1, indices=bytes([1, 1]), palette=PALETTE)
    draws = [Canvas(2, 1, PALETTE), Canvas(2, 1, PALETTE)]
    return original, CompletionView(console, [canvas_of(original)], draws, title="bat", hidden=hidden)


RED, GREY = "255;0;0", "48;48;48"


def cell(upper, lower):
    return f"\x1b[38;2;{upper};48;2;{lower}m▀"


def test_draws_grow_beside_the_picture_they_complete():
    console = a_console(terminal=True)
    original, view = a_view(console)
    with view:
        view.show(a_job())
        view.show(SampleRows(index=1, first_row=0, indices=bytes([1])))
        view.finish([original] * 2)
    shown = text_of(console)
    assert "bat" in shown
    assert cell(RED, RED) in shown  # the original
    assert cell(GREY, GREY) in shown  # nothing drawn yet
    assert shown.rindex(cell(RED, RED)) > shown.rindex(cell(GREY, GREY))  # the finished draws come last


def test_without_a_terminal_a_completion_view_only_says_what_it_waits_for():
    console = a_console(terminal=False)
    original, view = a_view(console)
    with view:
        for _ in range(2):
            view.show(a_job(JobState.QUEUED, reason="NO_WORKER_FOR_MODEL"))
        view.finish([original] * 2)
    assert text_of(console) == "Waiting: no worker is running that draws this model.\n"
    assert not view.wants_rows


@pytest.fixture
def endless_watch(server):
    """A job that runs until the test is over."""
    over = Event()

    def watch(request):
        yield a_message("RUNNING", reason="NO_WORKER_FOR_MODEL")
        over.wait(60)

    server.answers["JobService/Get"] = lambda request: a_message("RUNNING").job
    server.answers["JobService/Watch"] = watch
    yield
    over.set()


@pytest.mark.usefixtures("endless_watch")
def test_ctrl_c_stops_watching_and_leaves_the_job_alone(server):
    watcher = subprocess.Popen(
        [sys.executable, "-m", "smalti.cli.main", "watch", "7"],
        env={**os.environ, "SMALTI_SERVER": server.address},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert watcher.stderr is not None
    assert "RUNNING" in watcher.stderr.readline()
    watcher.send_signal(signal.SIGINT)
    _, said = watcher.communicate(timeout=20)
    assert watcher.returncode == 130
    assert "job 7 goes on" in said
    assert {type(request).__name__ for request in server.requests} == {"GetJobRequest", "WatchRequest"}


@pytest.mark.usefixtures("endless_watch")
def test_ctrl_c_while_completing_cancels_unfinished_draws(server, tmp_path):
    server.answers["JobService/Submit"] = lambda request: jobs_pb2.SubmitResponse(job=a_message("QUEUED").job)
    server.answers["JobService/Cancel"] = lambda request: a_message("CANCELLED").job
    server.answers["JobService/Delete"] = lambda request: jobs_pb2.DeleteJobResponse()
    pillow.new("RGB", (2, 2)).save(tmp_path / "x.png")
    completer = subprocess.Popen(
        [sys.executable, "-m", "smalti.cli.main", "complete", "toy", "x.png", "-o", "y.png"],
        cwd=tmp_path,
        env={**os.environ, "SMALTI_SERVER": server.address, "PYTHONPATH": os.getcwd()},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert completer.stderr is not None
    assert "Waiting" in completer.stderr.readline()
    completer.send_signal(signal.SIGINT)
    _, said = completer.communicate(timeout=20)
    assert (completer.returncode, said) == (130, "\nStopped; all unfinished draws are cancelled.\n")
    assert [type(request).__name__ for request in server.requests[-2:]] == [
        "CancelJobRequest",
        "DeleteJobRequest",
    ]
    assert not (tmp_path / "y.png").exists()


@pytest.mark.parametrize("reason", ["NO_WORKER_FOR_MODEL", "MODEL_REPLACED"])
def test_a_job_that_nobody_can_draw_has_no_estimate_of_its_end(reason):
    pace = Pace(a_job(done=0))
    said = describe(a_job(done=2, reason=reason), pace)
    assert said.startswith("2 of 4 samples, ")
    assert "samples/s" not in said
    assert " s left" not in said
    assert " s left" in describe(a_job(done=2), pace)


def test_the_last_line_is_complete_in_a_narrow_terminal():
    ended = a_job(JobState.FAILED, done=3, failed=1)
    console = Console(file=io.StringIO(), force_terminal=True, width=20)
    console.print(progress_lines(ended, Pace(ended)))
    assert "1 failed." in " ".join(text_of(console).split())
    assert "…" not in text_of(console)
