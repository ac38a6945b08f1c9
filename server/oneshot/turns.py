"""Does small steps of many requests in turns, in a few threads, so that a short request never waits for a long one."""

from asyncio import wrap_future
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Lock
from time import monotonic
from typing import Any, Generic, TypeVar

from smalti.errors import DeadlinePassed, PicturesFull
from smalti.runtime.metrics import PICTURE_PIXELS

Result = TypeVar("Result")
Step = Callable[[], Result]
_RETRY_SECONDS = 0.2  # enough for many pictures


class Room:
    """Bounds the picture work that is admitted at once, in pixels. Use it in the event loop alone."""

    def __init__(self, pixels: int) -> None:
        self._limit = pixels
        self._taken = 0

    @contextmanager
    def take(self, pixels: int) -> Iterator[None]:
        """Keep room for this much work until the block ends; raises PicturesFull at once where there is too little.

        A request takes at most half of the free room: large ones together never take what small ones need. It counts
        for at most a quarter of the room: the largest one fits while half is free.
        """
        counted = min(pixels, max(1, self._limit // 4))
        if counted > self._most():
            raise PicturesFull(
                f"The server is busy with pictures: {self._taken} of at most {self._limit} pixels are being read or "
                f"written, and {counted} more are over half of what is free.",
                retry_seconds=_RETRY_SECONDS,
            )
        self._count(counted)
        try:
            yield
        finally:
            self._count(-counted)

    def _most(self) -> int:
        """Pixels that the next request may take: half of the free ones, rounded up so that the last can be taken."""
        return (self._limit - self._taken + 1) // 2

    def _count(self, pixels: int) -> None:
        self._taken += pixels
        PICTURE_PIXELS.inc(pixels)


class Turns:
    """Runs the next step of each request after another. A request has one step at a time in work."""

    def __init__(self, *, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="turns")
        self._idle = threads
        self._waiting: deque[_Work[Any]] = deque()
        self._lock = Lock()

    async def run(self, steps: Sequence[Step[Result]], *, deadline: float | None = None) -> list[Result]:
        """The results of the steps; what a step raises ends the request. `deadline` is by the event loop's clock.

        No step begins after the deadline, which raises DeadlinePassed, or once this call is cancelled.
        """
        work = _Work(list(reversed(steps)), deadline)
        if self._is_first(work):
            self._pool.submit(self._work)
        try:
            return await wrap_future(work.answer)
        finally:
            work.answer.cancel()

    def close(self) -> None:
        """End the threads; every request must have been answered."""
        self._pool.shutdown()

    def _is_first(self, work: "_Work[Any]") -> bool:
        """Let the work wait for its turn; returns whether a thread must be woken for it."""
        with self._lock:
            self._waiting.append(work)
            self._idle -= (woken := self._idle > 0)
        return woken

    def _work(self) -> None:
        """In a thread: do step after step until nothing waits."""
        while (work := self._next()) is not None:
            if work.advance():
                with self._lock:
                    self._waiting.append(work)

    def _next(self) -> "_Work[Any] | None":
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._idle += 1
            return None


@dataclass(eq=False, slots=True)
class _Work(Generic[Result]):
    """The steps of one request that are left, the next one last, and what the others gave."""

    left: list[Step[Result]]
    deadline: float | None
    results: list[Result] = field(default_factory=list)
    answer: "Future[list[Result]]" = field(
        default_factory=Future
    )  # cancelled when nobody waits for it any more

    def advance(self) -> bool:
        """Do one step, if it is still wanted; returns whether others are left."""
        try:
            self._refuse_late()
            if self.left and not self.answer.cancelled():
                self.results.append(self.left.pop()())
        except Exception as error:  # noqa: BLE001  # it ends this request; the others go on
            with suppress(InvalidStateError):  # cancelled meanwhile
                self.answer.set_exception(error)
        return not self._is_over()

    def _refuse_late(self) -> None:
        if self.deadline is not None and self.deadline <= monotonic():
            raise DeadlinePassed(
                "The deadline passed before all of the request was read, or its answer written."
            )

    def _is_over(self) -> bool:
        if not self.left:
            with suppress(InvalidStateError):
                self.answer.set_result(self.results)
        return self.answer.done()
