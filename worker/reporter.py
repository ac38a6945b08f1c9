"""Reports to Prometheus and the log what happens to samples."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import structlog

from smalti.jobs.job import Claim, CommitReply, Failed, Released, Verdict
from smalti.runtime import tracing
from smalti.runtime.metrics import (
    CORRUPT_COMMITS,
    FENCED_WRITES,
    JOB_SECONDS,
    QUEUE_WAIT_SECONDS,
    ROWS_DRAWN,
    SAMPLES_ENDED,
    SAMPLES_MADE_WAY,
    TIME_TO_FIRST_ROW_SECONDS,
)
from smalti.runtime.spans import Attributes
from worker.held_samples import CommitPart, has_first_row
from worker.sample import Sample
from worker.scheduler import Tick

log = structlog.get_logger()


class Reporter:
    """One method for each event."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock

    def claimed(self, claims: Sequence[Claim]) -> None:
        """Samples were claimed."""
        for claim in claims:
            if not claim.pixels:
                QUEUE_WAIT_SECONDS.labels(claim.request.model).observe(claim.queued_seconds)
        resumed = sum(bool(claim.pixels) for claim in claims)
        for claim in claims:
            if claim.is_suspect:
                log.info("suspect is drawn alone", **_named(claim))
        log.debug("samples claimed", count=len(claims), resumed=resumed, jobs=sorted({c.job for c in claims}))

    def begun(self, tick: Tick) -> None:
        """A tick is handed to the engine."""
        for sample in tick.samples:
            if sample.trace:
                sample.trace.begun()

    def drawn(self, tick: Tick) -> None:
        """A row of each sample of a tick was drawn."""
        ROWS_DRAWN.labels(tick.samples[0].claim.request.model).inc(len(tick.samples))
        for sample in tick.samples:
            if sample.trace:
                sample.trace.drawn(is_last=sample.outcome is not None)

    def answered(self, part: CommitPart, reply: CommitReply) -> None:
        """Redis answered a sample's part of a commit."""
        claim, verdict = part.sample.claim, reply.verdict
        if part.sample.trace and part.progress.pixels:
            part.sample.trace.committed()
        if verdict is Verdict.FENCED:
            FENCED_WRITES.inc()
            log.warning("sample belongs to another worker", **_named(claim))
        elif verdict is Verdict.CORRUPT:
            CORRUPT_COMMITS.inc()
            log.error("committed rows contradict what was drawn", **_named(claim))
        elif verdict is Verdict.BEHIND:
            log.warning("redis lost rows", **_named(claim), has=reply.rows)
        elif has_first_row(part):
            TIME_TO_FIRST_ROW_SECONDS.labels(claim.request.model).observe(self.age(part.sample))

    def ended(self, part: CommitPart, reply: CommitReply, *, commit_seconds: float) -> None:
        """A sample is no longer held, after a commit that took so long."""
        claim = part.sample.claim
        outcome = _outcome(part, reply.verdict)
        SAMPLES_ENDED.labels(claim.request.model, outcome).inc()
        if part.sample.trace:
            failed = isinstance(part.sample.outcome, Failed)
            part.sample.trace.ended(outcome, failed=failed, commit_seconds=commit_seconds)
        if isinstance(part.sample.outcome, Released) and not part.sample.is_paused:
            SAMPLES_MADE_WAY.labels(claim.request.model).inc()
        if isinstance(part.sample.outcome, Failed):
            log.warning("sample failed", **_named(claim), reason=part.sample.outcome.error)

    def job_ended(self, sample: Sample) -> None:
        """This was a job's last sample."""
        claim, seconds = sample.claim, self.age(sample)
        JOB_SECONDS.labels(claim.request.model).observe(seconds)
        whole: Attributes = {"smalti.job": claim.job, "smalti.samples": claim.request.count}
        tracing.start("job", parent=claim.origin.traceparent, attributes=whole, seconds_ago=seconds).end()

    def lease_lost(self, samples: Collection[Sample]) -> None:
        """The lease ran out, and the samples that were held belong to others now."""
        log.warning("lease lost", samples=len(samples))
        for sample in samples:
            if sample.trace:
                sample.trace.ended("lost")

    def age(self, sample: Sample) -> float:
        """Seconds since the sample's job was submitted."""
        return sample.queued_seconds + self._clock() - sample.claimed_at


def _named(claim: Claim) -> dict[str, Any]:
    """A sample in the log; the request id is that of the RPC that submitted its job."""
    return {"job": claim.job, "sample": claim.index, "request_id": claim.origin.rpc_id}


def _outcome(part: CommitPart, verdict: Verdict) -> str:
    if verdict in (Verdict.FENCED, Verdict.CANCELLED, Verdict.CORRUPT):
        return verdict.value.lower()
    return type(part.progress.outcome).__name__.lower()
