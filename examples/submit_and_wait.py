"""Submits a PixelRNN job, prints its progress, and writes every sample with its log-probability.

python examples/submit_and_wait.py [MODEL]
"""

import os
import sys
from pathlib import Path

from smalti.client import Client, Interrupted, Job

model = sys.argv[1] if len(sys.argv) > 1 else "sprites-pixel-rnn"
folder = Path("samples")
folder.mkdir(exist_ok=True)

with Client(os.environ.get("SMALTI_SERVER", "localhost:50051")) as client:
    job = client.submit(model, count=8, seed=7)
    for event in client.watch(job):  # or client.wait(job), without progress
        match event:
            case Job():
                print(f"{event.state}: {event.done} of {event.count}")
            case Interrupted():
                print(event.message)
    for result in client.results(job):
        if result.image is None:
            print(f"Sample {result.index} failed: {result.error}")
        else:
            path = result.image.save(folder / f"{result.index:05d}.png")
            print(f"{path}: {result.log_probability:.1f} nats")
