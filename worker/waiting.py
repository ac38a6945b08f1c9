"""Waits for events that may not come: with a limit of time, or until the worker stops."""

import asyncio
from collections.abc import Awaitable
from typing import Any


async def wait_until(event: asyncio.Event, *, seconds: float) -> bool:
    """Wait for the event, but no longer than this; returns whether it is set."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
    return event.is_set()


async def wait_for_bell(bell: Awaitable[None], stopping: asyncio.Event) -> None:
    """Wait until the bell rings or the worker stops."""
    rung = asyncio.ensure_future(bell)
    stop = asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait({rung, stop}, return_when=asyncio.FIRST_COMPLETED)
        if rung.done():
            rung.result()
    finally:
        await _cancel(rung, stop)


async def _cancel(*futures: asyncio.Future[Any]) -> None:
    for future in futures:
        future.cancel()
    await asyncio.gather(*futures, return_exceptions=True)
