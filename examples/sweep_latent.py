"""Shows what two latent dimensions of a VAE mean, around an image that it drew.

python examples/sweep_latent.py [MODEL]
"""

import os
import sys
from pathlib import Path

from smalti import media
from smalti.client import Client

model = sys.argv[1] if len(sys.argv) > 1 else "sprites-vae"

with Client(os.environ.get("SMALTI_SERVER", "localhost:50051")) as client:
    [image] = client.draw(model, seed=7).images
    swept = client.sweep(model, (0, 1), image=image, steps=8)

sheet = media.sheet([image.picture() for image in swept.images], columns=swept.steps)
Path("sweep.png").write_bytes(media.encode(sheet))
print(f"Wrote dimension 0 (down) against dimension 1 (right) of {model} to sweep.png.")
