"""Time and memory to find near-duplicates among many images: `python -m benchmarks.duplicates [MNIST.npz]`.

Without a file the images are made here: random blots, each also mirrored and in two other colours.
"""

import resource
import time
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks import machine
from benchmarks.command import Benchmark
from training import memory
from training.data import duplicates, sources
from training.data.sources import Indexed

SIZE = 20


@click.command(cls=Benchmark)
@click.argument("images", required=False, type=click.Path(path_type=Path))
@click.option("--count", type=click.IntRange(8), default=60_000, show_default=True, help="Images, at most.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(images: Path | None, count: int, file: Path | None) -> None:
    """Find the near-duplicates among the images of a file, and print time and memory."""
    memory.keep()
    rgb, opaque = _read(images, count) if images else _drawn(count)
    click.echo(f"{len(rgb)} images of {rgb.shape[1]}×{rgb.shape[2]}\n{machine.headline()}")
    started, busy = time.perf_counter(), time.process_time()
    found = int(duplicates.groups(rgb, opaque).max()) + 1
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    click.echo(
        f"{found} groups in {seconds:.1f} s ({busy:.1f} s of processors); {peak:.0f} MiB at most, images included"
    )
    machine.write(
        file,
        {
            "images": len(rgb),
            "groups": found,
            "seconds": seconds,
            "processor_seconds": busy,
            "peak_megabytes": peak,
        },
    )


def _read(path: Path, count: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    found = sources.read(path, size=SIZE, background="#ffffff")
    if not isinstance(found, Indexed):
        return found.rgb[:count], found.opaque[:count]
    return found.palette[found.pixels[:count]], np.ones(found.pixels[:count].shape, dtype=np.bool_)


def _drawn(count: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    rng = np.random.default_rng(0)
    drawings = count // 4
    opaque = (rng.random((drawings, SIZE // 2, SIZE // 2)) < 0.5).repeat(2, axis=1).repeat(2, axis=2)
    shade = rng.integers(40, 200, (drawings, SIZE // 2, SIZE // 2, 1)).repeat(2, axis=1).repeat(2, axis=2)
    rgb = np.where(opaque[..., None], shade * np.array([1.0, 0.6, 0.3]), 255).astype(np.uint8)
    turned = [rgb[..., order] for order in ([2, 1, 0], [1, 0, 2])]
    order = rng.permutation(4 * drawings)
    all_rgb = np.concatenate([rgb, rgb[:, :, ::-1], *turned])[order]
    return all_rgb, np.concatenate([opaque, opaque[:, :, ::-1], opaque, opaque])[order]


if __name__ == "__main__":
    main()
