"""What handlers read from their call."""

import asyncio

from server.http2.call import Call

Context = Call


def deadline_of(context: Context) -> float | None:
    """The RPC's deadline by the event loop's clock; None where the client set none."""
    left = context.time_remaining()
    return None if left is None else asyncio.get_running_loop().time() + left
