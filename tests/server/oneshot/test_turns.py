"""Requests take turns step by step, whoever came first and however many steps each has."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count as count_up
from threading import Event, Lock
from time import monotonic

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.oneshot.turns import Room, Turns
from smalti.errors import DeadlinePassed, ImageRefused, PicturesFull


class Log:
    """Steps that write down their names; those called "held" wait until they may go on."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.is_held = Event()
        self.may_go_on = Event()

    def step(self, name: str) -> Callable[[], str]:
        def work() -> str:
            if name == "held":
                self.is_held.set()
                assert self.may_go_on.wait(30)
            self.done.append(name)
            return name

        return work

    def steps(self, *names: str) -> list[Callable[[], str]]:
        return [self.step(name) for name in names]

    async def holds(self) -> None:
        assert await asyncio.to_thread(self.is_held.wait, 30)


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def turns() -> Iterator[Turns]:
    """Turns with a single thread."""
    made = Turns(threads=1)
    yield made
    made.close()


def fail() -> str:
    raise ImageRefused("The image is empty.")


async def started(turns: Turns, *requests: list[Callable[[], str]]) -> "list[asyncio.Task[list[str]]]":
    tasks = [asyncio.create_task(turns.run(steps)) for steps in requests]
    await asyncio.sleep(0)  # lets each of them join the turns
    return tasks


async def test_a_short_request_waits_for_one_step_of_a_long_one_and_not_for_all(turns: Turns, log: Log):
    [long] = await started(turns, log.steps("held", *"abcdefgh"))
    await log.holds()
    [short] = await started(turns, log.steps("short"))  # given a short request behind a long one
    log.may_go_on.set()
    await asyncio.gather(long, short)
    assert log.done == ["held", "short", *"abcdefgh"]  # then it is next


async def test_several_long_requests_alternate(turns: Turns, log: Log):
    first = await started(turns, log.steps("held"))
    await log.holds()
    others = await started(turns, log.steps("a1", "a2", "a3"), log.steps("b1", "b2", "b3"), log.steps("c1"))
    log.may_go_on.set()
    await asyncio.gather(*first, *others)
    assert log.done == ["held", "a1", "b1", "c1", "a2", "b2", "a3", "b3"]


async def test_a_request_whose_client_left_has_no_further_step(turns: Turns, log: Log):
    [gone, other] = await started(turns, log.steps("held", "never"), log.steps("other"))
    await log.holds()
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone  # at once, although a step is still in work
    log.may_go_on.set()
    assert await other == ["other"]
    assert await turns.run(log.steps("later")) == ["later"]
    assert log.done == ["held", "other", "later"]


async def test_no_step_begins_after_the_deadline(turns: Turns, log: Log):
    deadline = monotonic() + 0.01

    def outlast() -> str:
        while monotonic() < deadline:
            pass
        return "outlasted"

    with pytest.raises(DeadlinePassed):
        await turns.run([outlast, log.step("never")], deadline=deadline)
    with pytest.raises(DeadlinePassed):
        await turns.run([log.step("never")], deadline=deadline)
    assert log.done == []


async def test_a_step_that_fails_ends_its_request_alone(turns: Turns, log: Log):
    [failing, other] = await started(turns, [fail, log.step("never")], log.steps("a", "b"))
    with pytest.raises(ImageRefused):
        await failing
    assert await other == ["a", "b"]
    assert log.done == ["a", "b"]


async def test_no_more_steps_are_in_work_than_there_are_threads():
    turns, lock, in_work, most = Turns(threads=2), Lock(), 0, 0
    both = Event()

    def step() -> None:
        nonlocal in_work, most
        with lock:
            in_work += 1
            most = max(most, in_work)
        if most == 2:
            both.set()
        assert both.wait(30)  # given a moment in which both threads work
        with lock:
            in_work -= 1

    await asyncio.gather(*(turns.run([step] * 5) for _ in range(5)))
    turns.close()
    assert most == 2


Plans = st.lists(
    st.tuples(st.integers(1, 6), st.sampled_from(["answer", "fail", "leave"])), min_size=1, max_size=8
)


@settings(max_examples=50, deadline=None)
@given(plans=Plans, threads=st.integers(1, 3))
def test_every_request_gets_the_results_of_its_own_steps_in_order(plans, threads):
    async def story() -> None:
        turns = Turns(threads=threads)
        tasks = []
        for number, (count, end) in enumerate(plans):
            steps = [lambda number=number, step=step: (number, step) for step in range(count)]
            last = fail if end == "fail" else steps[-1]
            tasks.append(asyncio.create_task(turns.run([*steps[:-1], last])))
        await asyncio.sleep(0)
        for task, (_, end) in zip(tasks, plans, strict=True):
            if end == "leave":
                task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        turns.close()
        for number, (answer, (count, end)) in enumerate(zip(answers, plans, strict=True)):
            if end == "answer":
                assert answer == [(number, step) for step in range(count)]
            else:
                assert isinstance(answer, ImageRefused if end == "fail" else asyncio.CancelledError)

    asyncio.run(story())


def test_room_is_refused_at_once_when_too_little_is_free_and_given_back_at_the_end():
    room = Room(100)
    with (
        room.take(25),
        room.take(25),
        room.take(20),
        pytest.raises(PicturesFull, match="70 of at most 100 pixels") as caught,
    ):
        room.take(16).__enter__()
    assert caught.value.retry_seconds > 0
    with room.take(25), room.take(25), room.take(25):
        pass


def admitted(room: Room, pixels: int, held: ExitStack) -> int:
    """Let in as many requests of this size as there is room for; returns how many."""
    for count in count_up():
        try:
            held.enter_context(room.take(pixels))
        except PicturesFull:
            return count
    raise AssertionError


def test_small_requests_are_admitted_however_many_large_ones_were_tried():
    room = Room(262_144)
    with ExitStack() as held:
        assert (
            admitted(room, 204_800, held) == 3
        )  # given clients that keep sending 256 pictures, read and written
        with ExitStack() as small:
            assert admitted(room, 800, small) == 80  # then requests of one picture have a quarter of the room
        assert admitted(room, 204_800, held) == 0  # which large ones do not get when small ones end
        assert admitted(room, 800, held) == 80


def test_requests_of_every_size_leave_room_for_one_of_half_their_size():
    room = Room(1 << 18)
    with ExitStack() as held:
        for power in range(16, 0, -1):  # given requests from the largest to small ones, as many as fit
            admitted(room, 1 << power, held)
            held.enter_context(room.take(1 << (power - 1)))


def test_the_largest_request_is_admitted_while_small_ones_leave_half_of_the_room():
    room = Room(400)
    with ExitStack() as held:
        for _ in range(100):
            held.enter_context(room.take(2))
        with room.take(1_000_000):
            pass
        held.enter_context(room.take(2))
        with pytest.raises(PicturesFull):
            room.take(1_000_000).__enter__()


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
def test_even_the_smallest_room_takes_the_largest_request_and_can_be_filled(limit: int):
    room = Room(limit)
    with ExitStack() as held:
        held.enter_context(room.take(1_000_000))
        assert admitted(room, 1, held) == limit - 1
        held.enter_context(room.take(0))  # what is no work always fits


def test_a_request_that_fails_gives_its_room_back():
    room = Room(10)
    for _ in range(5):
        with pytest.raises(ImageRefused), room.take(10):
            fail()
