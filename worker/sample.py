"""What a slot holds: one sample being drawn, from its claim until Redis knows its end."""

from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from smalti.errors import SampleFailed
from smalti.jobs.job import Claim, Failed, Finished, JobClass, Place, Progress, Released
from worker.plan import Plan
from worker.sample_trace import trace_of


@dataclass(frozen=True, slots=True)
class Lane:
    """One slot's part of a tick."""

    slot: int
    row: int  # of the image; at row 0 the slot's state is reset
    uniform: NDArray[np.float32]  # (columns,)
    forced: NDArray[np.int64]  # (columns,), −1 where a pixel is drawn
    temperature: float


@dataclass(frozen=True, slots=True)
class Row:
    """What a tick drew in one slot."""

    pixels: NDArray[np.int64]  # (columns,)
    log_probabilities: NDArray[np.float32]  # (columns,), nats under the undivided logits


class Sample:
    """One sample being drawn. All its rows are kept until it has ended, since Redis may ask for any of them again.

    Rows that were committed before this claim are drawn again as forced pixels. That brings the network's state and the
    log-probability to where the other worker was.
    """

    def __init__(self, claim: Claim, plan: Plan, *, claimed_at: float = 0.0) -> None:
        self.claim = claim
        self.claimed_at = claimed_at  # seconds, by the worker's clock
        self.row = 0  # the next one to hand out
        self.drawn = 0  # rows that came back
        self.committed = len(claim.pixels) // claim.request.row_bytes  # rows that Redis has
        self.log_probability = 0.0
        self.outcome: Finished | Failed | Released | None = None
        self.is_suspect = claim.is_suspect  # a worker fell silent with it, so it is drawn alone
        self.is_begun = False  # whether this suspect's next row is begun
        self.told: Place | None = None  # the last place that Redis has acknowledged
        self.trace = trace_of(claim)
        self._drawn_before = self.committed  # rows that are drawn again
        self.is_paused = False  # whether its job is
        self._leaving = False
        self._plan = plan
        self._pixels = bytearray(claim.pixels)

    @property
    def digest(self) -> str:
        """The digest of its model."""
        return self.claim.request.digest

    @property
    def job_class(self) -> JobClass:
        """The class of its job."""
        return self.claim.request.job_class

    @property
    def is_interactive(self) -> bool:
        """Whether somebody waits for it."""
        return self.job_class is JobClass.INTERACTIVE

    @property
    def is_cleared(self) -> bool:
        """Whether this suspect has a new row, so that it need no longer be drawn alone."""
        return self.is_suspect and self.committed > self._drawn_before

    @property
    def rows_again(self) -> int:
        """How many of the rows to hand out were drawn before."""
        return max(0, self._drawn_before - self.row)

    @property
    def place(self) -> Place | None:
        """How far it is, if its new rows do not show that."""
        if self.is_suspect:
            return Place(self.drawn, self.is_begun)
        return Place(self.drawn) if 0 < self.drawn < self._drawn_before else None

    @property
    def rows_left(self) -> int:
        """How many rows to hand out, those drawn again included; 0 once it has ended or makes way."""
        return 0 if self.outcome or self._leaving else self.claim.request.rows - self.row

    @property
    def has_news(self) -> bool:
        """Whether there is anything that Redis does not know."""
        place = self.place
        return (
            bool(self.outcome)
            or self.committed < self._rows_kept
            or (place is not None and place != self.told)
        )

    @property
    def queued_seconds(self) -> float:
        """From submit until the claim."""
        return self.claim.queued_seconds

    def next_lane(self, slot: int) -> Lane:
        """What the next tick has to draw for this sample.

        It does not depend on what the last tick drew (that is in the slot's state). So a tick can be handed out while
        the one before it is still under way.
        """
        row, plan = self.row, self._plan
        self.row += 1
        return Lane(slot, row, plan.uniform[row], plan.forced[row], plan.temperature)

    def take_back(self) -> None:
        """Undo the last `next_lane`, because its row was not drawn."""
        self.row -= 1
        if self._leaving:
            self._leave()

    def make_way(self) -> None:
        """Go back to the queue after the scheduled rows are drawn, so no work is lost."""
        self._leaving = True
        self._leave()

    def pause(self) -> None:
        """The same, because its job is paused."""
        self.is_paused = True
        self.make_way()

    def begin_again(self) -> None:
        """Go on as an ordinary sample. All rows are drawn again, since the state is in the suspects' runner."""
        claim, plan = self.claim, self._plan
        again = np.frombuffer(self._pixels, dtype=plan.pixel_type).reshape(-1, claim.request.columns)
        plan.forced[: len(again)] = again
        self.is_suspect, self.row, self.drawn, self.log_probability = False, 0, 0, 0.0
        self._drawn_before = len(again)

    def append(self, row: Row) -> None:
        """Take a drawn row. If its values are invalid, the sample fails and the row is not kept."""
        if self.outcome:  # it failed while this row was under way
            return
        log_probability = float(np.add.reduce(row.log_probabilities, dtype=np.float64))
        error = self._fault(row, log_probability)
        if error:
            self.fail(error)
            return
        if self.drawn == self._rows_kept:
            self._pixels += row.pixels.astype(self._plan.pixel_type).tobytes()
        self.log_probability += log_probability
        self.drawn += 1
        if self.drawn == self.claim.request.rows:
            self.outcome = Finished(self.log_probability)
        elif self._leaving:
            self._leave()

    def fail(self, error: str) -> None:
        """End the sample with one sentence for its client."""
        self.outcome = Failed(error)

    def progress(self) -> Progress:
        """What to tell Redis: every row it has not acknowledged, and the outcome, if there is one."""
        claim = self.claim
        failed = isinstance(self.outcome, Failed)
        return Progress(
            job=claim.job,
            index=claim.index,
            token=claim.token,
            first_row=self.committed,
            pixels=b"" if failed else bytes(self._pixels[self.committed * claim.request.row_bytes :]),
            place=self.place,
            outcome=self.outcome,
        )

    def _leave(self) -> None:
        if self.drawn == self.row and not self.outcome:
            self.outcome = Released()

    @property
    def _rows_kept(self) -> int:
        return len(self._pixels) // self.claim.request.row_bytes

    def _fault(self, row: Row, log_probability: float) -> str:
        if not isfinite(log_probability):  # then a pixel's is not finite either: finite ones cannot overflow
            return (
                f"The model's probabilities in row {self.drawn} are not numbers; "
                "try another seed or other kept pixels."
            )
        largest = np.maximum.reduce(row.pixels.view(np.uint64))  # a negative number becomes a huge one
        if largest >= self.claim.request.colours:
            return f"The model drew a colour in row {self.drawn} that its palette does not have."
        return ""


def refused(claim: Claim, error: SampleFailed, *, claimed_at: float = 0.0) -> Sample:
    """A sample that failed before its first row."""
    nothing = np.zeros((0, 0))
    plan = Plan(nothing.astype(np.float32), nothing.astype(np.int64), 1.0, np.dtype(np.uint8))
    sample = Sample(claim, plan, claimed_at=claimed_at)
    sample.fail(str(error))
    return sample
