"""Draws the same latents with every version of a GAN, oldest first, and writes them as one sheet.

python examples/gan_evolution.py [MODEL]
"""

import os
import sys
from pathlib import Path

from smalti import media
from smalti.client import Client

model = sys.argv[1] if len(sys.argv) > 1 else "sprites-gan-lecture"

with Client(os.environ.get("SMALTI_SERVER", "localhost:50051")) as client:
    versions = [each.version for each in client.models() if each.name == model]
    steps = [client.model(model, version=version).manifest["figures"]["steps"] for version in versions]
    drawn = [client.draw(model, count=10, seed=7, version=version).images for version in versions]

sheet = media.contact_sheet(
    [[image.picture() for image in row] for row in drawn],
    scale=4,
    labels=[f"{version}: step {step}" for version, step in zip(versions, steps, strict=True)],
)
Path("evolution.png").write_bytes(media.encode(sheet))
print(f"Wrote {len(versions)} versions of {model} to evolution.png.")
