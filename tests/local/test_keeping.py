"""A part that ends by itself is started again, after pauses that grow up to half a minute."""

from local.keeping import Keeper
from smalti.errors import Unavailable


class Part:
    """A part that ends when the test says so."""

    def __init__(self) -> None:
        self.is_running = True
        self.starts = 0
        self.fails_to_start = False

    def ending(self) -> str:
        return "The part ended."

    def restart(self) -> None:
        if self.fails_to_start:
            raise Unavailable("It does not start.")
        self.starts += 1
        self.is_running = True


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def kept() -> tuple[Part, Clock, list[str], Keeper]:
    part, clock = Part(), Clock()
    said: list[str] = []
    return part, clock, said, Keeper(part, say=said.append, clock=clock)


def pause_until_restart(part: Part, clock: Clock, keeper: Keeper) -> float:
    part.is_running = False
    began, starts = clock.now, part.starts
    while part.starts == starts:
        keeper.look()
        clock.now += 0.5
    return clock.now - began - 0.5


def test_a_part_that_keeps_ending_is_started_after_growing_pauses():
    part, clock, said, keeper = kept()
    assert [pause_until_restart(part, clock, keeper) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    assert len(said) == 7
    assert said[0] == "The part ended.\nIt is started again in 1 s; the rest goes on."


def test_a_part_that_has_run_for_a_minute_is_started_after_one_second_again():
    part, clock, _, keeper = kept()
    for _ in range(3):
        pause_until_restart(part, clock, keeper)
    clock.now += 60
    assert pause_until_restart(part, clock, keeper) == 1


def test_a_part_that_cannot_be_started_is_tried_again():
    part, clock, said, keeper = kept()
    part.is_running, part.fails_to_start = False, True
    for _ in range(8):
        keeper.look()
        clock.now += 0.5
    assert "It does not start." in said[-1]
    part.fails_to_start = False
    assert pause_until_restart(part, clock, keeper) <= 4
