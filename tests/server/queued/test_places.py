"""The limits of watchers: in all and of each client."""

import pytest

from server.queued.places import Places, WatcherLimits
from smalti.errors import WatchersFull


def test_all_watchers_together_are_limited_and_one_who_leaves_frees_a_place():
    places = Places(WatcherLimits(in_all=2))
    with places.take(""):
        with places.take("anna"):
            assert _refusal(places, "").retry_seconds > 0
        with places.take("ben"):
            assert str(_refusal(places, "anna")).startswith("This server has 2 watchers")
    assert places.taken == 0


def test_a_client_with_a_name_is_limited_and_others_are_not():
    places = Places(WatcherLimits(per_client=1))
    with places.take("anna"), places.take("ben"), places.take(""), places.take(""):
        assert str(_refusal(places, "anna")).startswith("You have 1 watchers")
    with places.take("anna"):
        assert places.taken == 1


def _refusal(places: Places, client: str) -> WatchersFull:
    with pytest.raises(WatchersFull) as caught, places.take(client):
        pytest.fail("it is taken")
    return caught.value
