import pytest

from server.oneshot import pace
from server.oneshot.pace import Pace

QUICK = pace.QUICK_SECONDS


def test_runs_are_quick_up_to_the_number_of_entries_that_the_time_allows():
    measured = Pace(one=QUICK / 10, many=QUICK, entries=10)
    assert [measured.is_quick(entries) for entries in (1, 10, 11)] == [True, True, False]


def test_a_batch_that_costs_no_more_than_one_entry_is_quick_as_it_is():
    assert Pace(one=QUICK / 2, many=QUICK / 3, entries=64).is_quick(1000)


def test_a_graph_that_was_measured_with_one_entry_only_takes_as_long_for_each():
    measured = Pace(one=QUICK / 2, many=QUICK / 2, entries=1)
    assert [measured.is_quick(entries) for entries in (2, 3)] == [True, False]


def test_after_a_slow_run_none_is_quick_for_a_while(monkeypatch: pytest.MonkeyPatch):
    now = 100.0
    monkeypatch.setattr(pace, "monotonic", lambda: now)
    measured = Pace(one=QUICK / 10, many=QUICK, entries=10)
    measured.note(QUICK)
    assert measured.is_quick(1)
    measured.note(0.5)
    assert not measured.is_quick(1)
    now += 10
    assert measured.is_quick(1)
