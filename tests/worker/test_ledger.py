"""The books say what Redis lacks, and let go of what is no longer this worker's."""

import pytest

from smalti.jobs.job import CommitReply, Finished, Released, Verdict
from tests.worker.conftest import Model
from tests.worker.story import a_sample, finish
from worker import ledger as ledger_module
from worker.ledger import Ledger
from worker.sample import Sample


def books(*samples: Sample) -> Ledger:
    ledger = Ledger()
    for sample in samples:
        ledger.add(sample)
    return ledger


def drawn(model: Model, index: int, rows: int) -> Sample:
    manifest, runner = model
    sample = a_sample(manifest, index)
    if rows:
        finish(runner, [sample], rows=rows)
    return sample


def test_without_news_there_is_no_commit(toy: Model) -> None:
    assert books(drawn(toy, 0, 0)).news() == []


def test_a_commit_mentions_every_held_sample_so_that_cancelled_ones_are_found(toy: Model) -> None:
    entries = books(drawn(toy, 0, 2), drawn(toy, 1, 0)).news()
    assert [len(entry.progress.pixels) for entry in entries] == [10, 0]


def test_acknowledged_rows_are_not_sent_again(toy: Model) -> None:
    ledger = books(drawn(toy, 0, 2))
    [entry] = ledger.news()
    assert not ledger.settle(entry, CommitReply(verdict=Verdict.ACCEPTED, rows=2))
    assert ledger.news() == []


def test_rows_drawn_while_a_commit_was_under_way_go_with_the_next(toy: Model) -> None:
    _, runner = toy
    sample = drawn(toy, 0, 2)
    ledger = books(sample)
    [entry] = ledger.news()
    finish(runner, [sample])  # it even ends meanwhile
    assert not ledger.settle(entry, CommitReply(verdict=Verdict.ACCEPTED, rows=2))
    [last] = ledger.news()
    assert (last.progress.first_row, type(last.progress.outcome)) == (2, Finished)


def test_rows_that_redis_lost_are_sent_again(toy: Model) -> None:
    sample = drawn(toy, 0, 4)
    sample.committed = 3
    ledger = books(sample)
    [entry] = ledger.news()
    assert not ledger.settle(entry, CommitReply(verdict=Verdict.BEHIND, rows=1))
    [again] = ledger.news()
    assert (again.progress.first_row, len(again.progress.pixels)) == (1, 15)


@pytest.mark.parametrize("verdict", [Verdict.FENCED, Verdict.CANCELLED, Verdict.CORRUPT])
def test_a_sample_that_is_lost_leaves_the_books(toy: Model, verdict: Verdict) -> None:
    ledger = books(drawn(toy, 0, 1))
    [entry] = ledger.news()
    assert ledger.settle(entry, CommitReply(verdict=verdict, rows=0))
    assert len(ledger) == 0


@pytest.mark.parametrize("verdict", [Verdict.ACCEPTED, Verdict.DUPLICATE])
def test_a_sample_that_ended_leaves_the_books_once_redis_knows(toy: Model, verdict: Verdict) -> None:
    ledger = books(drawn(toy, 0, 6))
    [entry] = ledger.news()
    assert ledger.settle(entry, CommitReply(verdict=verdict, rows=6))
    assert len(ledger) == 0


def test_the_farewell_gives_back_what_is_unfinished_with_its_rows(toy: Model) -> None:
    done, begun, waiting = books(drawn(toy, 0, 6), drawn(toy, 1, 2), drawn(toy, 2, 0)).farewell()
    assert isinstance(done.progress.outcome, Finished)
    assert (begun.progress.outcome, len(begun.progress.pixels)) == (Released(), 10)
    assert waiting.progress.outcome == Released()


def test_one_commit_carries_a_bounded_number_of_bytes(toy: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "_COMMIT_BYTES", 50)
    ledger = books(*(drawn(toy, index, 6) for index in range(3)))  # 30 bytes each
    rounds = 0
    while entries := ledger.news():
        assert sum(len(entry.progress.pixels) for entry in entries) <= 50
        for entry in entries:
            ledger.settle(entry, CommitReply(verdict=Verdict.ACCEPTED, rows=6))
        rounds += 1
    assert rounds == 3
