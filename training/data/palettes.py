"""Finds a palette for pictures by k-means in CIELAB, where equal distances look equally large."""

import warnings

import numpy as np
from numpy.typing import NDArray

from smalti import palette


def find_palette(rgb: NDArray[np.uint8], *, background: str, colours: int, seed: int) -> NDArray[np.uint8]:
    """At most `colours` colours for the images (…, 3): the background first, then dark to light.

    The background is kept exactly. It is not clustered, because it would pull similar colours towards it.
    """
    fill = palette.parse([background])
    found, counts = np.unique(rgb.reshape(-1, 3), axis=0, return_counts=True)
    foreground = (found != fill).any(axis=1)
    found, counts = found[foreground], counts[foreground]
    if len(found) >= colours:
        found = _cluster(found, counts, colours - 1, seed)
    dark_to_light = np.argsort(palette.to_lab(found)[:, 0], kind="stable")
    return np.concatenate([fill, found[dark_to_light]])


def simplify(rgb: NDArray[np.uint8], *, colours: int, seed: int) -> NDArray[np.uint8]:
    """The colours (count, 3), each replaced by the nearest of at most `colours` of them."""
    found, counts = np.unique(rgb, axis=0, return_counts=True)
    if len(found) <= colours:
        return rgb
    return palette.paint(palette.nearest(rgb, few := _cluster(found, counts, colours, seed)).pixels, few)


def _cluster(
    found: NDArray[np.uint8], counts: NDArray[np.int64], clusters: int, seed: int
) -> NDArray[np.uint8]:
    """The centres of the clusters, without repetition; each colour weighs as often as it occurs."""
    from sklearn.cluster import KMeans  # slow to import, and only needed here

    means = KMeans(n_clusters=clusters, n_init=2, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer distinct colours than clusters is fine here
        means.fit(palette.to_lab(found), sample_weight=counts)
    return np.unique(palette.from_lab(means.cluster_centers_), axis=0)
