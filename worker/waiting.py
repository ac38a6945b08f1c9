"""Waits for events, for so long and no longer."""

import asyncio


async def wait_until(event: asyncio.Event, *, seconds: float) -> bool:
    """Wait for the event at most so long; whether it is set."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
    return event.is_set()
