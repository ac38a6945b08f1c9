"""Audits a queue: looks for what no script would have left there, and repairs it."""

import asyncio
import re
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from smalti.jobs import script
from smalti.jobs.keys import CHUNK
from smalti.jobs.store import QueueStore

REPAIRS = {
    "counts": "a job's numbers of samples were wrong",
    "leftovers": "a sample that is not drawn had rows, or a job that ended had kept pixels",
    "lists": "a list lacked a job, or had one too many",
    "lost": "a sample was in no place",
    "owners": "a worker held a sample that was not its own",
    "pixels": "a sample's bytes were no whole rows",
    "places": "a sample was in more than one place, or not where its owner is",
    "results": "a job's results were counted wrong",
    "shares": "a client had no turn, or one too many, or at another time than its own",
    "state": "a job's state did not fit its samples",
    "strays": "a key belonged to no job, or a list had a job that is gone",
    "ttl": "a key had no TTL although its job ended, or had one before",
    "unowned": "a running sample had no owner",
}
_PAUSE_SECONDS = 0.005  # between two calls, so that others come through
_SCANNED = 500  # keys in one call
_JOBS = 16  # in one call, whatever their size
_SAMPLES = 32
_ROUNDS = 3
_RESULTS = 64  # pictures in one call
_OF_JOBS = re.compile(r"(job|ended|result|kept|returned|suspects|running|sample|pixels):([^:]+)(?::(\d+))?")

_Holders = dict[tuple[str, str], list[str]]  # (job, index) → workers


@dataclass(frozen=True, slots=True)
class _Survey:
    """What the names of a pool's keys say; the queue goes on meanwhile, so parts of it may be old."""

    # of each key of a job, and of each job in a list of jobs: job id, name of the key, member in a list
    keys: list[tuple[str, str, str]] = field(default_factory=list)
    holders: _Holders = field(
        default_factory=lambda: defaultdict(list)
    )  # of samples that are held, wait, run or have rows

    shares: set[tuple[str, str, str]] = field(default_factory=set)  # digest, class and client of each turn

    @property
    def jobs(self) -> set[str]:
        """The jobs that have a record."""
        return {job_id for job_id, name, _ in self.keys if name.startswith("job:")}

    @property
    def strays(self) -> list[tuple[str, str, str]]:
        """The keys and members that seem to belong to no job."""
        jobs = self.jobs
        return [key for key in self.keys if key[0] not in jobs]


class QueueAudit:
    """Checks the queue's invariants (smalti/jobs/keys.py) while it is used, in many short calls.

    What looks wrong is checked again by a script before it is repaired, because the queue goes on meanwhile.
    """

    def __init__(self, store: QueueStore) -> None:
        self._store = store

    async def run(self) -> "Counter[str]":
        """Returns how many repairs of each kind of REPAIRS were made. After any, the totals must be counted again."""
        survey = await self._survey()
        repairs: Counter[str] = Counter()
        for job_id, indices in _by_job(survey.holders).items():
            repairs += await self._audit_samples(job_id, indices, survey.holders)
        for part in _parts(survey.strays, _JOBS):
            repairs["strays"] += await self._call(
                script.AUDIT_KEYS, *(word for pair in part for word in pair)
            )
        for part in _parts(sorted(survey.jobs), _JOBS):
            repairs += await self._audit_jobs(list(part))
        for part in _parts(sorted(survey.shares), _JOBS):
            repairs["shares"] += await self._call(
                script.AUDIT_SHARES, *(word for share in part for word in share)
            )
        return +repairs

    async def _survey(self) -> "_Survey":
        """Look at every key of the pool."""
        survey = _Survey()
        async for name in self._names():
            kind, _, _ = name.partition(":")
            if kind == "held" or name == "leaving":
                await self._note_held(name, survey.holders)
            elif kind == "jobs" or name == "expiry":
                members = [member async for member in self._members(name)]
                survey.keys.extend((member.partition(" ")[0], name, member) for member in members)
            elif kind in ("ready", "turns", "share"):
                await self._note_shares(name, survey)
            elif found := _OF_JOBS.fullmatch(name):
                survey.keys.append((found[2], name, ""))
                for index in await self._indices(kind, name, found[3]):
                    survey.holders[found[2], index] += []
        return survey

    async def _note_held(self, name: str, holders: _Holders) -> None:
        """Note the samples that a worker holds, or those that are said to leave their slots."""
        async for member in self._members(name):
            job_id, _, index = member.rpartition(":")
            holders[job_id, index] += [name.removeprefix("held:")] if name.startswith("held:") else []

    async def _note_shares(self, name: str, survey: _Survey) -> None:
        """Note which clients have, or should have, a turn."""
        kind, _, place = name.partition(":")
        first, _, rest = place.partition(":")
        if kind == "ready":
            job_class, _, client = rest.partition(":")
            survey.shares.add((first, job_class, client))
            survey.keys.extend([(job_id, name, job_id) async for job_id in self._members(name)])
        elif kind == "turns":
            survey.shares.update([(first, rest, client) async for client in self._members(name)])
        else:
            share = await self._read(self._store.redis.hkeys(self._store.keys.prefix + name))
            survey.shares.update(("" if field == b"time" else field.decode(), first, rest) for field in share)

    async def _names(self) -> AsyncIterator[str]:
        """The names of the pool's keys, without the prefix."""
        cursor, prefix = 0, self._store.keys.prefix
        pattern = re.sub(r"([\[\]*?^\\])", r"\\\1", prefix) + "*"
        while True:
            await asyncio.sleep(_PAUSE_SECONDS)
            cursor, names = await self._read(self._store.redis.scan(cursor, match=pattern, count=_SCANNED))
            for name in names:
                yield name.decode(errors="replace").removeprefix(prefix)
            if not cursor:
                return

    async def _indices(self, kind: str, name: str, index: str | None) -> Iterable[str]:
        """The samples that a key says something of."""
        if kind in ("sample", "pixels"):
            return [index or ""]
        if kind in ("running", "returned", "suspects"):
            return [member async for member in self._members(name)]
        return []

    async def _members(self, name: str) -> AsyncIterator[str]:
        """The members of a set or sorted set."""
        redis, whole = self._store.redis, self._store.keys.prefix + name
        with self._store.available(whole):
            if name.startswith("running:"):
                async for member in redis.sscan_iter(whole, count=_SCANNED):
                    yield member.decode(errors="replace")
            else:
                async for member, _ in redis.zscan_iter(whole, count=_SCANNED):
                    yield member.decode(errors="replace")

    async def _audit_samples(self, job_id: str, indices: Sequence[str], holders: _Holders) -> "Counter[str]":
        repairs: Counter[str] = Counter()
        for part in _parts([index for index in indices if index.isdecimal()], _SAMPLES):
            pairs = [word for index in part for word in (index, "\n".join(holders[job_id, index]))]
            repairs.update(_words(await self._call(script.AUDIT_SAMPLES, job_id, *pairs)))
        return repairs

    async def _audit_jobs(self, job_ids: list[str]) -> "Counter[str]":
        repairs: Counter[str] = Counter()
        while job_ids:
            for needs, *words in await self._call(script.AUDIT_JOBS, *job_ids):
                job_id = job_ids.pop(0)
                repairs.update(_words(words))
                if needs:
                    repairs += await self._look_into(job_id, needs.decode())
        return repairs

    async def _look_into(self, job_id: str, needs: str) -> "Counter[str]":
        """Count a job's results or check all its samples that have begun, as needed; then check the job again.

        A result beyond the cursor shows that the cursor is wrong. Other results need no check here: a sample that has
        one and is in another place, too, was found there.
        """
        repairs: Counter[str] = Counter()
        for _ in range(_ROUNDS):  # one repair may show the need of the next
            begun = range(await self._number(job_id, "next"))
            checked: Iterable[int] = begun
            if needs == "results":
                outcomes = await self._outcomes(job_id)
                repairs["results"] += await self._correct_results(job_id, outcomes)
                checked = sorted(outcomes.keys() - begun)
            holders = (await self._survey()).holders
            repairs += await self._audit_samples(job_id, list(map(str, checked)), holders)
            [[answer, *words]] = await self._call(script.AUDIT_JOBS, job_id)
            repairs.update(_words(words))
            needs = answer.decode()
            if not needs:
                break
        return +repairs

    async def _number(self, job_id: str, field: str) -> int:
        return int(await self._read(self._store.redis.hget(self._store.keys.job(job_id), field)) or 0)

    async def _outcomes(self, job_id: str) -> dict[int, bool]:
        """The samples that have a result, and whether they succeeded."""
        redis, outcomes = self._store.redis, dict[int, bool]()
        for first in range(0, await self._number(job_id, "count"), CHUNK):
            chunk = self._store.keys.result(job_id, first)
            for part in _parts([int(index) for index in await self._read(redis.hkeys(chunk))], _RESULTS):
                values = await self._read(redis.hmget(chunk, part))
                outcomes |= {i: v.startswith(b"+") for i, v in zip(part, values, strict=True) if v}
        return outcomes

    async def _correct_results(self, job_id: str, outcomes: Mapping[int, bool]) -> int:
        """Correct what a job says of its results; returns 1 if that was done, 0 if one came meanwhile."""
        done = sum(outcomes.values())
        ended = await self._read(self._store.redis.get(self._store.keys.ended(job_id))) or b""
        order = _order(ended, outcomes)
        return int(await self._call(script.AUDIT_RESULTS, job_id, done, len(outcomes) - done, order))

    async def _call(self, what: script.Script, *arguments: str | bytes | int) -> Any:
        await asyncio.sleep(_PAUSE_SECONDS)
        return await self._store.run(what, *arguments)

    async def _read(self, call: Any) -> Any:  # redis-py's types cannot say that this client answers in bytes
        with self._store.available():
            return await call


def _order(ended: bytes, outcomes: Mapping[int, bool]) -> bytes:
    """The entries of a job's ends: those that are right, in their order, then those that were missing."""
    right = {2 * index + succeeded: None for index, succeeded in sorted(outcomes.items())}
    kept = dict.fromkeys(
        number
        for at in range(0, len(ended) // 4 * 4, 4)
        if (number := int.from_bytes(ended[at : at + 4])) in right
    )
    return b"".join(number.to_bytes(4) for number in (kept | right))


def _by_job(samples: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    jobs: dict[str, list[str]] = defaultdict(list)
    for job_id, index in samples:
        jobs[job_id].append(index)
    return jobs


def _parts(values: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    return (values[at : at + size] for at in range(0, len(values), size))


def _words(words: Iterable[bytes]) -> list[str]:
    return [word.decode() for word in words]
