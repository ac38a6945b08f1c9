"""Same model, fingerprint, seed and index: the same bytes, whatever else is drawn, wherever, however interrupted."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from smalti.errors import SampleFailed
from smalti.jobs.job import Finished, Job, JobClass, Released
from smalti.jobs.kept import packed
from smalti.runtime.manifest import Manifest
from tests.conftest import Until
from tests.queues import Queues, queues_on
from tests.worker.conftest import Hire, Model
from tests.worker.story import (
    SHIPPED,
    Shift,
    a_request,
    a_sample,
    assert_undisturbed,
    drawn_alone,
    ended,
    finish,
    keeping,
    open_runner,
    pixels_of,
    results,
)
from worker.engine import DrawsRows
from worker.plan import plan
from worker.sample import Sample
from worker.scheduler import Scheduler, Tick

MOST = 64
SHIPPED_MODELS = [
    "digits-pixel-rnn",
    "digits-pixel-rnn-lecture",
    "sprites-pixel-rnn",
    "sprites-pixel-rnn-lecture",
]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["toy-pixel-rnn", *SHIPPED_MODELS])
def test_every_batch_from_1_to_64_gives_the_same_bits(toy_repository: Path, name: str) -> None:
    root = toy_repository if name.startswith("toy") else SHIPPED
    manifest, runner = open_runner(root, name, slots=MOST)
    rows = 3  # the state goes into every next row, so a difference would not stay hidden
    alone = _first_rows(runner, [a_sample(manifest, 5)], rows)[0]
    for batch in range(1, MOST + 1):
        samples = [a_sample(manifest, index, temperature=0.5 + index / MOST) for index in range(batch)]
        place = batch * 5 // 7  # another slot almost every time
        samples[place] = a_sample(manifest, 5)
        assert _first_rows(runner, samples, rows)[place] == alone, f"in slot {place} of {batch}"


def _first_rows(runner: Any, samples: list[Sample], rows: int) -> list[tuple[bytes, float]]:
    finish(runner, samples, rows=rows)
    return [(pixels_of(sample), sample.log_probability) for sample in samples]


class Crowd:
    """A scheduler and a real runner to which samples come; one that makes way comes again with its rows."""

    def __init__(self, model: tuple[Manifest, DrawsRows], slots: int, coming: list[Sample]) -> None:
        self.coming = coming
        self.ended: list[Sample] = []
        self._manifest, self._runner = model
        self._scheduler = Scheduler(slots, interactive_slots=(slots + 1) // 2)
        self._held: list[Sample] = []

    def admit(self) -> None:
        """Take the next sample, if there is room for it."""
        room = self._scheduler.room > 0 or (
            self.coming[0].is_interactive and self._scheduler.interactive_room
        )
        if room:
            self._held.append(self.coming.pop(0))
            self._scheduler.enqueue(self._held[-1:])

    def draw(self, tick: Tick) -> None:
        """What a worker and the queue do with a tick."""
        for sample, row in zip(tick.samples, self._runner.draw_row(tick.lanes), strict=True):
            assert not isinstance(row, SampleFailed)
            sample.append(row)
        gone = [sample for sample in self._held if sample.outcome]
        self._held = [sample for sample in self._held if not sample.outcome]
        self.coming += [self._again(sample) for sample in gone if isinstance(sample.outcome, Released)]
        self.ended += [sample for sample in gone if isinstance(sample.outcome, Finished)]

    def draw_all(self, chance: Callable[[str], bool]) -> None:
        """Draw everything; chance decides when samples come, and which ticks are planned again."""
        while self.coming or self._held:
            while self.coming and chance("one more comes"):
                self.admit()
            tick = self._scheduler.next_tick()
            if tick and self.coming and chance("the tick is planned again"):
                self._scheduler.take_back(tick)
                self.admit()
                tick = self._scheduler.next_tick()
            if tick:
                self.draw(tick)

    def _again(self, sample: Sample) -> Sample:
        claim = replace(sample.claim, pixels=whole_image(sample))
        return Sample(claim, plan(claim, self._manifest))


def whole_image(sample: Sample) -> bytes:
    """All pixels of a sample, those that it came with included."""
    return sample.claim.pixels + pixels_of(sample)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    slots=st.integers(1, 4),
    kinds=st.lists(st.tuples(st.integers(0, 4), st.sampled_from(JobClass)), min_size=1, max_size=16),
    dice=st.randoms(use_true_random=False),
)
def test_any_mix_of_neighbours_slots_and_interruptions_gives_the_same_bytes(
    toy: Model, slots: int, kinds: list[tuple[int, JobClass]], dice: Random
) -> None:
    manifest, runner = toy
    changes: list[dict[str, Any]] = [{}, {"temperature": 0.4}, {"temperature": 2.5}, {"seed": 8}]
    changes.append({"kept": keeping(manifest, {(0, 1): 3, (4, 4): 0})})
    samples = [
        a_sample(manifest, index, job_class=job_class, **changes[kind])
        for index, (kind, job_class) in enumerate(kinds)
    ]
    crowd = Crowd(toy, slots, samples)
    crowd.draw_all(lambda what: dice.random() < 0.7)
    drawn = {sample.claim.index: (whole_image(sample), sample.log_probability) for sample in crowd.ended}
    assert len(crowd.ended) == len(kinds)
    for index, (kind, _) in enumerate(kinds):
        assert drawn[index] == drawn_alone(runner, manifest, index, **changes[kind])


async def kill(shift: Shift, redis: Redis, queue: Queues) -> None:
    """End a worker that hands nothing back, and its lease."""
    shift.task.cancel()
    await asyncio.wait({shift.task})
    await queue.upkeep.recover()
    await redis.zadd("smalti:{default}:workers", {shift.worker.name: 1})
    assert await queue.upkeep.recover() > 0


@pytest.mark.parametrize("name", ["toy-pixel-rnn", "digits-pixel-rnn"])
async def test_samples_whose_workers_are_killed_after_every_row_give_the_same_bytes(
    redis: Redis, hire: Hire, toy_repository: Path, until: Until, name: str
) -> None:
    model = open_runner(toy_repository if name.startswith("toy") else SHIPPED, name)
    manifest, queue = model[0], queues_on(redis)
    job = await queue.clients.submit(a_request(manifest, count=3))
    for rows in range(1, manifest.height):
        shift = hire(queue, model, slots=3)
        shift.gate.permit(rows)  # those that it draws again, and one
        await until(committed(redis, job, rows * manifest.width, samples=3))
        await kill(shift, redis, queue)
    hire(queue, model, slots=2).gate.open()
    await until(ended(queue, job))
    await assert_undisturbed(queue, job, model)


async def test_each_of_many_pictures_has_the_bytes_that_it_has_alone_though_workers_are_killed(
    redis: Redis, hire: Hire, toy_repository: Path, until: Until
) -> None:
    model = open_runner(toy_repository, "toy-pixel-rnn")
    manifest, queue = model[0], queues_on(redis)
    kept = [
        keeping(
            manifest, {(row, column): (row + column + index) % 3 for row in range(index) for column in (0, 2)}
        )
        for index in range(4)
    ]
    colours = len(manifest.palette)
    together = await queue.clients.submit(
        a_request(manifest, count=4, first_index=5), kept=[packed(each, colours) for each in kept]
    )
    for rows in (1, 3):
        shift = hire(queue, model, slots=4)
        shift.gate.permit(rows)
        await until(committed(redis, together, rows * manifest.width, samples=4))
        await kill(shift, redis, queue)
    hire(queue, model, slots=3).gate.open()
    await until(ended(queue, together))
    alone = [
        await queue.clients.submit(a_request(manifest, count=1, first_index=5 + index, kept=each))
        for index, each in enumerate(kept)
    ]
    for job, result in zip(alone, await results(queue, together), strict=True):
        await until(ended(queue, job))
        [expected] = await results(queue, job)
        assert (result.pixels, result.log_probability) == (expected.pixels, expected.log_probability)
    assert len({result.pixels for result in await results(queue, together)}) == 4


def committed(redis: Redis, job: Job, size: int, *, samples: int) -> Callable[[], Any]:
    """Whether so many bytes of each of its first samples are committed."""

    async def are_they() -> bool:
        keys = [f"smalti:{{default}}:pixels:{job.id}:{index}" for index in range(samples)]
        return {await redis.strlen(key) for key in keys} == {size}

    return are_they


async def test_a_sample_resumed_under_another_fingerprint_is_flagged_with_both(
    redis: Redis, hire: Hire, toy: Model, until: Until
) -> None:
    manifest, _ = toy
    queue = queues_on(redis)
    job = await queue.clients.submit(a_request(manifest, count=3))
    first = hire(queue, toy, slots=1, fingerprint="cpu/avx2")
    first.gate.permit(2)
    await until(committed(redis, job, 2 * manifest.width, samples=1))
    second = hire(queues_on(redis), toy, slots=2, fingerprint="cpu/avx512")
    second.gate.open()
    other = await queue.clients.submit(a_request(manifest, count=2, seed=8))
    await until(ended(queue, other))  # which it may draw
    assert (await queue.clients.get(job.id)).running == 1  # while the other job stays with its own worker
    await kill(first, redis, queue)
    await until(ended(queue, job))
    flags = {result.index: result.fingerprint for result in await results(queue, job)}
    assert flags == {0: "cpu/avx2+cpu/avx512", 1: "cpu/avx512", 2: "cpu/avx512"}
    await assert_undisturbed(queue, job, toy)
