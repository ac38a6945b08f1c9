"""Keeps the books of a worker: which samples it holds, and what Redis has yet to be told of them."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from smalti.jobs.job import CommitReply, Progress, Released, Verdict
from worker.sample import Sample

_COMMIT_BYTES = 4 * 1024 * 1024  # of pixels in one call, so that Redis is never busy for long
_LOST = frozenset({Verdict.FENCED, Verdict.CANCELLED, Verdict.CORRUPT})


@dataclass(frozen=True, slots=True)
class Entry:
    """One sample's part of a commit."""

    sample: Sample
    progress: Progress


class Ledger:
    """Samples by their fencing token, from the claim until Redis has their end or they belong to somebody else."""

    def __init__(self) -> None:
        self._held: dict[str, Sample] = {}

    def __len__(self) -> int:
        return len(self._held)

    @property
    def held(self) -> Collection[Sample]:
        """All samples this worker answers for."""
        return list(self._held.values())

    def holds(self, sample: Sample) -> bool:
        """Whether this worker still answers for a sample."""
        return sample.claim.token in self._held

    def add(self, sample: Sample) -> None:
        """Answer for a claimed sample from now on."""
        self._held[sample.claim.token] = sample

    def news(self) -> list[Entry]:
        """What the next commit says: every held sample, with as many unsent rows as one call may carry.

        Samples without new rows are mentioned too, for the reply says which of them were cancelled. Empty where there
        is nothing new at all.
        """
        if not any(sample.has_news for sample in self._held.values()):
            return []
        return self._entries(release=False)

    def farewell(self) -> list[Entry]:
        """What the last commit says: all rows, and that every unfinished sample is given back."""
        return self._entries(release=True)

    def settle(self, entry: Entry, reply: CommitReply) -> bool:
        """Book the answer; True where the sample has left the books: ended, given back, or lost."""
        if reply.verdict is Verdict.BEHIND:  # Redis lost rows it had acknowledged: they are sent again
            entry.sample.committed = reply.rows
            return False
        if reply.verdict in _LOST or entry.progress.outcome:
            self.drop([entry.sample])
            return True
        entry.sample.committed, entry.sample.told = reply.rows, entry.progress.place
        return False

    def drop(self, samples: Collection[Sample]) -> None:
        """Strike samples that are no longer this worker's."""
        for sample in samples:
            self._held.pop(sample.claim.token, None)

    def _entries(self, *, release: bool) -> list[Entry]:
        entries: list[Entry] = []
        budget = _COMMIT_BYTES
        for sample in self._held.values():
            progress = sample.progress()
            if entries and len(progress.pixels) > budget:
                continue
            budget -= len(progress.pixels)
            if release and progress.outcome is None:
                progress = replace(progress, outcome=Released())
            entries.append(Entry(sample, progress))
        return entries


def committed_first_row(entry: Entry) -> bool:
    """Whether this commit brought a job's first row, as far as its worker can tell."""
    return entry.progress.index == 0 and entry.progress.first_row == 0 and bool(entry.progress.pixels)
