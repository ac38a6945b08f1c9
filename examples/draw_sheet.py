"""Draws 16 images with a VAE or GAN and writes them as one sheet.

python examples/draw_sheet.py [MODEL]
"""

import os
import sys

from smalti.client import Client

model = sys.argv[1] if len(sys.argv) > 1 else "sprites-vae"

with Client(os.environ.get("SMALTI_SERVER", "localhost:50051")) as client:
    drawn = client.draw(model, count=16, seed=7)

drawn.save("sheet.png", columns=4)
print(f"Wrote 16 images of {model}, seed {drawn.seed}, to sheet.png.")
