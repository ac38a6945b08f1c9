"""Schedules of training settings, as functions of the progress, which runs from 0 to 1."""

import math


def one_cycle(progress: float, warm_up: float) -> float:
    """The factor of the highest learning rate: it rises linearly, then falls along a cosine (Smith, 2018)."""
    if progress < warm_up:
        return 0.05 + 0.95 * progress / warm_up
    return 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))


def ramp(progress: float, until: float) -> float:
    """Rises linearly from 0 to 1, which is reached at `until`."""
    return min(1.0, progress / until) if until else 1.0
