"""Tells Prometheus and the log what became of samples."""

from collections.abc import Callable, Sequence
from math import inf

import structlog

from smalti.errors import Unavailable
from smalti.jobs.job import Claim, CommitReply, Failed, Released, Verdict
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
from worker.ledger import Entry, committed_first_row
from worker.sample import Sample
from worker.scheduler import Tick

log = structlog.get_logger()
_SAY_AGAIN_SECONDS = 60.0


class Reporter:
    """Knows the events of a worker by name, and what is counted for each."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._redis_away: set[type[Unavailable]] = set()  # kinds of reasons that were said
        self._redis_full = False
        self._away_was_said = False
        self._said: dict[str, float] = {}  # reasons, and when

    @property
    def is_redis_away(self) -> bool:
        """Whether Redis did not answer the last call."""
        return bool(self._redis_away)

    def claimed(self, claims: Sequence[Claim]) -> None:
        """Samples were claimed."""
        for claim in claims:
            if not claim.pixels:
                QUEUE_WAIT_SECONDS.labels(claim.request.model).observe(claim.queued_seconds)
        resumed = sum(bool(claim.pixels) for claim in claims)
        for claim in claims:
            if claim.is_suspect:
                log.info("sample under suspicion is drawn alone", job=claim.job, sample=claim.index)
        log.debug("samples claimed", count=len(claims), resumed=resumed, jobs=sorted({c.job for c in claims}))

    def drawn(self, tick: Tick) -> None:
        """A row of each sample of a tick was drawn."""
        ROWS_DRAWN.labels(tick.samples[0].claim.request.model).inc(len(tick.samples))

    def answered(self, entry: Entry, reply: CommitReply) -> None:
        """Redis has answered a sample's part of a commit."""
        claim, verdict = entry.sample.claim, reply.verdict
        if verdict is Verdict.FENCED:
            FENCED_WRITES.inc()
            log.warning("sample is another worker's", job=claim.job, sample=claim.index)
        elif verdict is Verdict.CORRUPT:
            CORRUPT_COMMITS.inc()
            log.error("committed rows contradict what was drawn", job=claim.job, sample=claim.index)
        elif verdict is Verdict.BEHIND:
            log.warning("redis lost rows", job=claim.job, sample=claim.index, has=reply.rows)
        elif committed_first_row(entry):
            TIME_TO_FIRST_ROW_SECONDS.labels(claim.request.model).observe(self.age(entry.sample))

    def ended(self, entry: Entry, reply: CommitReply) -> None:
        """A sample has left this worker."""
        claim = entry.sample.claim
        outcome = _outcome(entry, reply.verdict)
        SAMPLES_ENDED.labels(claim.request.model, outcome).inc()
        if isinstance(entry.sample.outcome, Released):
            SAMPLES_MADE_WAY.labels(claim.request.model).inc()
        if isinstance(entry.sample.outcome, Failed):
            log.warning("sample failed", job=claim.job, sample=claim.index, reason=entry.sample.outcome.error)

    def job_ended(self, sample: Sample) -> None:
        """This was a job's last sample."""
        JOB_SECONDS.labels(sample.claim.request.model).observe(self.age(sample))

    def lease_lost(self, samples: int) -> None:
        """The lease ran out; what was held is others' now."""
        log.warning("lease lost", samples=samples)

    def redis_away(self, error: Unavailable) -> None:
        """Redis does not answer, or not as it should; said once per outage and kind of reason."""
        if type(error) not in self._redis_away and not self._was_said(str(error)):
            log.warning("redis is away; drawing goes on", reason=str(error))
            self._away_was_said = True
        self._redis_away.add(type(error))

    def redis_answered(self) -> None:
        """Redis does answer; said once after an outage."""
        if self._redis_away and self._away_was_said:
            log.info("redis is back")
            self._away_was_said = False
        self._redis_away.clear()

    def _was_said(self, reason: str) -> bool:
        """Whether it was in the last minute: one call may fail and another succeed, in turns."""
        now, before = self._clock(), self._said.get(reason, -inf)
        if now - before >= _SAY_AGAIN_SECONDS:
            self._said[reason] = now
        return now - before < _SAY_AGAIN_SECONDS

    def redis_full(self) -> None:
        """Redis has no memory for more claims, though it takes rows; said once."""
        if not self._redis_full:
            log.warning(
                "redis is full: no samples are claimed until there is room; what was claimed is drawn"
            )
        self._redis_full = True

    def claims_answered(self) -> None:
        """Redis does take claims; said once after it was full."""
        if self._redis_full:
            log.info("redis has room again")
        self._redis_full = False
        self.redis_answered()

    def age(self, sample: Sample) -> float:
        """Seconds since the sample's job was submitted."""
        return sample.queued_seconds + self._clock() - sample.claimed_at


def _outcome(entry: Entry, verdict: Verdict) -> str:
    if verdict in (Verdict.FENCED, Verdict.CANCELLED, Verdict.CORRUPT):
        return verdict.value.lower()
    return type(entry.progress.outcome).__name__.lower()
