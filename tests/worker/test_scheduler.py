"""Samples get slots in the order of their claims, interactive ones before others, and models take turns."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smalti.jobs.job import JobClass, Released
from smalti.runtime.repository import ModelRepository
from tests.toy_model import Toy, write_toy_model
from tests.worker.story import a_claim, a_request
from worker.plan import plan
from worker.sample import Row, Sample
from worker.scheduler import Scheduler, Tick

Make = Callable[..., Sample]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Make:
    root: Path = tmp_path_factory.mktemp("models")
    write_toy_model(root, Toy())
    manifest = ModelRepository(root).load("toy-pixel-rnn").manifest

    def make(
        index: int = 0, *, digest: str = "a", rows_left: int = 6, job_class: JobClass = JobClass.STANDARD
    ) -> Sample:
        claim = a_claim(a_request(manifest, job_class=job_class), index)
        drawn = Sample(replace(claim, request=replace(claim.request, digest=digest)), plan(claim, manifest))
        drawn.row = manifest.height - rows_left
        return drawn

    return make


def in_slots(tick: Tick | None) -> dict[int, Sample]:
    return {lane.slot: sample for lane, sample in zip(tick.lanes, tick.samples, strict=True)} if tick else {}


def a_row(sample: Sample) -> Row:
    columns = sample.claim.request.columns
    return Row(np.zeros(columns, dtype=np.int64), np.zeros(columns, dtype=np.float32))


def test_samples_fill_the_lowest_slots_in_order_and_the_rest_waits(sample: Make) -> None:
    scheduler = Scheduler(2)
    samples = [sample(index) for index in range(3)]
    scheduler.enqueue(samples)
    assert in_slots(scheduler.next_tick()) == {0: samples[0], 1: samples[1]}


def test_every_tick_hands_out_the_next_row(sample: Make) -> None:
    scheduler = Scheduler(1)
    scheduler.enqueue([sample()])
    ticks = [scheduler.next_tick() for _ in range(7)]
    assert [tick.lanes[0].row for tick in ticks if tick] == [0, 1, 2, 3, 4, 5]
    assert ticks[6] is None


def test_the_next_sample_gets_a_slot_right_after_the_last_row(sample: Make) -> None:
    scheduler = Scheduler(2)
    first, second, third = sample(0, rows_left=1), sample(1, rows_left=3), sample(2)
    scheduler.enqueue([first, second, third])
    assert in_slots(scheduler.next_tick()) == {0: first, 1: second}
    assert in_slots(scheduler.next_tick()) == {0: third, 1: second}


def test_the_slot_of_a_lost_sample_is_filled_before_the_next_tick(sample: Make) -> None:
    scheduler = Scheduler(2)
    samples = [sample(index) for index in range(3)]
    scheduler.enqueue(samples)
    scheduler.next_tick()
    scheduler.release([samples[0]])
    assert in_slots(scheduler.next_tick()) == {0: samples[2], 1: samples[1]}


def test_models_take_turns_and_keep_their_slots(sample: Make) -> None:
    scheduler = Scheduler(3)
    scheduler.enqueue([sample(0, digest="a"), sample(1, digest="b"), sample(2, digest="a")])
    turns = [scheduler.next_tick() for _ in range(4)]
    assert [tick.digest for tick in turns if tick] == ["a", "b", "a", "b"]
    assert [sorted(in_slots(tick)) for tick in turns] == [[0, 2], [1], [0, 2], [1]]


def test_new_models_get_a_turn_before_the_first_one_gets_another(sample: Make) -> None:
    scheduler = Scheduler(3)
    scheduler.enqueue([sample(0, digest="b")])
    scheduler.next_tick()
    scheduler.enqueue([sample(1, digest="a"), sample(2, digest="c")])
    turns = [scheduler.next_tick() for _ in range(3)]
    assert sorted(tick.digest for tick in turns if tick) == ["a", "b", "c"]


def test_without_samples_there_is_no_tick(sample: Make) -> None:
    scheduler = Scheduler(2)
    gone = sample()
    scheduler.enqueue([gone])
    scheduler.release([gone])  # given one that was lost while it waited
    assert scheduler.next_tick() is None


def test_there_is_room_for_new_samples_while_last_rows_are_drawn(sample: Make) -> None:
    scheduler = Scheduler(4)
    scheduler.enqueue([sample(0, rows_left=1), sample(1, rows_left=2)])
    assert scheduler.room == 2
    scheduler.next_tick()
    assert scheduler.room == 3
    scheduler.enqueue([sample(2)])
    assert scheduler.room == 2


def interactive(sample: Make, index: int = 100, **changes: Any) -> Sample:
    return sample(index, job_class=JobClass.INTERACTIVE, **changes)


def test_a_waiting_interactive_sample_gets_a_free_slot_before_standard_ones(sample: Make) -> None:
    scheduler = Scheduler(1)
    first, second, hurried = sample(0, rows_left=1), sample(1), interactive(sample)
    scheduler.enqueue([first, second, hurried])
    assert in_slots(scheduler.next_tick()) == {0: hurried}


def test_the_standard_sample_with_the_fewest_rows_makes_way(sample: Make) -> None:
    scheduler = Scheduler(3, interactive_slots=1)
    samples = [sample(0, rows_left=1), sample(1, rows_left=5), sample(2, rows_left=3)]
    scheduler.enqueue(samples)
    hurried = interactive(sample)
    scheduler.enqueue([hurried])
    assert in_slots(scheduler.next_tick())[0] is hurried  # the others had not begun, so none had to make way
    fuller = Scheduler(3, interactive_slots=1)
    samples = [sample(0, rows_left=4), sample(1, rows_left=6), sample(2, rows_left=5)]
    fuller.enqueue(samples)
    fuller.next_tick()
    fuller.enqueue([hurried := interactive(sample)])
    assert in_slots(fuller.next_tick()) == {0: samples[0], 1: hurried, 2: samples[2]}


def test_batch_samples_make_way_before_standard_ones(sample: Make) -> None:
    scheduler = Scheduler(2, interactive_slots=1)
    batch, standard = sample(0, rows_left=3, job_class=JobClass.BATCH), sample(1, rows_left=6)
    scheduler.enqueue([batch, standard])
    scheduler.next_tick()
    scheduler.enqueue([hurried := interactive(sample)])
    assert in_slots(scheduler.next_tick()) == {0: hurried, 1: standard}  # although that has fewer rows


def test_a_standard_sample_keeps_its_slot_until_its_class_has_had_its_share(sample: Make) -> None:
    scheduler = Scheduler(1, interactive_slots=1)
    scheduler.enqueue([interactive(sample, rows_left=6)])
    for _ in range(6):
        scheduler.next_tick()  # given an interactive sample that is drawn
    scheduler.enqueue([sample()])
    rooms = []
    for _ in range(3):
        scheduler.next_tick()
        rooms.append(scheduler.interactive_room)
    assert rooms == [0, 1, 1]  # a quarter of six rows


def test_a_sample_makes_way_after_its_scheduled_rows_are_drawn(sample: Make) -> None:
    scheduler = Scheduler(1, interactive_slots=1)
    moved = sample()
    scheduler.enqueue([moved])
    assert scheduler.next_tick() is not None
    scheduler.enqueue([interactive(sample)])
    scheduler.next_tick()
    assert (moved.outcome, moved.rows_left) == (None, 0)  # its row is under way
    moved.append(a_row(moved))
    assert isinstance(moved.outcome, Released)
    assert len(moved.progress().pixels) == moved.claim.request.row_bytes


def test_only_standard_samples_make_way_and_only_in_the_interactive_share(sample: Make) -> None:
    scheduler = Scheduler(4, interactive_slots=2)
    standard = [sample(index) for index in range(4)]
    scheduler.enqueue(standard)
    scheduler.next_tick()
    assert scheduler.interactive_room == 2
    hurried = [interactive(sample, 100 + index) for index in range(3)]
    scheduler.enqueue(hurried)
    drawn = in_slots(scheduler.next_tick()).values()
    assert [one for one in hurried if one in drawn] == hurried[:2]
    assert len([one for one in standard if one in drawn]) == 2
    assert scheduler.interactive_room == 0


def test_a_tick_that_is_taken_back_is_handed_out_again_with_new_samples(sample: Make) -> None:
    scheduler = Scheduler(3, interactive_slots=1)
    samples = [sample(0, rows_left=1), sample(1, rows_left=2), sample(2, rows_left=6)]
    scheduler.enqueue(samples)
    scheduler.next_tick()
    tick = scheduler.next_tick()  # samples 1 and 2; it contains the last row of 1
    assert tick is not None
    scheduler.take_back(tick)
    scheduler.enqueue([hurried := interactive(sample), waiting := sample(3)])
    again = scheduler.next_tick()
    assert again is not None
    assert in_slots(again) == {0: hurried, 1: samples[1], 2: samples[2]}
    assert [lane.row for lane in again.lanes] == [0, *(lane.row for lane in tick.lanes)]
    assert in_slots(scheduler.next_tick()) == {0: hurried, 1: waiting, 2: samples[2]}


def test_a_sample_that_failed_before_its_tick_was_taken_back_gets_no_slot_again(sample: Make) -> None:
    scheduler = Scheduler(1)
    failed = sample(rows_left=2)
    scheduler.enqueue([failed])
    scheduler.next_tick()
    tick = scheduler.next_tick()
    assert tick is not None
    failed.fail("no")
    scheduler.release([failed])
    scheduler.take_back(tick)
    assert scheduler.next_tick() is None
    assert scheduler.room == 1


def test_the_model_of_an_interactive_sample_is_next(sample: Make) -> None:
    scheduler = Scheduler(4, interactive_slots=2)
    scheduler.enqueue([sample(0, digest="a"), sample(1, digest="b"), sample(2, digest="c")])
    ticks = [scheduler.next_tick(), scheduler.next_tick()]
    scheduler.enqueue([interactive(sample, digest="a")])
    ticks += [scheduler.next_tick() for _ in range(3)]
    assert [tick.digest for tick in ticks if tick] == ["a", "b", "a", "c", "b"]


def test_interactive_samples_leave_other_models_every_second_tick(sample: Make) -> None:
    scheduler = Scheduler(8, interactive_slots=7)
    scheduler.enqueue([sample(0, digest="b")])
    turns = []
    for index in range(6):
        scheduler.enqueue([interactive(sample, 100 + index, digest="a", rows_left=6)])
        tick = scheduler.next_tick()
        turns.append(tick.digest if tick else "")
    assert turns.count("b") >= 2


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(1, 5), st.lists(st.tuples(st.integers(1, 4), st.sampled_from("ab")), max_size=20), st.data()
)
def test_every_sample_is_drawn_to_its_end_in_one_slot(
    sample: Make, slots: int, arrivals: list[tuple[int, str]], data: st.DataObject
) -> None:
    scheduler = Scheduler(slots)
    coming = [sample(index, rows_left=rows, digest=digest) for index, (rows, digest) in enumerate(arrivals)]
    everything = list(coming)
    places: dict[int, int] = {}
    while coming or scheduler.room < slots:
        room = min(len(coming), max(0, scheduler.room))
        some = data.draw(st.integers(min(1, room), room), label="claimed")
        scheduler.enqueue(coming[:some])
        coming = coming[some:]
        drawn = in_slots(scheduler.next_tick())
        assert 1 <= len(drawn) <= slots
        for slot, one in drawn.items():
            assert places.setdefault(id(one), slot) == slot
    assert [one.rows_left for one in everything] == [0] * len(everything)
