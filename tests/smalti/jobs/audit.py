"""Checks the queue's invariants on all that Redis holds."""

import re
from collections import Counter
from typing import Any, TypeAlias

from smalti.jobs.job import TERMINAL, JobState
from smalti.jobs.keys import Keys

Redis: TypeAlias = Any  # redis-py's types cannot say that this client answers in bytes


async def audit_pool(redis: Redis, part: str = "") -> None:
    """Fail if Redis holds anything that the queue's invariants forbid; `part` is one of several in this Redis."""
    prefix = Keys(part or "default").prefix
    names = [name.decode() for name in await redis.keys(prefix + "*" if part else "*")]
    assert all(name.startswith(prefix) for name in names), "a key is outside of the pool's prefix"
    short = {name.removeprefix(prefix) for name in names}
    totals: Counter[str] = Counter()
    job_ids = {name.removeprefix("job:") for name in short if name.startswith("job:")}
    listed = {job_id.decode() for job_id in await redis.zrange(prefix + "jobs", 0, -1)}
    assert listed == job_ids, "List has a job that is gone, or lacks one that is there"
    for job_id in job_ids:
        totals += await _audit_job(redis, prefix, job_id, short)
    kept = {name.decode(): int(value) for name, value in (await redis.hgetall(prefix + "totals")).items()}
    assert {name: value for name, value in kept.items() if value} == +totals
    await _audit_lists(redis, prefix, job_ids)
    await _audit_shares(redis, prefix, short)
    await _audit_deadlines(redis, prefix, job_ids)
    await _audit_owners(redis, prefix, short)


async def _audit_job(redis: Redis, prefix: str, job_id: str, short: set[str]) -> "Counter[str]":
    job = {k.decode(): v.decode("latin-1") for k, v in (await redis.hgetall(f"{prefix}job:{job_id}")).items()}
    count, fresh_from = int(job["count"]), int(job["next"])
    running = {int(i) for i in await redis.smembers(f"{prefix}running:{job_id}")}
    returned = [
        int(index)
        for waiting in ("returned", "suspects")
        for index in await redis.zrange(f"{prefix}{waiting}:{job_id}", 0, -1)
    ]
    results: dict[int, bytes] = {}
    kept: set[int] = set()
    for name in short:
        if name.startswith(f"result:{job_id}:"):
            results |= {int(k): v for k, v in (await redis.hgetall(prefix + name)).items()}
        if name.startswith(f"kept:{job_id}:"):
            kept |= {int(k) for k in await redis.hkeys(prefix + name)}
    ended = await redis.get(f"{prefix}ended:{job_id}") or b""
    places = Counter([*running, *returned, *results, *range(fresh_from, count)])
    assert max(places.values(), default=1) == 1, "a sample is in two places"
    assert len(places) + int(job["cancelled"]) == count or job["state"] in {"CANCELLING", "CANCELLED"}
    assert len(running) + len(returned) + len(results) + int(job["cancelled"]) + count - fresh_from == count
    assert Counter(value[:1] for value in results.values()) == Counter(
        {b"+": int(job["done"]), b"-": int(job["failed"])}
    )
    assert len(ended) == 4 * len(results)
    over = JobState(job["state"]) in TERMINAL
    left = 0 if over else count - int(job["done"]) - int(job["failed"]) - int(job["cancelled"])
    assert (left == 0) == over, "a job with nothing left has not ended, or one with something left has"
    _audit_kept(job, kept, results, unfinished={*running, *returned, *range(fresh_from, count)})
    working = {n for n in short if re.match(rf"(sample|pixels):{job_id}:", n)}
    assert {int(n.rsplit(":", 1)[1]) for n in working} <= running | {*returned}, "an ended sample left keys"
    if over:
        for name in (n for n in short if job_id in n and not n.startswith("deleted:")):
            assert await redis.pttl(prefix + name) > 0, f"{name} has no TTL although its job ended"
    ready = await redis.zscore(f"{prefix}{_ready(job)}", job_id) is not None
    paused = job["state"] == "PAUSED"
    claimable = 0 if job["state"] == "CANCELLING" or paused or over else len(returned) + count - fresh_from
    assert ready == (claimable > 0)
    numbers = {
        "jobs": int(not over),
        "paused": int(paused),
        "ready": claimable,
        "running": len(running),
        "pixels": left * int(job["sample_pixels"]),
        "bytes": int(job["job_bytes"])
        + (len(results) + left) * int(job["sample_bytes"])
        + (0 if over and job["failed"] == "0" else int(job["kept_bytes"])),
    }
    return Counter(numbers | {f"{name} {job['client']}": number for name, number in numbers.items()})


def _ready(job: dict[str, str]) -> str:
    return f"ready:{job['digest']}:{job['class']}:{job['client']}"


async def _audit_shares(redis: Redis, prefix: str, short: set[str]) -> None:
    """A client is listed, by its time, for the models of which it has claimable samples, and for no others."""
    ready = {name.removeprefix("ready:") for name in short if name.startswith("ready:")}
    listed: dict[str, float] = {}
    for name in (n for n in short if n.startswith("turns:")):
        for client, time in await redis.zrange(prefix + name, 0, -1, withscores=True):
            listed[f"{name.removeprefix('turns:')}:{client.decode()}"] = time
    assert set(listed) == ready
    known = set()
    for name in (n for n in short if n.startswith("share:")):
        job_class, client = name.removeprefix("share:").split(":", 1)
        share = {k.decode(): v.decode() for k, v in (await redis.hgetall(prefix + name)).items()}
        time = float(share.pop("time"))
        places = {f"{digest}:{job_class}:{client}" for digest in share}
        assert {listed[place] for place in places} <= {time}
        assert (await redis.pttl(prefix + name) > 0) == (not places), "only shares of idle clients have a TTL"
        known |= places
    assert known == ready


def _audit_kept(
    job: dict[str, str], kept: set[int], results: dict[int, bytes], *, unfinished: set[int]
) -> None:
    """Samples have their own kept pixels until they are drawn; those that failed, as long as the job is there."""
    failed = {index for index, value in results.items() if value.startswith(b"-")}
    if job["kept_bytes"] == "0" or (JobState(job["state"]) in TERMINAL and not failed):
        assert not kept, "kept pixels that nobody needs"
    elif int(job["cancelled"]) or job["state"] == "CANCELLING":
        assert unfinished <= kept
        assert not kept & (results.keys() - failed)
    else:
        assert unfinished <= kept <= unfinished | failed


async def _audit_lists(redis: Redis, prefix: str, job_ids: set[str]) -> None:
    """Every job is in the list of its client, and no list has another one."""
    owners = {job_id: (await redis.hget(f"{prefix}job:{job_id}", "client")).decode() for job_id in job_ids}
    listed: dict[str, str] = {}
    for name in await redis.keys(f"{prefix}jobs:*"):
        client = name.decode().removeprefix(f"{prefix}jobs:")
        listed |= {job_id.decode(): client for job_id in await redis.zrange(name, 0, -1)}
    assert listed == owners
    expiring = {member.decode() for member in await redis.zrange(prefix + "expiry", 0, -1)}
    ended = [job_id for job_id in job_ids if await redis.hexists(f"{prefix}job:{job_id}", "ended")]
    assert expiring == {f"{job_id} {owners[job_id]}" for job_id in ended}


async def _audit_deadlines(redis: Redis, prefix: str, job_ids: set[str]) -> None:
    """Every job that has a deadline and may still be drawn is known by it, and no other job."""
    expected = set()
    for job_id in job_ids:
        state, deadline = await redis.hmget(f"{prefix}job:{job_id}", "state", "deadline")
        if deadline != b"0" and state not in {*map(str.encode, TERMINAL), b"CANCELLING"}:
            expected.add(job_id)
    assert {job_id.decode() for job_id in await redis.zrange(prefix + "deadlines", 0, -1)} == expected


async def _audit_owners(redis: Redis, prefix: str, short: set[str]) -> None:
    workers = {name.decode() for name in await redis.zrange(prefix + "workers", 0, -1)}
    tokens, held = [], set[bytes]()
    for name in (n for n in short if n.startswith("held:")):
        assert name.removeprefix("held:") in workers, "a worker without lease holds samples"
        for member, token in await redis.zrange(prefix + name, 0, -1, withscores=True):
            held.add(member)
            job_id, index = member.decode().rsplit(":", 1)
            assert await redis.sismember(f"{prefix}running:{job_id}", index)
            tokens.append(token)
    assert len(tokens) == len(set(tokens)), "a token was handed out twice"
    assert held >= {*await redis.zrange(prefix + "leaving", 0, -1)}, "a sample leaves a slot that it has not"
    assert len(tokens) == int(await redis.hget(prefix + "totals", "running") or 0), (
        "a running sample has no owner"
    )
