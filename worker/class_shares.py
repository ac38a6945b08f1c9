"""Says when samples make way for interactive ones, so that these do not starve the other classes."""

from collections.abc import Collection

from smalti.jobs.job import JobClass


class ClassShares:
    """The time of each class: the pixels drawn of it, divided by its weight. The class with less time is due.

    The queue hands samples out by the same rule (claim.lua), but it counts them as a whole when they are claimed. This
    counts rows, so a sample makes way only once its class has had its share.
    """

    def __init__(self) -> None:
        self._times = dict.fromkeys(JobClass, 0.0)
        self._clock = 0.0  # the time from which a class begins that had no sample in a slot

    def enter(self, job_class: JobClass, present: Collection[JobClass]) -> None:
        """A sample gets a slot; `present` are the classes of those that have one. Who was away has saved up nothing."""
        if job_class not in present:
            self._times[job_class] = max(self._times[job_class], self._clock)
        self._clock = max(self._clock, min(self._times[each] for each in (job_class, *present)))

    def draw(self, job_class: JobClass, pixels: int) -> None:
        """Pixels of a class are drawn; a negative number takes that back."""
        self._times[job_class] += pixels / job_class.weight

    def must_make_way(self, job_class: JobClass) -> bool:
        """Whether samples of this class, which has some in slots, make way for interactive ones now."""
        return self._times[JobClass.INTERACTIVE] <= self._times[job_class]
