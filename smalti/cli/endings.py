"""How a job ended: in a sentence, and as an exit code."""

from collections.abc import Sequence

from smalti.cli.exit_codes import FAILED, JOB_CANCELLED, JOB_OVERDUE, NOT_ENDED
from smalti.client import Job
from smalti.errors import SmaltiError
from smalti.jobs.job import JobState

_WORST_FIRST = (NOT_ENDED, FAILED, JOB_OVERDUE, JOB_CANCELLED, 0)


class JobNotSucceeded(SmaltiError):
    """The job has ended in another way; `exit_code` says how."""

    def __init__(self, message: str, *, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def code_of(job: Job) -> int:
    """The exit code for this job as it is now."""
    if not job.is_over:
        return NOT_ENDED
    if job.state is JobState.SUCCEEDED:
        return 0
    if job.state is JobState.CANCELLED:
        return JOB_CANCELLED
    return JOB_OVERDUE if job.reason == "DEADLINE_EXCEEDED" else FAILED


def code_of_all(jobs: Sequence[Job]) -> int:
    """The exit code for several jobs: that of the one with the worst end."""
    codes = {code_of(job) for job in jobs}
    return next(code for code in _WORST_FIRST if code in codes)


def require_success(job: Job) -> None:
    """Raise JobNotSucceeded unless the job, which has ended, succeeded."""
    code = code_of(job)
    if code:
        raise JobNotSucceeded(_sentence(job, code), exit_code=code)


def _sentence(job: Job, code: int) -> str:
    if code == JOB_CANCELLED:
        return f"Job {job.id} was cancelled after {job.done} of {job.count} samples."
    if code == JOB_OVERDUE:
        return (
            f"Job {job.id} was stopped at its deadline after {job.done} of {job.count} samples; "
            "smalti results writes them."
        )
    reason = f" ({job.reason})" if job.reason else ""
    return (
        f"Job {job.id} failed: {job.failed} of {job.count} samples could not be drawn{reason}; "
        "smalti results writes the others and says why."
    )
