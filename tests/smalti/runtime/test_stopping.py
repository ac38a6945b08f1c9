"""SIGTERM and Ctrl-C ask a process to stop, interrupt it, or are ignored for a while."""

import asyncio
import os
import signal

import pytest

from smalti.runtime import stopping


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_sets_the_event(number):
    stop = stopping.stop_event()
    try:
        os.kill(os.getpid(), number)
        await asyncio.wait_for(stop.wait(), timeout=5)
    finally:
        for each in stopping.SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(each)


def test_the_first_signal_only_asks_and_the_second_interrupts():
    before = signal.getsignal(signal.SIGINT)
    with stopping.asked() as request:
        assert not request(step=1)
        signal.raise_signal(signal.SIGTERM)
        assert request(step=2)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_sigterm_and_a_closed_terminal_can_act_as_ctrl_c(number):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), stopping.interrupting():
        signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_ctrl_c_can_be_ignored_for_a_while():
    with stopping.ignoring_ctrl_c():
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
