import pytest
from pydantic import ValidationError

from smalti.runtime.batching import Batching, QueuePolicy


def test_a_priority_that_is_no_level_stands_for_the_default():
    batching = Batching(priority_levels=3, default_priority=2)
    assert [batching.level(priority) for priority in (0, 1, 2, 3, 4, -1)] == [2, 1, 2, 3, 2, 2]


def test_without_levels_every_priority_is_the_same():
    assert {Batching().level(priority) for priority in (0, 1, 7)} == {0}


def test_a_level_without_a_policy_of_its_own_has_the_graphs():
    own = QueuePolicy(timeout_action="delay")
    batching = Batching(priority_levels=2, default_priority=1, levels={2: own})
    assert batching.policy(2) == own
    assert batching.policy(1) is batching


@pytest.mark.parametrize(
    ("default", "override", "asked", "given"),
    [
        (0, True, None, None),
        (0, True, 0.5, 0.5),
        (0, True, 0.0, None),
        (1_000_000, True, 0.5, 0.5),
        (1_000_000, True, 2.0, 1.0),
        (1_000_000, False, 0.5, 1.0),
        (0, False, 0.5, None),
    ],
)
def test_a_request_may_shorten_its_timeout_where_that_is_allowed(default, override, asked, given):
    policy = QueuePolicy(default_timeout_microseconds=default, allow_timeout_override=override)
    assert policy.timeout_seconds(asked) == given


@pytest.mark.parametrize(
    ("knobs", "fault"),
    [
        (
            {"max_batch_size": 4, "preferred_batch_sizes": (8,)},
            "preferred batch size 8 is above max_batch_size, 4",
        ),
        ({"default_priority": 1}, "no priority_levels"),
        ({"priority_levels": 2}, "default_priority is 0, which must be 1 to 2"),
        ({"priority_levels": 1, "default_priority": 1, "levels": {"2": {}}}, "has a level 2"),
        ({"max_queue_size": 0}, "greater than or equal to 1"),
        ({"max_queue_size": "many"}, "valid integer"),
        ({"unknown": 1}, "not permitted"),
    ],
)
def test_knobs_that_contradict_each_other_or_their_limits_are_refused(knobs, fault):
    with pytest.raises(ValidationError, match=fault):
        Batching(**knobs)
