"""Triton's client and smalti's work in one process, whichever is imported first."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server.conftest import Running

ROOT = Path(__file__).parents[3]
IMPORTS = {"smalti first": "from smalti import Client", "triton first": "import tritonclient.grpc as triton"}
USE = """
import sys
import numpy as np

address = sys.argv[1]
latents = np.zeros((1, 3), np.float32)
asked = triton.InferInput("latent", [1, 3], "FP32")
asked.set_data_from_numpy(latents)
with Client(address) as client, triton.InferenceServerClient(address) as other:
    [image] = client.decode("toy-vae", latents).images
    [pixels] = other.infer("toy-vae.decode", [asked]).as_numpy("pixels")
print((image.width, image.height), pixels.T.shape)
"""


def in_both_orders(python: Path | str, address: str, folder: Path) -> list[str]:
    """What a process prints that imports both clients and asks the server with both, for each order of the imports."""
    first, second = IMPORTS.values()
    codes = [f"{first}\n{second}\n{USE}", f"{second}\n{first}\n{USE}"]
    return [_printed([python, "-c", code, address], folder) for code in codes]


def _printed(command: list[Path | str], folder: Path) -> str:
    return subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True).stdout


async def test_both_clients_work_in_one_process(server: Running, tmp_path: Path):
    found = await asyncio.to_thread(in_both_orders, sys.executable, server.address, tmp_path)
    assert found == ["(5, 4) (5, 4)\n"] * 2


@pytest.mark.slow  # it installs packages into an environment
async def test_both_clients_work_in_a_fresh_environment(server: Running, tmp_path: Path):
    python = await asyncio.to_thread(fresh_environment, tmp_path / "environment")
    found = await asyncio.to_thread(in_both_orders, python, server.address, tmp_path)
    assert found == ["(5, 4) (5, 4)\n"] * 2


def fresh_environment(place: Path) -> Path:
    """The Python of a new environment with smalti and Triton's client, in the locked versions."""
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    python = place / "bin" / "python"
    wanted = ["--constraint", str(ROOT / "constraints.txt"), str(ROOT), "tritonclient[grpc]"]
    subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
    return python
