"""Reads a client's list of jobs page by page, and leaves out those that are not asked for."""

from collections.abc import Sequence
from dataclasses import dataclass

from smalti.jobs import codec
from smalti.jobs.job import JobRequest, JobState
from smalti.jobs.store import QueueStore

_READ_AT_ONCE = 256  # jobs of which state and request are read in one round trip
_READ_IN_ALL = 2048  # jobs in one call, so that a rare kind of job does not keep Redis busy


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which jobs are asked for: those that fit everything that is said here."""

    states: frozenset[JobState] = frozenset()
    model: str = ""
    name: str = ""
    labels: frozenset[tuple[str, str]] = frozenset()

    def fits(self, state: JobState, request: JobRequest) -> bool:
        """Whether such a job is asked for."""
        return (
            (not self.states or state in self.states)
            and self.model in ("", request.model)
            and self.name in ("", request.notes.name)
            and self.labels <= {*request.notes.labels}
        )


ALL = Wanted()


class Listing:
    """Reads ids. What it leaves out because of its state may have changed since."""

    def __init__(self, store: QueueStore) -> None:
        self._store = store

    async def page(
        self, jobs: str, wanted: Wanted, *, limit: int, page_token: str
    ) -> tuple[Sequence[tuple[str, str]], str]:
        """Up to `limit` ids of the list with this key, newest first, and the token of the next page; empty on the last.

        With each id comes the token of what follows it.

        If few jobs fit, a page may have fewer ids, or none, although others follow.
        """
        found, read, at_once = list[tuple[str, str]](), 0, limit + 1 if wanted == ALL else _READ_AT_ONCE
        while read < _READ_IN_ALL:
            listed = await self._listed(jobs, page_token, at_once)
            fitting = await self._fitting([job_id for job_id, _ in listed], wanted)
            for job_id, serial in listed:
                if len(found) == limit:
                    return found, page_token
                page_token = serial
                found += [(job_id, serial)] if job_id in fitting else []
            if len(listed) < at_once:
                return found, ""
            read += len(listed)
        return found, page_token

    async def _listed(self, jobs: str, page_token: str, number: int) -> Sequence[tuple[str, str]]:
        """Ids and serial numbers of the jobs after a token."""
        with self._store.available(jobs):
            listed = await self._store.redis.zrange(
                jobs,
                f"({page_token}" if page_token else "+inf",
                "-inf",
                desc=True,
                byscore=True,
                offset=0,
                num=number,
                withscores=True,
            )
        return [(job_id.decode(), str(int(serial))) for job_id, serial in listed]

    async def _fitting(self, job_ids: Sequence[str], wanted: Wanted) -> set[str]:
        if wanted == ALL:
            return {*job_ids}
        with self._store.available():
            async with self._store.redis.pipeline(transaction=False) as pipe:
                for job_id in job_ids:
                    pipe.hmget(self._store.keys.job(job_id), "state", "request")
                records = await pipe.execute()
        return {job_id for job_id, record in zip(job_ids, records, strict=True) if _fits(wanted, *record)}


def _fits(wanted: Wanted, state: bytes | None, request: bytes | None) -> bool:
    """Whether a record fits. One that cannot be read fits nothing."""
    try:
        return wanted.fits(JobState((state or b"").decode()), codec.decode_unkept(request, 0))
    except ValueError:
        return False
