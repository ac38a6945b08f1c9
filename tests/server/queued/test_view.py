"""What a watcher has not seen of a job: nothing is missed or repeated, and nothing is kept for those who are slow."""

from collections.abc import Iterator
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from server.queued.view import COMPLETED_AT_ONCE, JobEvent, JobView, SampleEnd, Seen
from smalti.jobs.job import Job, JobState, SampleRows
from tests.smalti.jobs.story import COLUMNS, ROWS, request_for, rows_of

RUNNING = Job(id="job", request=request_for(count=4), state=JobState.RUNNING, created=1.0)
ENDED = replace(RUNNING, state=JobState.SUCCEEDED)


def rows(index: int, first: int, last: int) -> SampleRows:
    return SampleRows(index=index, first_row=first, pixels=rows_of(index, first, last))


def look(view: JobView, seen: Seen, **given) -> list[JobEvent]:
    return list(view.unseen(seen, **{"rows": True} | given))


def test_news_are_rows_then_the_end_then_the_job():
    view, seen = JobView(RUNNING), Seen(RUNNING)
    view.add_rows([rows(0, 0, 2)])
    assert look(view, seen) == [rows(0, 0, 2)]
    view.add_ends([SampleEnd(0, True)])
    view.add_complete({0: rows_of(0, 0, ROWS)})
    view.set_job(replace(RUNNING, done=1))
    assert look(view, seen) == [rows(0, 2, ROWS), SampleEnd(0, True), replace(RUNNING, done=1)]
    assert look(view, seen) == []


def test_a_watcher_who_comes_late_gets_all_rows_of_samples_in_progress():
    view = JobView(RUNNING)
    view.add_rows([rows(2, 0, 1)])
    view.add_rows([rows(2, 1, 3)])
    assert look(view, Seen(RUNNING)) == [rows(2, 0, 3)]


def test_a_watcher_without_rows_gets_ends_and_the_job_alone():
    view, seen = JobView(RUNNING), Seen(RUNNING)
    view.add_rows([rows(1, 0, 3)])
    view.add_ends([SampleEnd(0, False)])
    assert look(view, seen, rows=False) == [SampleEnd(0, False)]


def test_the_ended_job_comes_even_if_it_was_seen_as_ended():
    assert look(JobView(ENDED), Seen(ENDED)) == [ENDED]


def test_rows_of_a_sample_that_ended_while_its_watcher_sent_something_else_come_once():
    view, seen = JobView(RUNNING), Seen(RUNNING)
    view.add_rows([rows(0, 0, 1), rows(1, 0, 1)])
    news = view.unseen(seen, rows=True)
    assert next(news) == rows(0, 0, 1)
    view.add_ends([SampleEnd(1, True)])  # while the first event was on its way
    view.add_complete({1: rows_of(1, 0, ROWS)})
    assert [*news] == []
    assert look(view, seen) == [rows(1, 0, ROWS), SampleEnd(1, True)]


def test_last_rows_are_left_out_when_very_many_samples_ended_at_once():
    view, many = JobView(RUNNING), [SampleEnd(index, True) for index in range(COMPLETED_AT_ONCE + 1)]
    assert view.incomplete(many) == []
    assert len(view.incomplete(many[:-1])) == COMPLETED_AT_ONCE
    view.add_ends(many)
    view.add_complete(dict.fromkeys(range(COMPLETED_AT_ONCE), b"image"))
    assert look(view, Seen(RUNNING)) == many


def test_the_pixels_of_samples_that_ended_long_ago_are_forgotten():
    view = JobView(RUNNING)
    for index in range(3 * COMPLETED_AT_ONCE):
        end = SampleEnd(index, True)
        assert view.incomplete([end]) == [index]
        view.add_ends([end])
        view.add_complete({index: rows_of(index, 0, ROWS)})
    assert len(view._complete) == COMPLETED_AT_ONCE


def test_pixels_are_forgotten_when_nobody_wants_rows_and_read_again_when_somebody_does():
    view = JobView(RUNNING)
    view.add_rows([rows(1, 0, 1)])
    view.add_ends([SampleEnd(0, True)])
    view.add_complete({0: rows_of(0, 0, ROWS)})
    view.forget_rows()
    assert (view.row_counts, view.incomplete([])) == ({}, [0])


@given(st.lists(st.sampled_from(["draw", "end", "look", "slow look"]), max_size=60))
def test_whatever_happens_in_between_each_row_comes_once_and_each_end_after_its_rows(steps):
    view, seen = JobView(RUNNING), Seen(RUNNING)
    events: list[JobEvent] = []
    left: Iterator[JobEvent] = iter(())
    drawn = sample = 0
    for step in steps:
        if step == "draw" and drawn < ROWS:
            view.add_rows([rows(sample, drawn, drawn + 1)])
            drawn += 1
        elif step == "end":
            view.add_ends([SampleEnd(sample, True)])
            view.add_complete({sample: rows_of(sample, 0, ROWS)})
            sample, drawn = sample + 1, 0
        elif step == "look":
            events += [*left, *look(view, seen)]
        elif step == "slow look":  # takes one event, and the rest later
            events += [*left]
            left = view.unseen(seen, rows=True)
            events += [event for event in [next(left, None)] if event]
    view.set_job(ENDED)
    events += [*left, *look(view, seen)]
    images: dict[int, bytes] = {}
    for event in events[:-1]:
        if isinstance(event, SampleRows):
            assert len(images.get(event.index, b"")) == event.first_row * COLUMNS
            images[event.index] = images.get(event.index, b"") + event.pixels
        elif isinstance(event, SampleEnd):
            assert images[event.index] == rows_of(event.index, 0, ROWS)
    assert [event.index for event in events if isinstance(event, SampleEnd)] == list(range(sample))
    assert events[-1] == ENDED
