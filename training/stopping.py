"""Ctrl-C and SIGTERM while something runs: it is asked to stop, and only the second time is it interrupted."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODE = 130  # of a process that Ctrl-C ended, as shells have it
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Request:
    """Whether somebody asked to stop."""

    def __init__(self) -> None:
        self.made = False

    def __call__(self, step: int) -> bool:
        """For a loop that asks after every step."""
        return self.made


@contextmanager
def asked() -> Iterator[Request]:
    """Within it, the first signal only makes the request; the next one does what it always does."""
    request = Request()
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def make(number: int, frame: FrameType | None) -> None:
        request.made = True
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in SIGNALS:
        signal.signal(number, make)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
