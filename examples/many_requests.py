"""Sends 200 one-shot requests at once; the server gathers them into batches.

python examples/many_requests.py [MODEL]
"""

import asyncio
import os
import sys
from time import perf_counter

from smalti.client import AsyncClient

REQUESTS = 200


async def main(model: str) -> None:
    """Request many images of one seed at once."""
    async with AsyncClient(os.environ.get("SMALTI_SERVER", "localhost:50051")) as client:
        await client.draw(model, seed=7)  # connects, and reads the palette
        began = perf_counter()
        answers = await asyncio.gather(
            *(client.draw(model, seed=7, first_index=index) for index in range(REQUESTS))
        )
        seconds = perf_counter() - began
    print(f"{len(answers)} requests in {seconds:.2f} s: {len(answers) / seconds:.0f} a second.")


asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "sprites-vae"))
