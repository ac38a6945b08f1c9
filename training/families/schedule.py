"""How a number of the training changes on the way: functions of the progress, which runs from 0 to 1."""

import math


def one_cycle(progress: float, warm_up: float) -> float:
    """The part of the highest learning rate: straight up, then down along a cosine (Smith, 2018)."""
    if progress < warm_up:
        return 0.05 + 0.95 * progress / warm_up
    return 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))


def ramp(progress: float, until: float) -> float:
    """From 0 straight up to 1, which is reached at `until`."""
    return min(1.0, progress / until) if until else 1.0
