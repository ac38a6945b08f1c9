"""What goes into Redis comes out the same."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from smalti.jobs.codec import decode_ended, decode_request, decode_result, encode_request, hash_request
from smalti.jobs.job import JobClass, JobRequest
from tests.smalti.jobs.story import request_for

REQUESTS = st.builds(
    JobRequest,
    model=st.text(),
    version=st.integers(0, 2**32),
    digest=st.text(),
    rows=st.integers(1, 99),
    columns=st.integers(1, 99),
    colours=st.integers(1, 65536),
    count=st.integers(1, 2**40),
    seed=st.integers(0, 2**64 - 1),
    first_index=st.integers(0, 2**64 - 1),
    temperature=st.floats(0.05, 10),
    kept=st.binary(),
    retention_seconds=st.floats(0, 1e9),
    job_class=st.sampled_from(JobClass),
).map(lambda request: replace(request, kept=_for_each_pixel(request)))


def _for_each_pixel(request: JobRequest) -> bytes:
    """The kept pixels, repeated so that they are as many as the image has; none if there are none."""
    size = 4 * request.rows * request.columns
    return (request.kept * size)[:size]


@given(REQUESTS)
def test_a_request_survives_encoding_and_decoding(request: JobRequest) -> None:
    assert decode_request(encode_request(request), request.kept) == request


@given(REQUESTS, REQUESTS)
def test_only_equal_requests_have_equal_hashes(one: JobRequest, other: JobRequest) -> None:
    assert (hash_request(one) == hash_request(other)) == (one == other)


@given(st.binary(), st.floats(allow_nan=False))
def test_pixels_of_a_result_may_hold_any_byte(pixels: bytes, log_probability: float) -> None:
    result = decode_result(3, b"+17\n%r\ncpu\n" % log_probability + pixels)
    assert (result.index, result.pixels, result.log_probability) == (3, pixels, log_probability)
    assert (result.error, result.fingerprint) == ("", "cpu")


def test_an_incomplete_entry_of_an_ended_sample_is_left_out() -> None:
    assert decode_ended(b"\0\0\0\5\0\0\0\2\0\0") == [(2, True), (1, False)]


def test_a_pixel_takes_two_bytes_above_256_colours() -> None:
    assert (request_for(colours=256).row_bytes, request_for(colours=257).row_bytes) == (3, 6)
