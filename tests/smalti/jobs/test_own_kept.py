"""Jobs in which each sample has its own kept pixels: with all of them or not at all, and freed as samples end."""

import asyncio
import struct

import pytest
from redis.asyncio import Redis

from local.private_redis import PrivateRedis
from smalti.errors import InvalidRequest, LimitReached, QueueFull, RequestConflict, Unavailable
from smalti.jobs import clients, keeping
from smalti.jobs.administration import QueueAdministration
from smalti.jobs.connection import connect
from smalti.jobs.job import Failed, JobRequest, JobState
from smalti.jobs.kept import Unpackable, most_bytes, packed, unpacked
from smalti.jobs.keys import KEPT_CHUNK, Keys
from smalti.jobs.limits import ClientLimits, kept_bytes_of
from tests.queues import Queues, queues_on
from tests.smalti.jobs.audit import audit_pool
from tests.smalti.jobs.story import (
    ANNE,
    BEN,
    Asking,
    claim_from,
    drawn,
    finished,
    kept_by,
    own_kept,
    request_for,
    take_lease_away,
)

PREFIX = Keys("default").prefix


async def kept_indices(redis: Redis, job_id: str) -> set[int]:
    found: set[int] = set()
    async for name in redis.scan_iter(f"{PREFIX}kept:{job_id}:*"):
        found |= {int(index) for index in await redis.hkeys(name)}
    return found


async def kept_keys(redis: Redis) -> list[bytes]:
    return [name async for name in redis.scan_iter(f"{PREFIX}kept:*")]


@pytest.mark.parametrize("colours", [2, 256, 257, 60_000])
@pytest.mark.parametrize("pixels", [1, 7, 8, 9, 400])
@pytest.mark.parametrize("every", [1, 2, 1000])
def test_kept_pixels_of_any_image_come_back_as_they_were(colours: int, pixels: int, every: int) -> None:
    values = [(place * 7919) % colours if place % every == 0 else -1 for place in range(pixels)]
    whole = struct.pack(f"<{pixels}i", *values)
    data = packed(whole, colours)
    assert unpacked(data, pixels=pixels, colours=colours) == whole
    assert len(data) <= most_bytes(pixels, colours)
    for damaged in (data + b"\0", data[:-1], b""):
        with pytest.raises(Unpackable):
            unpacked(damaged, pixels=pixels, colours=colours)


async def test_each_claim_has_the_kept_pixels_of_its_sample(queue: Queues, redis: Redis) -> None:
    job = await queue.clients.submit(request_for(count=5), kept=own_kept(5))
    assert await redis.pttl(f"{PREFIX}kept:{job.id}:0") == -1
    claims = await claim_from(queue, limit=5)
    assert [claim.request.kept for claim in claims] == [kept_by(index) for index in range(5)]
    again = await claim_from(queue, sequence=queue.claims["anna"])  # the reply was lost
    assert [claim.request.kept for claim in again] == [kept_by(index) for index in range(5)]
    await take_lease_away(queue, redis, "anna")
    other = await claim_from(queue, "berta", limit=9)
    assert other
    assert all(claim.request.kept == kept_by(claim.index) for claim in other)
    assert (await queue.clients.get(job.id)).request.kept == b""


async def test_kept_pixels_are_gone_with_the_end_of_their_sample_and_count_until_the_job_ends(
    queue: Queues, redis: Redis
) -> None:
    job = await queue.of(ANNE).submit(request_for(count=4), kept=own_kept(4))
    charged = int(await redis.hget(PREFIX + "totals", "bytes anne") or 0)
    claims = await claim_from(queue, limit=3)
    await queue.workers.commit("anna", [finished(claim) for claim in claims[:2]])
    assert await kept_indices(redis, job.id) == {2, 3}
    await audit_pool(redis)
    await queue.workers.commit("anna", [finished(claims[2])])
    await queue.workers.commit("anna", [finished(each) for each in await claim_from(queue)])
    assert (await queue.clients.get(job.id)).state is JobState.SUCCEEDED
    assert await kept_keys(redis) == []
    assert charged - int(await redis.hget(PREFIX + "totals", "bytes anne") or 0) == kept_bytes_of(own_kept(4))
    await audit_pool(redis)


async def test_a_cancelled_job_leaves_no_kept_pixels(queue: Queues, redis: Redis) -> None:
    job = await queue.clients.submit(request_for(count=3 * KEPT_CHUNK), kept=own_kept(3 * KEPT_CHUNK))
    [claim] = await claim_from(queue)
    await queue.clients.cancel(job.id)
    await audit_pool(redis)
    await queue.workers.commit("anna", [finished(claim)])
    assert (await queue.clients.get(job.id)).state is JobState.CANCELLED
    assert await kept_keys(redis) == []
    await audit_pool(redis)


async def test_the_same_pictures_give_the_same_job_and_others_conflict(queue: Queues, redis: Redis) -> None:
    async def submit(kept: list[bytes], request: JobRequest) -> str:
        return (await queue.of(ANNE).submit(request, request_id="one", kept=kept)).id

    request = request_for(count=3)
    first = await submit(own_kept(3), request)
    assert await submit(own_kept(3), request) == first
    one, two, three = own_kept(3)
    for other in ([two, one, three], [one, two, two], []):
        with pytest.raises(RequestConflict):
            await submit(other, request)
    assert [name.decode() for name in await kept_keys(redis)] == [f"{PREFIX}kept:{first}:0"]
    await audit_pool(redis)


async def test_of_many_that_submit_the_same_at_once_one_leaves_its_kept_pixels(
    queue: Queues, redis: Redis
) -> None:
    submits = (queue.clients.submit(request_for(count=9), request_id="x", kept=own_kept(9)) for _ in range(8))
    jobs = await asyncio.gather(*submits)
    assert len({job.id for job in jobs}) == len(await kept_keys(redis)) == 1
    await audit_pool(redis)


async def test_what_was_written_for_a_job_that_is_not_queued_expires(
    queue: Queues, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException): ...

    async def killed(*_: object) -> str:
        raise Killed

    monkeypatch.setattr(clients.ClientJobs, "_submit", killed)
    with pytest.raises(Killed):
        await queue.clients.submit(request_for(count=2 * KEPT_CHUNK), kept=own_kept(2 * KEPT_CHUNK))
    for name in await kept_keys(redis):
        assert 0 < await redis.pttl(name) <= 60_000
    assert len(await kept_keys(redis)) == 2
    assert not await redis.exists(PREFIX + "totals")


@pytest.mark.parametrize("lost", ["a chunk", "a sample"])
async def test_a_job_is_not_queued_without_all_of_its_kept_pixels(
    queue: Queues, redis: Redis, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    write = keeping.write_kept

    async def write_and_lose(store: object, job_id: str, kept: list[bytes]) -> None:
        await write(store, job_id, kept)  # type: ignore[arg-type]
        if lost == "a chunk":
            await redis.delete(f"{PREFIX}kept:{job_id}:0")
        else:
            await redis.hdel(f"{PREFIX}kept:{job_id}:1", str(KEPT_CHUNK))

    monkeypatch.setattr(clients, "write_kept", write_and_lose)
    with pytest.raises(Unavailable, match="send them again"):
        await queue.clients.submit(request_for(count=KEPT_CHUNK + 2), kept=own_kept(KEPT_CHUNK + 2))
    assert (await queue.clients.list(limit=9))[0] == []


async def test_kept_pixels_count_against_the_limits_of_their_owner(queue: Queues, redis: Redis) -> None:
    small = Asking("anne", limits=ClientLimits(result_bytes=20_000))
    request = request_for(count=80)
    await queue.of(small).require_room(request, kept_bytes=0)
    with pytest.raises(InvalidRequest, match="more than you may have"):
        await queue.of(small).require_room(request, kept_bytes=5_000)
    with pytest.raises(InvalidRequest, match="more than you may have"):
        await queue.of(small).submit(request, kept=own_kept(80))
    await queue.of(small).submit(request_for(count=20), kept=own_kept(20))
    with pytest.raises(LimitReached):
        await queue.of(small).require_room(request_for(count=45), kept_bytes=kept_bytes_of(own_kept(45)))
    with pytest.raises(LimitReached):
        await queue.of(small).submit(request_for(count=45), kept=own_kept(45))
    await queue.of(BEN).submit(request_for(count=60), kept=own_kept(60))
    assert len(await kept_keys(redis)) == 2
    await audit_pool(redis)


async def test_to_ask_for_room_queues_nothing(queue: Queues, redis: Redis) -> None:
    await queue.clients.require_room(request_for(count=9), kept_bytes=100, request_id="x")
    await queue.clients.submit(request_for(count=9), kept=own_kept(9), request_id="x")
    await queue.clients.require_room(
        request_for(count=9), kept_bytes=100, request_id="x"
    )  # it is queued already
    assert len((await queue.clients.list(limit=9))[0]) == 1
    await audit_pool(redis)


@pytest.mark.parametrize("damage", ["lost", "longer"])
async def test_a_sample_whose_kept_pixels_are_damaged_fails_alone(
    queue: Queues, redis: Redis, damage: str
) -> None:
    job = await queue.clients.submit(request_for(count=3), kept=own_kept(3))
    if damage == "lost":
        await redis.hdel(f"{PREFIX}kept:{job.id}:0", "1")
    else:
        await redis.hset(f"{PREFIX}kept:{job.id}:0", "1", own_kept(2)[1] + b"\0")
    claims = await claim_from(queue, limit=3)
    assert [claim.index for claim in claims] == [0, 2]
    await queue.workers.commit("anna", [finished(claim) for claim in claims])
    ended = await queue.clients.get(job.id)
    assert (ended.state, ended.done, ended.failed) == (JobState.FAILED, 2, 1)
    errors = [result.error async for result in queue.watchers.results(ended) if result.error]
    assert errors == ["Its kept pixels in Redis are damaged: submit the job again."]


async def test_kept_pixels_of_a_failed_sample_stay_as_long_as_its_result_so_that_it_can_be_drawn_again(
    queue: Queues, redis: Redis
) -> None:
    job = await queue.of(ANNE).submit(request_for(count=3, first_index=10), kept=own_kept(3))
    one, two, three = await claim_from(queue, limit=3)
    await queue.workers.commit("anna", [finished(one), drawn(two, 0, 1, Failed("no")), finished(three)])
    assert await kept_indices(redis, job.id) == {1}
    assert await redis.pttl(f"{PREFIX}kept:{job.id}:0") > 0
    await audit_pool(redis)
    again = await QueueAdministration(queue.store, queue.all_clients).retry(job.id, 1)
    [claim] = await claim_from(queue)
    assert (claim.job, claim.request.first_index, claim.request.kept) == (again.id, 11, kept_by(1))
    await queue.workers.commit("anna", [finished(claim)])
    await queue.of(ANNE).delete(job.id)
    assert await kept_keys(redis) == []
    await audit_pool(redis)


async def test_a_failed_sample_whose_kept_pixels_are_damaged_is_not_drawn_again(
    queue: Queues, redis: Redis
) -> None:
    job = await queue.clients.submit(request_for(), kept=own_kept(1))
    await redis.hset(f"{PREFIX}kept:{job.id}:0", "0", b"x")
    assert await claim_from(queue) == []
    with pytest.raises(InvalidRequest, match="are damaged"):
        await QueueAdministration(queue.store, queue.all_clients).retry(job.id, 0)


async def test_a_claim_brings_as_many_samples_as_fit_with_their_kept_pixels(queue: Queues) -> None:
    side = 512  # a quarter of a megabyte of pixels
    kept = [packed(struct.pack(f"<{side * side}i", *[7] * side * side), 200)] * 8
    await queue.clients.submit(request_for(rows=side, columns=side, count=8), kept=kept)
    assert len(await claim_from(queue, limit=8)) == 4
    assert len(await claim_from(queue, limit=8)) == 4


async def test_large_kept_pixels_are_written_in_small_commands(
    queue: Queues, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "_BYTES_AT_ONCE", 10)
    every = own_kept(KEPT_CHUNK + 3)
    job = await queue.clients.submit(request_for(count=len(every)), kept=every)
    assert await kept_indices(redis, job.id) == set(range(len(every)))
    sizes = [[len(every[index]) for index in part] for part in keeping._parts(every)]
    assert all(sum(part) <= 10 or len(part) == 1 for part in sizes)
    assert sum(map(len, sizes)) == len(every)


async def test_an_audit_leaves_kept_pixels_that_are_needed_and_removes_others(
    queue: Queues, redis: Redis
) -> None:
    done = await queue.clients.submit(request_for(count=1), kept=own_kept(1))
    await queue.workers.commit("anna", [finished(each) for each in await claim_from(queue)])
    going_on = await queue.clients.submit(request_for(count=3), kept=own_kept(3))
    one, _ = await claim_from(queue, limit=2)
    await queue.workers.commit("anna", [finished(one)])
    assert await queue.upkeep.audit(every_seconds=0) == {}
    for job_id in (done.id, "gone"):
        await redis.hset(f"{PREFIX}kept:{job_id}:0", "0", b"x")
    await redis.pexpire(f"{PREFIX}kept:{going_on.id}:0", 10**6)
    assert await queue.upkeep.audit(every_seconds=0) == {"leftovers": 1, "strays": 1, "ttl": 1}
    assert await redis.pttl(f"{PREFIX}kept:gone:0") > 0
    await redis.delete(f"{PREFIX}kept:gone:0")
    assert await redis.pttl(f"{PREFIX}kept:{going_on.id}:0") == -1
    assert not await redis.exists(f"{PREFIX}kept:{done.id}:0")


async def test_a_redis_without_memory_for_all_pictures_queues_nothing_and_keeps_none(
    own_redis: PrivateRedis,
) -> None:
    async with connect(own_redis.url) as redis:
        queue = queues_on(redis)
        used = (await redis.info("memory"))["used_memory"]
        await redis.config_set("maxmemory", used + 300_000)
        with pytest.raises(QueueFull, match="memory"):
            await queue.clients.submit(request_for(count=20_000), kept=own_kept(20_000))
        assert await kept_keys(redis) == []
        await redis.config_set("maxmemory", 0)
        await queue.clients.submit(request_for(count=2), kept=own_kept(2))
        await audit_pool(redis)
