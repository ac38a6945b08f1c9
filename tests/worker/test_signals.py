"""A signal wakes its waiter once, and is kept until somebody waits; stopping wakes every task."""

import asyncio

from worker.signals import Signal, Signals


async def test_a_signal_is_kept_until_it_is_waited_for() -> None:
    signal = Signal()
    signal.notify()
    signal.notify()
    await asyncio.wait_for(signal.wait(), 1)
    waiting = asyncio.ensure_future(signal.wait())  # when it is waited for again
    await asyncio.sleep(0)
    assert not waiting.done()  # then the first wait has lowered it
    signal.notify()
    await asyncio.wait_for(waiting, 1)


async def test_stopping_wakes_every_task() -> None:
    signals = Signals()
    waiting = [asyncio.ensure_future(one.wait()) for one in (signals.room, signals.work, signals.news)]
    await asyncio.sleep(0)
    signals.stop()
    await asyncio.wait_for(asyncio.gather(*waiting), 1)
    assert signals.stopping.is_set()
