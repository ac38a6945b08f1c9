"""After any calls in any order, each sent once or twice, the real queue agrees with a model in plain Python."""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, invariant, multiple, rule

from local.private_redis import PrivateRedis
from smalti.errors import JobNotFinished, JobNotFound, JobOver
from smalti.jobs.job import (
    TERMINAL,
    Claim,
    CommitReply,
    Failed,
    Finished,
    Job,
    JobClass,
    JobState,
    Place,
    Progress,
    Released,
    Verdict,
)
from tests.queues import Queues, queues_on
from tests.smalti.jobs.audit import audit_pool
from tests.smalti.jobs.machines import MachineOnRedis, run_on
from tests.smalti.jobs.story import (
    COLUMNS,
    ROWS,
    Twice,
    claim_from,
    kept_by,
    own_kept,
    pass_deadline,
    request_for,
    rows_of,
    take_lease_away,
)

WORKERS = st.sampled_from(["anna", "berta", "clara"])


@dataclass
class ModelSample:
    place: str = "fresh"  # fresh, returned, running, done, failed, cancelled
    worker: str = ""
    token: str = ""
    rows: int = 0
    crashes: int = 0
    released: str = ""
    claimed_rows: int = 0
    reported: Place | None = None
    was_suspect: bool = False  # when it was claimed
    crash_row: int = -1

    @property
    def is_suspect(self) -> bool:
        return self.crashes > 0

    def crash(self) -> None:
        """Its worker fell silent."""
        if self.rows > self.claimed_rows:
            self.crashes = 0
        elif self.reported is None:
            self.crashes += 1
        elif self.reported.is_begun or not self.is_suspect:
            late = 0 if self.reported.is_begun else 4
            was_alive = self.reported.rows < self.claimed_rows - late and self.reported.rows != self.crash_row
            self.crash_row = self.reported.rows
            self.crashes += not was_alive


@dataclass
class ModelJob:
    samples: list[ModelSample]
    job_class: JobClass = JobClass.STANDARD
    has_deadline: bool = False
    keeps: bool = False  # each sample has its own kept pixels
    state: JobState = JobState.QUEUED
    was_begun: bool = False
    is_overdue: bool = False
    ended: list[ModelSample] = field(default_factory=list)  # done and failed, in that order

    def in_place(self, *places: str) -> list[ModelSample]:
        return [sample for sample in self.samples if sample.place in places]


@dataclass
class ModelQueue:
    """Does what the scripts do, without Redis, races or bytes."""

    jobs: dict[str, ModelJob] = field(default_factory=dict)

    def claimable(self, worker: str, limit: int, interactive: int) -> list[tuple[int, int]]:
        """How many samples a claim brings, and how many of them are interactive at least.

        Several answers if a suspect may be of several classes.
        """
        known: Counter[JobClass] = Counter()
        suspects: Counter[JobClass] = Counter()
        for job in self.jobs.values():
            waiting = [] if job.state is JobState.PAUSED else job.in_place("fresh", "returned")
            suspects[job.job_class] += sum(sample.is_suspect for sample in waiting)
            known[job.job_class] += sum(not sample.is_suspect for sample in waiting)
        if self.has_suspect(worker):
            suspects.clear()
        with_one = [known + Counter([job_class]) for job_class in JobClass if suspects[job_class]]
        return [self._claimable(waiting, limit, interactive) for waiting in with_one or [known]]

    def has_suspect(self, worker: str) -> bool:
        held = [sample for job in self.jobs.values() for sample in job.in_place("running")]
        return any(s.worker == worker and s.was_suspect and s.rows <= s.claimed_rows for s in held)

    @staticmethod
    def _claimable(waiting: "Counter[JobClass]", limit: int, interactive: int) -> tuple[int, int]:
        first = min(interactive, waiting[JobClass.INTERACTIVE])
        return max(first, min(limit, waiting.total())), first

    def take(self, claim: Claim, worker: str) -> None:
        job = self.jobs[claim.job]
        sample = job.samples[claim.index]
        assert sample.place in {"fresh", "returned"}
        assert claim.pixels == rows_of(claim.index, 0, sample.rows)
        assert claim.is_suspect == sample.is_suspect
        assert claim.request.kept == (kept_by(claim.index) if job.keeps else b"")
        sample.place, sample.worker, sample.token = "running", worker, claim.token
        sample.claimed_rows, sample.reported, sample.was_suspect = sample.rows, None, sample.is_suspect
        assert job.state in {JobState.QUEUED, JobState.RUNNING}
        job.state, job.was_begun = JobState.RUNNING, True

    def commit(self, progress: Progress) -> CommitReply:
        reply = self._commit(progress)
        is_end = isinstance(progress.outcome, (Finished, Failed)) and reply.verdict is Verdict.ACCEPTED
        if is_end or reply.verdict in (Verdict.CORRUPT, Verdict.DUPLICATE):
            job = self.jobs[progress.job]
            is_over = len(job.ended) == len(job.samples)
            return replace(reply, ends_job=is_over and job.ended[-1] is job.samples[progress.index])
        return reply

    def _commit(self, progress: Progress) -> CommitReply:
        job = self.jobs.get(progress.job)
        if job is None:
            return CommitReply(verdict=Verdict.FENCED, rows=0)
        sample = job.samples[progress.index]
        if sample.place != "running" or sample.token != progress.token:
            return self._refuse(job, sample, progress)
        if job.state is JobState.CANCELLING and not isinstance(progress.outcome, Finished):
            self._end(job, sample, "cancelled")
            return CommitReply(verdict=Verdict.CANCELLED, rows=0)
        sample.reported = progress.place or sample.reported
        reply = self._append(sample, progress)
        if reply.verdict is Verdict.CORRUPT:
            self._end(job, sample, "failed")
        elif isinstance(progress.outcome, Finished) and sample.rows < ROWS:
            reply = CommitReply(verdict=Verdict.BEHIND, rows=sample.rows)
        elif progress.outcome is not None:
            self._conclude(job, sample, progress)
            reply = CommitReply(verdict=Verdict.ACCEPTED, rows=reply.rows)
        elif job.state is JobState.PAUSED and reply.verdict is not Verdict.BEHIND:
            reply = replace(reply, verdict=Verdict.PAUSED)
        return reply

    def lose(self, worker: str, *, crashed: bool) -> int:
        lost = [(job, s) for job in self.jobs.values() for s in job.in_place("running") if s.worker == worker]
        for job, sample in lost:
            if crashed:
                sample.crash()
            elif sample.rows > sample.claimed_rows:
                sample.crashes = 0
            if job.state is JobState.CANCELLING:
                self._end(job, sample, "cancelled")
            elif crashed and sample.crashes >= 3:
                self._end(job, sample, "failed")
            else:
                sample.place, sample.token, sample.released = "returned", "", ""
        return len(lost)

    def cancel(self, job: ModelJob) -> None:
        if job.state in TERMINAL or job.state is JobState.CANCELLING:
            return
        job.state = JobState.CANCELLING
        for sample in job.in_place("fresh", "returned"):
            sample.place = "cancelled"
        self._settle(job)

    def pause(self, job: ModelJob) -> bool:
        """Whether that can be done."""
        if job.state in {JobState.QUEUED, JobState.RUNNING}:
            job.state = JobState.PAUSED
        return job.state is JobState.PAUSED

    def resume(self, job: ModelJob) -> bool:
        """Whether that can be done."""
        if job.state is JobState.PAUSED:
            job.state = JobState.RUNNING if job.was_begun else JobState.QUEUED
        return job.state in {JobState.QUEUED, JobState.RUNNING}

    def pass_deadline(self, job: ModelJob) -> int:
        if not job.has_deadline or job.state in TERMINAL or job.state is JobState.CANCELLING:
            return 0
        job.is_overdue = True
        self.cancel(job)
        return 1

    @staticmethod
    def _refuse(job: ModelJob, sample: ModelSample, progress: Progress) -> CommitReply:
        if sample.place in {"done", "failed"} and sample.token == progress.token:
            return CommitReply(verdict=Verdict.DUPLICATE, rows=ROWS)
        if job.state in {JobState.CANCELLING, JobState.CANCELLED} or job.is_overdue:
            return CommitReply(verdict=Verdict.CANCELLED, rows=0)
        again = isinstance(progress.outcome, Released) and sample.released == progress.token
        if again and sample.place in {"running", "returned"}:
            return CommitReply(verdict=Verdict.DUPLICATE, rows=0)
        return CommitReply(verdict=Verdict.FENCED, rows=0)

    @staticmethod
    def _append(sample: ModelSample, progress: Progress) -> CommitReply:
        last = progress.first_row + len(progress.pixels) // COLUMNS
        if progress.first_row > sample.rows:
            return CommitReply(verdict=Verdict.BEHIND, rows=sample.rows)
        if (
            progress.pixels != rows_of(progress.index, progress.first_row, last)
            and sample.rows > progress.first_row
        ):
            return CommitReply(verdict=Verdict.CORRUPT, rows=sample.rows)
        if last <= sample.rows:
            repeated = Verdict.DUPLICATE if progress.pixels else Verdict.ACCEPTED
            return CommitReply(verdict=repeated, rows=sample.rows)
        sample.rows = last
        return CommitReply(verdict=Verdict.ACCEPTED, rows=last)

    def _conclude(self, job: ModelJob, sample: ModelSample, progress: Progress) -> None:
        if isinstance(progress.outcome, Released):
            sample.place, sample.token, sample.released = "returned", "", progress.token
            sample.crashes = 0 if sample.rows > sample.claimed_rows else sample.crashes
        else:
            self._end(job, sample, "done" if isinstance(progress.outcome, Finished) else "failed")

    def _end(self, job: ModelJob, sample: ModelSample, place: str) -> None:
        sample.place = place
        if place in {"done", "failed"}:
            job.ended.append(sample)
        self._settle(job)

    @staticmethod
    def _settle(job: ModelJob) -> None:
        if job.in_place("fresh", "returned", "running"):
            return
        if job.state is JobState.CANCELLING:
            job.state = JobState.FAILED if job.is_overdue else JobState.CANCELLED
        else:
            job.state = JobState.FAILED if job.in_place("failed") else JobState.SUCCEEDED


class QueueMachine(MachineOnRedis):
    """The scripts on a real Redis, beside the model."""

    jobs = Bundle("jobs")
    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.once = queues_on(self.redis, lease_seconds=60)
        self.twice = queues_on(Twice(self.redis), lease_seconds=60)  # type: ignore[arg-type]  # it behaves like one
        self.twice = replace(self.twice, claims=self.once.claims)
        self.model = ModelQueue()
        self.request_ids: dict[str, str] = {}
        self.last_token = 0

    def _queue(self, twice: bool) -> Queues:
        return self.twice if twice else self.once

    @rule(
        target=jobs,
        count=st.integers(1, 4),
        request_id=st.sampled_from(["", "", "x", "y"]),
        job_class=st.sampled_from(JobClass),
        deadline=st.sampled_from([0.0, 1e6]),
        keeps=st.booleans(),
        twice=st.booleans(),
    )
    def submit(
        self, count: int, request_id: str, job_class: JobClass, deadline: float, keeps: bool, twice: bool
    ) -> str:
        known = self.request_ids.get(request_id)
        if known in self.model.jobs:
            before = self.model.jobs[known]
            count, job_class, keeps = len(before.samples), before.job_class, before.keeps
            deadline = 1e6 if before.has_deadline else 0.0
        request = request_for(count=count, job_class=job_class, deadline_seconds=deadline)
        kept = own_kept(count) if keeps else []
        job = self._run(self._queue(twice).clients.submit(request, request_id=request_id, kept=kept))
        if known in self.model.jobs:
            assert job.id == known
            return job.id
        assert job.id not in self.model.jobs
        self.model.jobs[job.id] = ModelJob(
            [ModelSample() for _ in range(count)], job_class, has_deadline=deadline > 0, keeps=keeps
        )
        if request_id:
            self.request_ids[request_id] = job.id
        return job.id

    @rule(
        target=claims,
        worker=WORKERS,
        limit=st.integers(0, 5),
        interactive=st.integers(0, 3),
        twice=st.booleans(),
    )
    def claim(self, worker: str, limit: int, interactive: int, twice: bool) -> Any:
        expected = self.model.claimable(worker, limit, interactive)
        claims = self._run(claim_from(self._queue(twice), worker, limit=limit, interactive=interactive))
        hurried = sum(claim.request.job_class is JobClass.INTERACTIVE for claim in claims)
        assert any(len(claims) == total and hurried >= first for total, first in expected)
        assert sum(claim.is_suspect for claim in claims) <= (not self.model.has_suspect(worker))
        for claim in claims:
            assert int(claim.token) > self.last_token
            self.last_token = int(claim.token)
            self.model.take(claim, worker)
        for job in self.model.jobs.values():
            took = [job.samples[claim.index] for claim in claims if self.model.jobs[claim.job] is job]
            fresh = any(sample.rows == 0 and sample.crashes == 0 and not sample.released for sample in took)
            returned = [sample for sample in job.in_place("returned") if not sample.is_suspect]
            assert not (fresh and [s for s in returned if s.rows]), "rows were left waiting"
        return multiple(*((worker, claim) for claim in claims))

    @rule(
        claim=claims,
        skipped=st.integers(-2, 1),
        rows=st.integers(0, 2),
        place=st.none() | st.builds(Place, st.integers(0, ROWS), st.booleans()),
        outcome=st.sampled_from([None, None, Finished(-1.0), Failed("no"), Released()]),
        spoilt=st.sampled_from([False] * 9 + [True]),
        twice=st.booleans(),
    )
    def commit(
        self,
        claim: tuple[str, Claim],
        skipped: int,
        rows: int,
        place: Place | None,
        outcome: Any,
        spoilt: bool,
        twice: bool,
    ) -> None:
        worker, sample = claim
        progress = replace(self._progress(sample, skipped, rows, outcome), place=place)
        if spoilt and progress.first_row < self._rows_of(
            sample
        ):  # only rows that Redis has: it cannot check new ones
            progress = replace(progress, pixels=bytes(value + 1 for value in progress.pixels))
        self._commit(worker, progress, twice)

    @rule(claim=claims, twice=st.booleans())
    def finish(self, claim: tuple[str, Claim], twice: bool) -> None:
        worker, sample = claim
        self._commit(worker, self._progress(sample, 0, ROWS, Finished(-1.0)), twice)

    def _progress(self, claim: Claim, skipped: int, rows: int, outcome: Any) -> Progress:
        first = min(ROWS, max(0, self._rows_of(claim) + skipped))
        return Progress(
            job=claim.job,
            index=claim.index,
            token=claim.token,
            first_row=first,
            pixels=rows_of(claim.index, first, min(ROWS, first + rows)),
            outcome=outcome,
        )

    def _rows_of(self, claim: Claim) -> int:
        job = self.model.jobs.get(claim.job)
        return job.samples[claim.index].rows if job else 0

    def _commit(self, worker: str, progress: Progress, twice: bool) -> None:
        expected = self.model.commit(progress)
        if twice:
            expected = self.model.commit(progress)
        [reply] = self._run(self._queue(twice).workers.commit(worker, [progress]))
        assert reply == expected

    @rule(worker=WORKERS, twice=st.booleans())
    def lose_the_lease(self, worker: str, twice: bool) -> None:
        expected = self.model.lose(worker, crashed=True)
        recovered = self._run(take_lease_away(self._queue(twice), self.redis, worker))
        assert recovered == (0 if twice else expected)  # the second reply says that nothing was left

    @rule(worker=WORKERS, twice=st.booleans())
    def leave(self, worker: str, twice: bool) -> None:
        self.model.lose(worker, crashed=False)
        self._run(self._queue(twice).workers.leave(worker))

    @rule(job_id=jobs, twice=st.booleans())
    def cancel(self, job_id: str, twice: bool) -> None:
        if job_id in self.model.jobs:
            self.model.cancel(self.model.jobs[job_id])
            self._run(self._queue(twice).clients.cancel(job_id))
        else:
            with pytest.raises(JobNotFound):
                self._run(self._queue(twice).clients.cancel(job_id))

    @rule(job_id=jobs, twice=st.booleans())
    def let_the_deadline_pass(self, job_id: str, twice: bool) -> None:
        job = self.model.jobs.get(job_id)
        expected = self.model.pass_deadline(job) if job else 0
        stopped = self._run(pass_deadline(self._queue(twice), self.redis, job_id))
        assert stopped == (0 if twice else expected)  # the second reply says that nothing was left

    @rule(job_id=jobs, twice=st.booleans())
    def pause(self, job_id: str, twice: bool) -> None:
        job = self.model.jobs.get(job_id)
        self._change(self._queue(twice).clients.pause(job_id), job, may=bool(job and self.model.pause(job)))

    @rule(job_id=jobs, twice=st.booleans())
    def resume(self, job_id: str, twice: bool) -> None:
        job = self.model.jobs.get(job_id)
        self._change(self._queue(twice).clients.resume(job_id), job, may=bool(job and self.model.resume(job)))

    def _change(self, call: Any, job: ModelJob | None, *, may: bool) -> None:
        if job and may:
            assert self._run(call).state is job.state
        else:
            with pytest.raises(JobOver if job else JobNotFound):
                self._run(call)

    @rule(job_id=jobs, twice=st.booleans())
    def delete(self, job_id: str, twice: bool) -> None:
        job = self.model.jobs.get(job_id)
        delete = self._queue(twice).clients.delete(job_id)
        if job and job.state in TERMINAL:
            self._run(delete)
            del self.model.jobs[job_id]
        else:
            with pytest.raises(JobNotFinished if job else JobNotFound):
                self._run(delete)

    @rule()
    def audit(self) -> None:
        assert self._run(self.once.upkeep.audit(every_seconds=0)) == {}

    @rule()
    def forget_the_scripts(self) -> None:
        self._run(self.redis.script_flush())

    @invariant()
    def redis_holds_what_the_model_holds(self) -> None:
        self._run(self._compare())

    async def _compare(self) -> None:
        await audit_pool(self.redis)
        jobs, _ = await self.once.clients.list(limit=1000)
        assert {job.id for job in jobs} == set(self.model.jobs)
        for job in jobs:
            model = self.model.jobs[job.id]
            counts = (
                len(model.in_place("done")),
                len(model.in_place("failed")),
                len(model.in_place("running")),
            )
            assert (job.state, (job.done, job.failed, job.running)) == (model.state, counts)
            assert (job.reason == "DEADLINE_EXCEEDED") == model.is_overdue
            await self._compare_pixels(job, model)

    async def _compare_pixels(self, job: Job, model: ModelJob) -> None:
        rows = {part.index: part.pixels for part in await self.once.watchers.rows(job, {})}
        results = {r.index: (r.pixels, bool(r.error)) async for r in self.once.watchers.results(job)}
        for index, sample in enumerate(model.samples):
            if sample.place in {"running", "returned"}:
                assert rows.get(index, b"") == rows_of(index, 0, sample.rows)
            elif sample.place in {"done", "failed"}:
                whole = (rows_of(index, 0, ROWS), False)
                assert results[index] == (whole if sample.place == "done" else (b"", True))
        ended = dict(await self.once.watchers.ended(job))
        assert ended == {index: not failed for index, (_, failed) in results.items()}


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_queue_does_what_the_model_does(redis_server: PrivateRedis) -> None:
    run_on(redis_server, QueueMachine, HealthCheck.data_too_large)
