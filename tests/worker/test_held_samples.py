"""Held samples say what Redis lacks, and are dropped once they are no longer this worker's."""

import pytest

from smalti.jobs.job import CommitReply, Finished, Released, Verdict
from tests.worker.conftest import Model
from tests.worker.story import a_sample, finish
from worker import held_samples
from worker.held_samples import HeldSamples
from worker.sample import Sample


def holding(*samples: Sample) -> HeldSamples:
    held = HeldSamples()
    for sample in samples:
        held.add(sample)
    return held


def drawn(model: Model, index: int, rows: int) -> Sample:
    manifest, runner = model
    sample = a_sample(manifest, index)
    if rows:
        finish(runner, [sample], rows=rows)
    return sample


def test_nothing_is_committed_if_nothing_is_new(toy: Model) -> None:
    assert holding(drawn(toy, 0, 0)).to_commit() == []


def test_a_commit_contains_every_held_sample_so_that_cancelled_ones_are_found(toy: Model) -> None:
    parts = holding(drawn(toy, 0, 2), drawn(toy, 1, 0)).to_commit()
    assert [len(part.progress.pixels) for part in parts] == [10, 0]


def test_acknowledged_rows_are_not_sent_again(toy: Model) -> None:
    held = holding(drawn(toy, 0, 2))
    [part] = held.to_commit()
    assert not held.acknowledge(part, CommitReply(verdict=Verdict.ACCEPTED, rows=2))
    assert held.to_commit() == []


def test_rows_drawn_during_a_commit_go_with_the_next_one(toy: Model) -> None:
    _, runner = toy
    sample = drawn(toy, 0, 2)
    held = holding(sample)
    [part] = held.to_commit()
    finish(runner, [sample])  # it even ends meanwhile
    assert not held.acknowledge(part, CommitReply(verdict=Verdict.ACCEPTED, rows=2))
    [last] = held.to_commit()
    assert (last.progress.first_row, type(last.progress.outcome)) == (2, Finished)


def test_rows_that_redis_lost_are_sent_again(toy: Model) -> None:
    sample = drawn(toy, 0, 4)
    sample.committed = 3
    held = holding(sample)
    [part] = held.to_commit()
    assert not held.acknowledge(part, CommitReply(verdict=Verdict.BEHIND, rows=1))
    [again] = held.to_commit()
    assert (again.progress.first_row, len(again.progress.pixels)) == (1, 15)


@pytest.mark.parametrize("verdict", [Verdict.FENCED, Verdict.CANCELLED, Verdict.CORRUPT])
def test_a_lost_sample_is_no_longer_held(toy: Model, verdict: Verdict) -> None:
    held = holding(drawn(toy, 0, 1))
    [part] = held.to_commit()
    assert held.acknowledge(part, CommitReply(verdict=verdict, rows=0))
    assert len(held) == 0


@pytest.mark.parametrize("verdict", [Verdict.ACCEPTED, Verdict.DUPLICATE])
def test_a_sample_that_ended_is_no_longer_held_once_redis_knows(toy: Model, verdict: Verdict) -> None:
    held = holding(drawn(toy, 0, 6))
    [part] = held.to_commit()
    assert held.acknowledge(part, CommitReply(verdict=verdict, rows=6))
    assert len(held) == 0


def test_handing_back_commits_the_rows_and_releases_unfinished_samples(toy: Model) -> None:
    done, begun, waiting = holding(drawn(toy, 0, 6), drawn(toy, 1, 2), drawn(toy, 2, 0)).to_hand_back()
    assert isinstance(done.progress.outcome, Finished)
    assert (begun.progress.outcome, len(begun.progress.pixels)) == (Released(), 10)
    assert waiting.progress.outcome == Released()


def test_one_commit_carries_a_bounded_number_of_bytes(toy: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_samples, "_COMMIT_BYTES", 50)
    held = holding(*(drawn(toy, index, 6) for index in range(3)))  # 30 bytes each
    rounds = 0
    while parts := held.to_commit():
        assert sum(len(part.progress.pixels) for part in parts) <= 50
        for part in parts:
            held.acknowledge(part, CommitReply(verdict=Verdict.ACCEPTED, rows=6))
        rounds += 1
    assert rounds == 3
