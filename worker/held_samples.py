"""The samples that a worker holds, and which part of them the next commit tells Redis."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from smalti.jobs.job import CommitReply, Progress, Released, Verdict
from worker.sample import Sample

_COMMIT_BYTES = 4 * 1024 * 1024  # bytes of pixels in one commit, so that its answer comes soon
_LOST = frozenset({Verdict.FENCED, Verdict.CANCELLED, Verdict.CORRUPT})


@dataclass(frozen=True, slots=True)
class CommitPart:
    """One sample's part of a commit."""

    sample: Sample
    progress: Progress


class HeldSamples:
    """Samples by their fencing token, from the claim until Redis knows their end or they belong to another worker."""

    def __init__(self) -> None:
        self.next_claim = 0  # its number: what earlier claims brought is held, or was
        self._held: dict[str, Sample] = {}

    def __len__(self) -> int:
        return len(self._held)

    @property
    def all(self) -> Collection[Sample]:
        """All samples that this worker holds now."""
        return list(self._held.values())

    @property
    def tokens(self) -> Collection[str]:
        """The fencing tokens of these samples."""
        return list(self._held)

    def __contains__(self, sample: Sample) -> bool:
        return self._held.get(sample.claim.token) is sample  # parts of the queue may give equal tokens

    def add(self, sample: Sample) -> None:
        """Hold a claimed sample."""
        self._held[sample.claim.token] = sample

    def drop(self, samples: Collection[Sample]) -> None:
        """Stop holding these samples."""
        for sample in samples:
            self._held.pop(sample.claim.token, None)

    def to_commit(self) -> list[CommitPart]:
        """The parts of the next commit: every held sample, as far as its new rows fit into one call.

        Samples without new rows are in it too, since the reply says which samples were cancelled. Empty if no sample
        has anything new.
        """
        if not any(sample.has_news for sample in self._held.values()):
            return []
        return self._parts(release=False)

    def to_hand_back(self) -> list[CommitPart]:
        """The parts of the last commits: all rows, and every unfinished sample is given back."""
        return self._parts(release=True)

    def acknowledge(self, part: CommitPart, reply: CommitReply) -> bool:
        """Note the reply to a part. Return True if its sample is no longer held: it ended, went back, or is lost."""
        if reply.verdict is Verdict.BEHIND:  # Redis lost rows it had acknowledged: they are sent again
            part.sample.committed = reply.rows
            return False
        if reply.verdict in _LOST or part.progress.outcome:
            self.drop([part.sample])
            return True
        part.sample.committed, part.sample.told = reply.rows, part.progress.place
        return False

    def _parts(self, *, release: bool) -> list[CommitPart]:
        parts: list[CommitPart] = []
        budget = _COMMIT_BYTES
        for sample in self._held.values():
            progress = sample.progress()
            if parts and len(progress.pixels) > budget:
                continue
            budget -= len(progress.pixels)
            if release and progress.outcome is None:
                progress = replace(progress, outcome=Released())
            parts.append(CommitPart(sample, progress))
        return parts


def has_first_row(part: CommitPart) -> bool:
    """Whether this part brought a job's first row, as far as its worker can tell."""
    return part.progress.index == 0 and part.progress.first_row == 0 and bool(part.progress.pixels)
