"""A report says what happened to pictures."""

from smalti.pictures.report import EMPTY, Report, Skipped


def test_a_report_mentions_only_what_happened():
    report = Report(read=3, turned=1, deep=2, others=4, smallest=(8, 8), largest=(16, 9))
    assert report.sentences() == [
        "Read 3 pictures of 8×8 to 16×9; 4 files are of other kinds.",
        "1 had to be turned, as EXIF says.",
        "2 had more than 8 bits a channel, and now have 8.",
    ]
    assert (EMPTY.sentences(), EMPTY.skipped_sentence()) == (["Read 0 pictures."], "")


def test_the_first_five_are_named_and_the_others_counted():
    skipped = tuple(Skipped(name=f"{number}.png", reason="is empty") for number in range(17))
    sentence = Report(read=1, skipped=skipped).skipped_sentence()
    assert sentence.startswith("Skipped 17: 0.png is empty; 1.png is empty; ")
    assert sentence.endswith("4.png is empty; and 12 more.")
