"""The calls of a service are bounded, those of another service are not concerned."""

import pytest

from server.calls import CallLimits, Calls
from smalti.errors import ServerFull


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def refusal(calls: Calls) -> ServerFull:
    with pytest.raises(ServerFull) as caught:
        calls.refuse_more("smalti.v1.ImageService")
    return caught.value


def test_a_flood_of_one_service_leaves_the_others_as_they_are():
    calls = Calls(CallLimits(answered=1, open=2))
    with calls.opened("smalti.v1.ImageService"), calls.answered("smalti.v1.ImageService"):
        assert str(refusal(calls)) == (
            "The server is busy: 1 calls of ImageService are being answered, and it takes no more."
        )
        with calls.opened("smalti.v1.JobService"), calls.answered("smalti.v1.JobService"):
            pass
    with calls.answered("smalti.v1.ImageService"):
        pass


def test_the_more_calls_are_refused_the_later_they_may_come_again():
    clock = Clock()
    calls = Calls(CallLimits(answered=0), clock)
    first = refusal(calls).retry_seconds
    for _ in range(1000):
        last = refusal(calls).retry_seconds
    assert first < 0.2 < 2 < last <= 10
    clock.now += 60
    assert refusal(calls).retry_seconds < 0.2
