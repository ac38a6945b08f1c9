"""Shows what two latent dimensions of a VAE mean, around an image that it drew.

python examples/sweep_latent.py [MODEL]
"""

import os
import sys

from smalti.client import Client

model = sys.argv[1] if len(sys.argv) > 1 else "sprites-vae"

with Client(os.environ.get("SMALTI_SERVER", "localhost:50051")) as client:
    [image] = client.draw(model, seed=7)
    swept = client.sweep(model, (0, 1), image=image, steps=8)

swept.save("sweep.png")
print(f"Wrote dimension 0 (down) against dimension 1 (right) of {model} to sweep.png.")
