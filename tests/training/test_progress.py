"""The progress of a training: a bar in a terminal, plain lines elsewhere."""

import io

from rich.console import Console

from training.checkpoint import Point
from training.progress import Display, Stages


def shown(*, terminal):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=200, highlight=False)
    with Display(console, unit="nats/image", steps=4, done=0) as display:
        for step in range(1, 5):
            display.stepped(step, 700.0 - step)
        display.validated(Point(4, 650.0, 640.0), better=True)
    return stream.getvalue()


def test_without_a_terminal_progress_is_plain_lines():
    assert shown(terminal=False).strip() == "step 4/4: train 650.0, valid 640.0 (best) nats/image, 0:00 left"


def test_in_a_terminal_a_bar_shows_figure_and_steps():
    output = shown(terminal=True)
    assert "nats/image" in output
    assert "4/4" in output


def test_without_a_terminal_each_stage_is_one_line_on_standard_error(capsys):
    with Stages() as stages:
        stages.say("reading [x]")
        stages.say("writing")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "[0:00] reading [x]\n[0:00] writing\n")
