"""Samples make way for interactive ones until those have had their share."""

from smalti.jobs.job import JobClass
from worker.class_shares import ClassShares

INTERACTIVE, STANDARD, BATCH = JobClass.INTERACTIVE, JobClass.STANDARD, JobClass.BATCH


def test_samples_make_way_for_the_first_interactive_one() -> None:
    shares = ClassShares()
    shares.enter(STANDARD, [])
    shares.draw(STANDARD, 100)
    assert shares.must_make_way(STANDARD)


def test_they_stay_until_the_pixels_are_as_16_to_4() -> None:
    shares = ClassShares()
    shares.enter(INTERACTIVE, [])
    shares.draw(INTERACTIVE, 400)
    shares.enter(STANDARD, [])
    shares.draw(STANDARD, 99)
    assert not shares.must_make_way(STANDARD)
    shares.draw(STANDARD, 1)
    assert shares.must_make_way(STANDARD)


def test_rows_that_are_taken_back_were_not_drawn() -> None:
    shares = ClassShares()
    shares.enter(INTERACTIVE, [])
    shares.draw(INTERACTIVE, 16)
    shares.enter(STANDARD, [])
    shares.draw(STANDARD, 4)
    shares.draw(STANDARD, -4)
    assert not shares.must_make_way(STANDARD)


def test_a_class_that_was_away_has_saved_nothing_up() -> None:
    shares = ClassShares()
    for _ in range(1000):  # given interactive samples one after another, and no other
        shares.enter(INTERACTIVE, [])
        shares.draw(INTERACTIVE, 400)
    shares.enter(BATCH, [])
    shares.draw(BATCH, 25)
    assert shares.must_make_way(BATCH)


def test_a_class_that_got_less_than_its_share_may_have_it_later() -> None:
    shares = ClassShares()
    shares.enter(STANDARD, [])
    for _ in range(10):
        shares.enter(INTERACTIVE, [STANDARD])
        shares.draw(INTERACTIVE, 400)
        shares.draw(STANDARD, 10)  # beside it: a hundredth part too little
    shares.draw(STANDARD, 10 * 100 - 100 - 1)
    assert not shares.must_make_way(STANDARD)
    shares.draw(STANDARD, 1)
    assert shares.must_make_way(STANDARD)
