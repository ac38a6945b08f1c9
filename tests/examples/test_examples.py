"""The examples, run as users run them, with a real server, worker and Redis."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image as pillow

from local.ports import free_ports
from local.system import System

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def system():
    with System(free_ports(1), redis_url=None, say=print, log=print) as running:
        yield running


@pytest.fixture
def example(system, tmp_path):
    """Runs an example in a new folder and returns its output."""

    def run(name, model):
        program = [sys.executable, str(ROOT / "examples" / f"{name}.py"), model]
        settings = {**os.environ, "SMALTI_SERVER": system.address, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            program, cwd=tmp_path, env=settings, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def size_of(path):
    with pillow.open(path) as image:
        return image.size


def test_a_sheet_is_drawn(example, tmp_path):
    assert "16 images" in example("draw_sheet", "digits-vae")
    assert size_of(tmp_path / "sheet.png") == ((4 * 9 + 1) * 4,) * 2


def test_a_job_is_submitted_and_its_samples_are_written(example, tmp_path):
    said = example("submit_and_wait", "digits-pixel-rnn")
    assert "SUCCEEDED: 8 of 8" in said
    assert len(list((tmp_path / "samples").glob("*.png"))) == 8
    assert said.count(" nats") == 8


def test_completions_keep_the_upper_half_of_the_picture(example, tmp_path):
    example("complete_picture", "digits-pixel-rnn")
    with pillow.open(tmp_path / "completed.png") as sheet:
        halves = [
            sheet.crop((4 + 36 * place, 4, 4 + 36 * place + 32, 4 + 16)).tobytes() for place in range(4)
        ]
        wholes = {sheet.crop((4 + 36 * place, 4, 4 + 36 * place + 32, 36)).tobytes() for place in range(4)}
    assert len(set(halves)) == 1
    assert len(wholes) > 1


def test_two_latent_dimensions_are_swept(example, tmp_path):
    example("sweep_latent", "digits-vae")
    assert size_of(tmp_path / "sweep.png") == ((8 * 9 + 1) * 4,) * 2


def test_gan_evolution_draws_a_line_for_every_version(example, tmp_path):
    assert "4 versions" in example("gan_evolution", "sprites-gan-lecture")
    with pillow.open(tmp_path / "evolution.png") as sheet:
        left = sheet.width - (10 * 21 + 1) * 4
        rows = {sheet.crop((left, 84 * row, sheet.width, 84 * row + 84)).tobytes() for row in range(4)}
    assert sheet.height == (4 * 21 + 1) * 4
    assert len(rows) == 4


def test_many_requests_are_answered(example):
    assert "200 requests" in example("many_requests", "digits-vae")
