"""The command `smalti` as a process: its files, its output and its exit code."""

import json
import subprocess
import sys
from dataclasses import dataclass

import pytest
from PIL import Image as pillow

from local.ports import free_ports
from smalti.client import Completion
from tests.system.cluster import ROOT
from tests.system.conftest import DIGITS


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def smalti(calm):
    """Runs the command against the calm cluster, or another `server`."""

    def run(*arguments, server=calm.address):
        command = [sys.executable, "-m", "smalti.cli.main", *map(str, arguments), "--server", server]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert "Traceback" not in done.stderr, done.stderr
        return Outcome(done.returncode, done.stdout.strip(), done.stderr.strip())

    return run


@pytest.fixture
def no_server():
    return f"127.0.0.1:{free_ports(workers=0).server}"


def assert_refused(outcome, code, *words):
    """One sentence on standard error, and nothing on standard output."""
    assert (outcome.code, outcome.out) == (code, ""), outcome
    assert len(outcome.err.splitlines()) == 1
    assert outcome.err.startswith("Error: ")
    assert outcome.err.endswith(".")
    assert all(word in outcome.err for word in words), outcome.err


def test_submit_watch_and_results_give_a_png_for_each_sample(smalti, calm, undisturbed, tmp_path):
    expected = undisturbed(DIGITS, count=6)
    submitted = smalti("submit", DIGITS, "--count", 6, "--seed", 7, "--watch")
    assert submitted.code == 0, submitted
    assert "SUCCEEDED" in submitted.err
    job = submitted.out
    written = smalti("results", job, "-o", tmp_path / "out")
    assert (written.code, "6 of 6" in written.err) == (0, True)
    palette = calm.client.model(DIGITS).model.palette
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{i:05d}.png" for i in range(6)]
    for index, indices in expected.items():
        with pillow.open(tmp_path / "out" / f"{index:05d}.png") as image:
            assert (image.format, image.size) == ("PNG", (8, 8))
            colours = image.convert("RGB").tobytes()
        assert colours == b"".join(bytes.fromhex(palette[pixel][1:]) for pixel in indices)


def test_a_job_can_be_watched_listed_and_deleted_as_json(smalti):
    job = json.loads(smalti("submit", DIGITS, "--json").out)["id"]
    events = [json.loads(line) for line in smalti("watch", job, "--json").out.splitlines()]
    assert events[-1]["job"]["state"] == "SUCCEEDED"
    assert job in [listed["id"] for listed in json.loads(smalti("jobs", "--json").out)]
    assert smalti("delete", job).code == 0
    assert_refused(smalti("watch", job), 3, job)


def test_watching_a_cancelled_job_exits_with_6(smalti, calm):
    job = calm.submit(DIGITS, count=100_000)
    assert smalti("cancel", job.id).code == 0
    watched = smalti("watch", job.id)
    assert watched.code == 6
    assert "cancelled" in watched.err


def test_a_job_is_found_by_its_label_paused_resumed_and_waited_for(smalti):
    job = smalti("submit", DIGITS, "--count", 1500, "--label", "run=paused").out
    assert smalti("pause", job).code == 0
    paused = json.loads(smalti("jobs", "--label", "run=paused", "--state", "paused", "--json").out)
    assert [found["id"] for found in paused] == [job]
    assert smalti("wait", job, "--timeout", 0.3).code == 8
    assert smalti("resume", job).code == 0
    waited = smalti("wait", job)
    assert (waited.code, waited.out) == (0, f"{job} SUCCEEDED 1500/1500")


def test_a_job_past_its_deadline_ends_with_7_and_its_results_can_be_read(smalti, tmp_path):
    job = smalti("submit", DIGITS, "--count", 100_000, "--deadline", 2).out
    waited = smalti("wait", job)
    assert (waited.code, "DEADLINE_EXCEEDED" in waited.out) == (7, True)
    written = smalti("results", job, "--limit", 5, "-o", tmp_path / "out")
    assert (written.code, "Wrote 5 of 100000 samples" in written.err) == (0, True)


def test_half_a_picture_is_completed_into_a_file(smalti, tmp_path):
    half, whole = tmp_path / "half.png", tmp_path / "whole.png"
    pillow.new("RGB", (8, 8), "#505050").save(half)
    completed = smalti("complete", DIGITS, half, "--rows", 4, "--seed", 1, "--scale", 1, "-o", whole)
    assert completed.code == 0, completed
    with pillow.open(half) as given, pillow.open(whole) as image:
        top = (0, 0, 8, 4)
        assert image.convert("RGB").crop(top).tobytes() == given.crop(top).tobytes()
        assert image.convert("RGB").tobytes() != given.tobytes()


def test_complete_draws_what_a_job_with_the_same_seed_draws_and_leaves_no_job(smalti, calm, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, colour in (("dark", "#202020"), ("light", "#d0d0d0")):
        pillow.new("RGB", (8, 8), colour).save(folder / f"{name}.png")
    before = {job.id for job in calm.client.jobs()}
    completed = smalti(
        "complete", DIGITS, folder, "--hidden", 0.75, "--draws", 3, "--seed", 2, "-o", tmp_path / "out"
    )
    assert completed.code == 0, completed
    assert {job.id for job in calm.client.jobs()} <= before
    kept = Completion(image=folder / "light.png", rows=2)
    job = calm.client.submit(DIGITS, count=3, seed=2, first_index=3, completion=kept)
    assert [*calm.client.watch(job.id)][-1].state == "SUCCEEDED"
    for result in calm.client.results(job.id):
        with pillow.open(tmp_path / "out" / f"light-{3 + result.index:05d}.png") as image:
            assert image.convert("RGB").tobytes() == result.image.picture().convert("RGB").tobytes()


def test_one_shot_images_are_written_as_a_sheet(smalti, tmp_path):
    assert smalti("draw", "digits-vae", "--count", 4, "-o", tmp_path / "sheet.png").code == 0
    with pillow.open(tmp_path / "sheet.png") as sheet:
        assert sheet.format == "PNG"


def test_an_unknown_model_is_one_sentence_and_exit_code_3(smalti):
    assert_refused(smalti("submit", "sprites-of-mars"), 3, "sprites-of-mars")


def test_an_unknown_job_is_one_sentence_and_exit_code_3(smalti):
    assert_refused(smalti("results", "nosuchjob", "-o", "x"), 3, "nosuchjob")


def test_a_bad_image_is_one_sentence_and_exit_code_2(smalti, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n no picture")
    assert_refused(smalti("complete", DIGITS, tmp_path / "bad.png", "--rows", 2, "-o", tmp_path / "x.png"), 2)


def test_an_image_of_another_size_is_one_sentence_and_exit_code_2(smalti, tmp_path):
    pillow.new("RGB", (9, 7)).save(tmp_path / "other.png")
    refused = smalti("complete", DIGITS, tmp_path / "other.png", "--rows", 2, "-o", tmp_path / "x.png")
    assert_refused(refused, 2, "8×8")


@pytest.mark.parametrize("command", [["models"], ["submit", DIGITS, "--patience", 0], ["jobs"]])
def test_a_server_that_is_away_is_one_sentence_and_exit_code_4(smalti, no_server, command):
    assert_refused(smalti(*command, server=no_server), 4, no_server)
