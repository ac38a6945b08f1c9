"""Draws samples as server and worker do: the same seed and index give the same images."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.graphs import Graphs
from smalti.randomness import normals, uniforms
from smalti.runtime.draw_row import GRAPH, INPUTS
from smalti.runtime.manifest import Manifest
from training.images import Pixels
from training.progress import Say, quiet

SLOTS = 128  # samples of a PixelRNN drawn at once


def draw(graphs: Graphs, count: int, seed: int, *, say: Say = quiet) -> Pixels:
    """Samples 0 … count − 1 of a seed: (count, height, width). `say` is called with the number drawn so far."""
    manifest = graphs.manifest
    if manifest.draws_rows:
        drawn = []
        for start in range(0, count, SLOTS):
            if start:
                say(f"drew {start} of {count} samples")
            drawn.append(_draw_rows(graphs, range(start, min(start + SLOTS, count)), seed))
        return np.concatenate(drawn)
    latent = np.stack([normals(seed, index, manifest.latent_size) for index in range(count)])
    [pixels] = graphs.run(manifest.graph_from_latent, {"latent": latent}, ["pixels"])
    return pixels


def _draw_rows(graphs: Graphs, indices: range, seed: int) -> Pixels:
    """Draw these samples row by row; the graph's state goes from one row to the next."""
    manifest = graphs.manifest
    uniform = _uniforms(manifest, indices, seed)
    states = {
        state.input: np.zeros((len(indices), *state.shape), dtype=state.type) for state in manifest.states
    }
    outputs = ["pixels", *(state.output for state in manifest.states)]
    rows: list[NDArray[np.int64]] = []
    for row in range(manifest.height):
        feeds = row_inputs(row, uniform[:, row]) | states
        pixels, *after = graphs.run_at_once(GRAPH, feeds, outputs)
        rows.append(pixels)
        states = dict(zip(states, after, strict=True))
    return np.stack(rows, axis=1)


def row_inputs(
    row: int, uniform: NDArray[np.float32], forced: Pixels | None = None
) -> dict[str, NDArray[Any]]:
    """The inputs of `draw_row`, without its states, if all slots are at this row; both arrays are (slots, width)."""
    count = len(uniform)
    values = (
        np.full(count, row == 0),
        np.full(count, row, dtype=np.int64),
        uniform,
        np.full(uniform.shape, -1, dtype=np.int64) if forced is None else forced,
        np.ones(count, dtype=np.float32),
    )
    return dict(zip(INPUTS, values, strict=True))


def _uniforms(manifest: Manifest, indices: range, seed: int) -> NDArray[np.float32]:
    """The random numbers of these samples: (samples, height, width)."""
    pixels = manifest.height * manifest.width
    numbers = np.stack([uniforms(seed, index, 0, pixels) for index in indices])
    return numbers.reshape(-1, manifest.height, manifest.width)
