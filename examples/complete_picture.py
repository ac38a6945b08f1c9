"""Draws an image, keeps its upper half, and lets the PixelRNN complete it in three other ways.

python examples/complete_picture.py [MODEL]
"""

import os
import sys
from pathlib import Path

from smalti import media
from smalti.client import Client, Completion, DrawFinished, Image

model = sys.argv[1] if len(sys.argv) > 1 else "sprites-pixel-rnn"


def draw(client: Client, seed: int, completion: Completion | None = None) -> Image:
    """Draw one image and wait for it."""
    events = client.draw_stream(model, seed=seed, completion=completion)
    [image] = [event.image for event in events if isinstance(event, DrawFinished)]
    return image


with Client(os.environ.get("SMALTI_SERVER", "localhost:50051")) as client:
    first = draw(client, seed=1)
    half = Completion(image=first, rows=first.height // 2)
    others = [draw(client, seed, half) for seed in (2, 3, 4)]

sheet = media.sheet([image.picture() for image in (first, *others)], columns=4)
Path("completed.png").write_bytes(media.encode(sheet))
print("Wrote the image and three other completions of its upper half to completed.png.")
