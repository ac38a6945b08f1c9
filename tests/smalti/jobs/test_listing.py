"""A client finds its jobs again: by state, model, name and labels, page by page."""

from collections.abc import Sequence
from typing import Any

import pytest
from redis.asyncio import Redis

from smalti.errors import RequestConflict
from smalti.jobs import listing
from smalti.jobs.job import JobState, Notes
from smalti.jobs.listing import Wanted
from tests.queues import Queues
from tests.smalti.jobs.story import ADMIN, ANNE, BEN, Asking, claim_from, finished, request_for


def noted(name: str = "", **labels: str) -> dict[str, Any]:
    return {"notes": Notes(name=name, labels=tuple(sorted(labels.items())))}


def labelled(**labels: str) -> Wanted:
    return Wanted(labels=frozenset(labels.items()))


async def pages(queue: Queues, asker: Asking, only: Wanted, *, limit: int = 2) -> Sequence[Sequence[str]]:
    """The ids of every page."""
    found, token, more = [], "", True
    while more:
        jobs, token = await queue.of(asker).list(limit=limit, page_token=token, only=only)
        found.append([job.id for job in jobs])
        more = bool(token)
    return found


async def ids(queue: Queues, asker: Asking, only: Wanted, *, limit: int = 2) -> Sequence[str]:
    return [job_id for page in await pages(queue, asker, only, limit=limit) for job_id in page]


async def test_notes_come_back_with_the_job(queue: Queues) -> None:
    job = await queue.of(ANNE).submit(request_for(**noted("trial", run="7", who="me")))
    assert (await queue.of(ANNE).get(job.id)).request.notes == job.request.notes
    assert job.request.notes.labels == (("run", "7"), ("who", "me"))


async def test_jobs_are_found_by_what_all_of_a_filter_says(queue: Queues) -> None:
    submit = queue.of(ANNE).submit
    one = await submit(request_for(**noted("a", run="1", who="me")))
    two = await submit(request_for(**noted("b", run="1")))
    other = await submit(request_for(**noted("b", run="2"), model="other"))
    for only, expected in (
        (labelled(run="1"), [two, one]),
        (labelled(run="1", who="me"), [one]),
        (Wanted(name="b"), [other, two]),
        (Wanted(model="other"), [other]),
        (Wanted(model="other", labels=frozenset({("run", "1")})), []),
        (Wanted(), [other, two, one]),
    ):
        assert await ids(queue, ANNE, only) == [job.id for job in expected]


async def test_jobs_are_found_by_their_present_state(queue: Queues) -> None:
    done, cancelled, queued = [await queue.of(ANNE).submit(request_for()) for _ in range(3)]
    await queue.workers.commit("anna", [finished(claim) for claim in await claim_from(queue)])
    await queue.of(ANNE).cancel(cancelled.id)
    ended = Wanted(states=frozenset({JobState.SUCCEEDED, JobState.CANCELLED}))
    assert await ids(queue, ANNE, ended) == [cancelled.id, done.id]
    assert await ids(queue, ANNE, Wanted(states=frozenset({JobState.QUEUED}))) == [queued.id]


async def test_a_filter_shows_nobody_the_jobs_of_others(queue: Queues) -> None:
    theirs = await queue.of(ANNE).submit(request_for(**noted(run="1")))
    own = await queue.of(BEN).submit(request_for(**noted(run="1")))
    assert await ids(queue, BEN, labelled(run="1")) == [own.id]
    assert await ids(queue, ADMIN, labelled(run="1")) == [own.id, theirs.id]


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
async def test_pages_have_every_fitting_job_once(queue: Queues, monkeypatch: Any, limit: int) -> None:
    monkeypatch.setattr(listing, "_READ_AT_ONCE", 3)
    monkeypatch.setattr(listing, "_READ_IN_ALL", 6)
    jobs = [await queue.of(ANNE).submit(request_for(**noted(odd=str(i % 2)))) for i in range(20)]
    expected = [job.id for job in reversed(jobs) if job.request.notes.labels == (("odd", "1"),)]
    assert await ids(queue, ANNE, labelled(odd="1"), limit=limit) == expected


async def test_a_rare_job_is_found_after_pages_without_any(queue: Queues, monkeypatch: Any) -> None:
    monkeypatch.setattr(listing, "_READ_AT_ONCE", 2)
    monkeypatch.setattr(listing, "_READ_IN_ALL", 4)
    rare = await queue.of(ANNE).submit(request_for(**noted(run="rare")))
    for _ in range(9):
        await queue.of(ANNE).submit(request_for())
    assert await pages(queue, ANNE, labelled(run="rare")) == [[], [], [rare.id]]


async def test_a_damaged_job_fits_no_filter(queue: Queues, redis: Redis) -> None:
    bad, good = [await queue.of(ANNE).submit(request_for(**noted(run="1"))) for _ in range(2)]
    await redis.hset(queue.store.keys.job(bad.id), "request", b"{}")
    assert await ids(queue, ANNE, labelled(run="1")) == [good.id]
    await redis.hset(queue.store.keys.job(bad.id), "request", b"[]")
    assert await ids(queue, ANNE, labelled(run="1")) == [good.id]


async def test_the_same_request_id_with_other_labels_is_another_request(queue: Queues) -> None:
    await queue.of(ANNE).submit(request_for(**noted(run="1")), request_id="one")
    with pytest.raises(RequestConflict):
        await queue.of(ANNE).submit(request_for(**noted(run="2")), request_id="one")
