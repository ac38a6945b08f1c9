"""`python -m tests.system.deadly_worker SEED INDEX ROW`: a real worker that crashes at one row of one sample."""

import os
import sys
from collections.abc import Sequence

import numpy as np

from smalti.errors import SampleFailed
from smalti.randomness import uniforms
from worker.__main__ import main
from worker.runner import Runner
from worker.sample import Lane, Row

seed, index, deadly_row = (int(argument) for argument in sys.argv[1:])
draw_row = Runner.draw_row


def draw_or_die(self: Runner, lanes: Sequence[Lane]) -> Sequence[Row | SampleFailed]:
    """Crash without an exception, as a bug in a native library would."""
    for lane in lanes:
        width = len(lane.uniform)
        if lane.row == deadly_row and np.array_equal(
            lane.uniform, uniforms(seed, index, lane.row * width, width)
        ):
            os._exit(1)
    return draw_row(self, lanes)


Runner.draw_row = draw_or_die  # type: ignore[method-assign]
main(args=[])  # the arguments are this module's own
