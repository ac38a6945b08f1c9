"""Samples get slots in the order of their claims, and models take turns."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smalti.repository import ModelRepository
from tests.toy_model import Toy, write_toy_model
from tests.worker.story import a_claim, a_request
from worker.admission import plan
from worker.scheduler import Scheduler, Tick
from worker.slot import Sample

Make = Callable[..., Sample]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Make:
    root: Path = tmp_path_factory.mktemp("models")
    write_toy_model(root, Toy())
    manifest = ModelRepository(root).load("toy-pixel-rnn").manifest

    def make(index: int = 0, *, digest: str = "a", rows_left: int = 6) -> Sample:
        claim = a_claim(a_request(manifest), index)
        drawn = Sample(replace(claim, request=replace(claim.request, digest=digest)), plan(claim, manifest))
        drawn.row = manifest.height - rows_left
        return drawn

    return make


def in_slots(tick: Tick | None) -> dict[int, Sample]:
    return {lane.slot: sample for lane, sample in zip(tick.lanes, tick.samples, strict=True)} if tick else {}


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


def test_a_successor_has_the_slot_right_after_the_last_row(sample: Make) -> None:
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


def test_a_model_that_comes_later_waits_one_turn_at_most(sample: Make) -> None:
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


def test_there_is_room_for_successors_while_last_rows_are_drawn(sample: Make) -> None:
    scheduler = Scheduler(4)
    scheduler.enqueue([sample(0, rows_left=1), sample(1, rows_left=2)])
    assert scheduler.room == 2
    scheduler.next_tick()
    assert scheduler.room == 3
    scheduler.enqueue([sample(2)])
    assert scheduler.room == 2


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
