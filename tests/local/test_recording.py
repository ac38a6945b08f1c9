"""A command is recorded in a real terminal, and its frames become an animated GIF."""

import sys
from io import BytesIO

import pytest
from PIL import Image, ImageSequence

from local.recording import Burst, gif, play, record
from smalti.errors import SmaltiError

RED, GREEN, BACKGROUND = (255, 0, 0), (0, 255, 0), (13, 17, 23)
HALF_BLOCK = b"\x1b[38;2;255;0;0;48;2;0;255;0m\xe2\x96\x80\x1b[0m"  # red above green


def run(program):
    return record([sys.executable, "-c", program], settings={})


def test_a_recorded_command_has_a_terminal_with_colours_and_the_frames_size():
    program = "import os, sys; print(sys.stdout.isatty(), *os.get_terminal_size(), os.environ['COLORTERM'])"
    said = b"".join(burst.data for burst in run(program))
    assert said == b"True 86 27 truecolor\r\n"


def test_output_that_comes_later_is_a_burst_of_its_own():
    bursts = run("import time; print('one', 'two', flush=True); time.sleep(0.3); print('three')")
    assert [burst.data for burst in bursts] == [b"one two\r\n", b"three\r\n"]
    assert bursts[1].seconds - bursts[0].seconds >= 0.25


def test_a_command_that_fails_is_not_recorded():
    with pytest.raises(SmaltiError, match="ended with exit code 3: no server"):
        run("import sys; print('no server'); sys.exit(3)")


def test_a_frame_shows_the_two_pixels_of_a_half_block():
    *_, frame, last = play("", [Burst(0.0, HALF_BLOCK + b"\x1b[?25l"), Burst(1.0, b"")])
    left, line = 16, 16 + 20  # the margin, and the line with the command
    assert frame.picture.getpixel((left, line)) == RED
    assert frame.picture.getpixel((left + 9, line + 9)) == RED
    assert frame.picture.getpixel((left, line + 10)) == GREEN
    assert frame.picture.getpixel((left + 10, line)) == BACKGROUND
    assert last.seconds >= 3


def test_a_recording_starts_with_the_command_being_typed_and_keeps_its_pace():
    frames = list(play("ls", [Burst(5.0, b"a"), Burst(5.5, b"b"), Burst(5.7, b"c")]))
    typed, drawn = frames[:3], frames[3:]
    assert len({frame.picture.tobytes() for frame in typed[:2]}) == 2
    assert [round(frame.seconds, 2) for frame in drawn[:2]] == [0.5, 0.2]


def test_a_gif_repeats_for_ever_with_the_exact_colours_and_times_of_its_frames():
    frames = list(play("ls", [Burst(0.0, HALF_BLOCK), Burst(0.5, b"\r\n" + HALF_BLOCK)]))
    with Image.open(BytesIO(gif(frames))) as animation:
        assert animation.info["loop"] == 0
        total = sum(frame.info["duration"] for frame in ImageSequence.Iterator(animation))
        assert animation.convert("RGB").tobytes() == frames[-1].picture.tobytes()
    assert total == pytest.approx(1000 * sum(frame.seconds for frame in frames), abs=60)
