"""The random numbers of a sample, addressed by position. They depend on (seed, index) alone.

Philox4x64 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) is counter based: any position can
be computed without those before it. Only raw bits are used, because NumPy keeps them stable between versions; it does
not promise that for the methods of `Generator`.
"""

import numpy as np
from numpy.typing import NDArray

MAX_SEED = 2**64 - 1
_WORDS_PER_BLOCK = 4  # Philox4x64 yields four 64-bit words for each step of its counter


def uniforms(seed: int, index: int, start: int, count: int) -> NDArray[np.float32]:
    """The uniform numbers at positions start … start+count−1 of sample `index`: (count,) float32 in (0, 1].

    Zero is excluded: an inverse CDF could map it to a pixel of probability zero.
    """
    words = _raw(seed, index, start, count)
    return ((words >> np.uint64(40)).astype(np.float32) + np.float32(1.0)) * np.float32(2.0**-24)


def normals(seed: int, index: int, count: int) -> NDArray[np.float32]:
    """Standard normal numbers of sample `index`: (count,) float32, by Box and Muller's transform (1958)."""
    pairs = _raw(seed, index, 0, 2 * count).astype(np.float64).reshape(2, count)
    radius_uniform, angle_uniform = (pairs + 1.0) * 2.0**-64
    return np.asarray(
        np.sqrt(-2.0 * np.log(radius_uniform)) * np.cos(2.0 * np.pi * angle_uniform), dtype=np.float32
    )


def _raw(seed: int, index: int, start: int, count: int) -> NDArray[np.uint64]:
    key = np.array([seed, index], dtype=np.uint64)
    first_block, offset = divmod(start, _WORDS_PER_BLOCK)
    generator = np.random.Philox(key=key, counter=first_block)
    return np.asarray(generator.random_raw(offset + count)[offset:], dtype=np.uint64)
