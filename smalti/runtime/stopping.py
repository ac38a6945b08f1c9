"""SIGTERM and Ctrl-C: how each kind of process learns that it should stop."""

import asyncio
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TypeAlias

EXIT_CODE = 130  # shells use this for Ctrl-C
SIGNALS = (signal.SIGINT, signal.SIGTERM)
Handler: TypeAlias = Callable[[int, FrameType | None], object] | int


def stop_event() -> asyncio.Event:
    """An event of the running loop that SIGTERM and Ctrl-C set."""
    stopping = asyncio.Event()
    for number in SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    return stopping


class Request:
    """Whether somebody asked to stop."""

    def __init__(self) -> None:
        self.made = False

    def __call__(self, step: int) -> bool:
        """For a loop that asks after every step."""
        return self.made


@contextmanager
def asked() -> Iterator[Request]:
    """In this context, the first signal only makes the request; the next one has its usual effect."""
    request = Request()
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def make(number: int, frame: FrameType | None) -> None:
        request.made = True
        for each, handler in before.items():
            signal.signal(each, handler)

    with _handling(SIGNALS, make):
        yield request


@contextmanager
def interrupting() -> Iterator[None]:
    """In this context, SIGTERM and a closed terminal raise KeyboardInterrupt, as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handling((signal.SIGTERM, signal.SIGHUP), interrupt):
        yield


@contextmanager
def ignoring_ctrl_c() -> Iterator[None]:
    """In this context, Ctrl-C does nothing."""
    with _handling((signal.SIGINT,), signal.SIG_IGN):
        yield


@contextmanager
def _handling(numbers: Sequence[signal.Signals], handler: Handler) -> Iterator[None]:
    """In this context, these signals have this handler; afterwards they have their old handlers again."""
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)
