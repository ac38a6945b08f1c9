"""Rates of a running system come from its counters before and after some work."""

from types import SimpleNamespace
from typing import Any

import click
import pytest

from benchmarks import running_system
from benchmarks.running_system import RunningSystem


@pytest.fixture
def counted(monkeypatch):
    """A system with one worker of four slots; its counters are read from a list."""
    nothing: Any = None
    system: Any = SimpleNamespace(pids={"server": 1, "worker": 2})
    counts: list[running_system._Counts] = []
    monkeypatch.setattr(running_system._Counts, "of", lambda running, model: counts.pop(0))
    return RunningSystem(system, client=nothing, redis=nothing, redis_url="", slots=4), counts


def test_occupancy_is_the_share_of_slots_that_ticks_filled(counted):
    running, counts = counted
    before = running_system._Counts(samples=1, rows=10, ticks=5, tick_seconds=1.0, redis_seconds=0.5)
    counts += [before, before._replace(samples=9, rows=40, ticks=15)]
    figures = running.drawing("a-model", lambda: None)
    assert figures["occupancy"] == (40 - 10) / (15 - 5) / 4
    assert figures["samples_per_second"] > 0


def test_a_rate_without_a_tick_is_an_error(counted):
    running, counts = counted
    same = running_system._Counts(samples=9, rows=40, ticks=15, tick_seconds=1.0, redis_seconds=0.5)
    counts += [same, same]
    with pytest.raises(click.ClickException, match="No row of a-model was drawn"):
        running.drawing("a-model", lambda: None)
