"""Near-duplicates: the same groups as by comparing every pair in full, with far less memory."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components

from tests.training.data.test_splits import drawings, recoloured
from training.data import duplicates
from training.data.duplicates import SAME_EDGES, SAME_SILHOUETTE, edges, frames


def plain(rgb, opaque):
    """The groups by comparing every pair in full."""
    _, groups = connected_components(
        alike(rgb, opaque, rgb, opaque) | alike(rgb, opaque, rgb[:, :, ::-1], opaque[:, :, ::-1]),
        directed=False,
    )
    return groups.tolist()


def alike(rgb, opaque, other_rgb, other_opaque):
    one, other = (shape.reshape(len(shape), -1).astype(np.float32) for shape in (opaque, other_opaque))
    common = one @ other.T
    union = one.sum(1)[:, None] + other.sum(1) - common
    framed, other_framed = frames(opaque), frames(other_opaque)
    silhouettes = (common / np.maximum(union, 1) > SAME_SILHOUETTE) & ~framed[:, None] & ~other_framed
    found = edges(rgb, opaque | ~framed[:, None, None])
    others = edges(other_rgb, other_opaque | ~other_framed[:, None, None])
    return silhouettes | (found @ others.T > SAME_EDGES)


@st.composite
def images(draw):
    """A few drawings with blots, some mirrored, some without transparency, in any order."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, size = draw(st.integers(1, 12)), draw(st.sampled_from([4, 6, 10]))
    rgb, opaque = drawings(count, size, seed=int(rng.integers(1000)))
    chosen = rng.integers(0, count, draw(st.integers(1, 60)))
    rgb, opaque = rgb[chosen], opaque[chosen]
    blots = rng.random(opaque.shape) < draw(st.sampled_from([0.0, 0.05, 0.2]))
    rgb, opaque = np.where(blots[..., None], rng.integers(0, 256, rgb.shape), rgb), opaque ^ blots
    mirrored = rng.random(len(rgb)) < 0.5
    rgb[mirrored], opaque[mirrored] = rgb[mirrored, :, ::-1], opaque[mirrored, :, ::-1]
    opaque[rng.random(len(rgb)) < draw(st.sampled_from([0.0, 0.5, 1.0]))] = True
    return rgb.astype(np.uint8), opaque


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    images(), st.sampled_from([3, 8, 2048]), st.sampled_from([1, 5, 256]), st.sampled_from([0.0, 0.3, 1.0])
)
def test_the_groups_are_the_same_as_by_comparing_every_pair(found, block, coordinates, dense):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "BLOCK", block)
        patch.setattr(duplicates, "COORDINATES", coordinates)
        patch.setattr(duplicates, "DENSE", dense)  # all blocks in full, some, or none
        assert duplicates.groups(*found).tolist() == plain(*found)


def test_memory_grows_with_the_images_and_not_with_the_pairs(monkeypatch):
    monkeypatch.setattr(duplicates, "BLOCK", 256)
    rgb, opaque = drawings(2500, size=6)
    tracemalloc.start()
    duplicates.groups(rgb, opaque)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2500**2  # not even one byte a pair


def test_a_recolouring_and_its_mirror_image_are_variants_of_the_drawing():
    rgb, opaque = drawings(5)
    other = recoloured(rgb[:1], opaque[:1])
    all_rgb = np.concatenate([rgb, other, other[:, :, ::-1]])
    all_opaque = np.concatenate([opaque, opaque[:1], opaque[:1, :, ::-1]])
    assert duplicates.groups(all_rgb, all_opaque).tolist() == [0, 1, 2, 3, 4, 0, 0]


def of_whole(rgb):
    return edges(rgb, np.ones(rgb.shape[:3], dtype=np.bool_))


def correlated(correlation):
    """Two images without transparency whose edges have this correlation, as near as 256 greys allow."""
    base, strange = drawings(2, size=20, seed=3)[0].astype(np.float64)
    mixes = [np.rint(base + part * (strange - base)).astype(np.uint8) for part in np.linspace(0, 1, 200)]
    found = of_whole(np.stack([base.astype(np.uint8), *mixes]))
    return np.stack([base, mixes[np.abs(found[1:] @ found[0] - correlation).argmin()]]).astype(np.uint8)


@pytest.mark.parametrize(("correlation", "groups"), [(0.75, [0, 0]), (0.65, [0, 1])])
def test_images_without_transparency_are_variants_if_their_edges_correlate(correlation, groups):
    rgb = correlated(correlation)
    assert of_whole(rgb[:1]) @ of_whole(rgb[1:]).T == pytest.approx(correlation, abs=0.03)
    opaque = np.ones(rgb.shape[:3], dtype=np.bool_)  # silhouettes say nothing
    assert duplicates.groups(rgb, opaque).tolist() == groups
    mirrored = np.stack([rgb[0], rgb[1, :, ::-1]])
    assert duplicates.groups(mirrored, opaque).tolist() == groups


def test_a_recolouring_without_transparency_is_a_variant_by_its_edges():
    rgb, opaque = drawings(6)
    both = np.concatenate([rgb, 255 - rgb])
    groups = duplicates.groups(both, np.ones((12, *opaque.shape[1:]), dtype=np.bool_))
    assert groups.tolist() == [*range(6), *range(6)]


@pytest.mark.parametrize(("common", "groups"), [(17, [0, 1]), (18, [0, 0])])
def test_silhouettes_agree_if_more_than_85_percent_is_common(common, groups):
    opaque = np.zeros((2, 8, 8), dtype=np.bool_)
    opaque.reshape(2, -1)[0, :20] = opaque.reshape(2, -1)[1, :common] = True
    assert duplicates.groups(np.full((2, 8, 8, 3), 7, dtype=np.uint8), opaque).tolist() == groups


@pytest.mark.parametrize(("height", "width"), [(20, 20), (16, 16), (15, 20), (20, 15)])
def test_different_opaque_pictures_are_no_variants_whatever_margin_they_have(height, width):
    rng = np.random.default_rng(3)
    rgb = np.full((40, 20, 20, 3), 255, dtype=np.uint8)
    opaque = np.zeros((40, 20, 20), dtype=np.bool_)
    rgb[:, -height:, :width] = rng.integers(
        0, 256, (40, 1, 1, 3)
    )  # given pictures of one size on a larger canvas
    opaque[:, -height:, :width] = True
    for image in rgb:
        row, column = rng.integers(20 - height, 14), rng.integers(0, width - 6)
        image[row : row + 5, column : column + 5] = rng.integers(0, 256, 3)
    copies = rgb[:3, :, ::-1] if width == 20 else rgb[:3]  # and copies of three of them
    groups = duplicates.groups(np.concatenate([rgb, copies]), np.concatenate([opaque, opaque[:3]]))
    assert groups[40:].tolist() == groups[:3].tolist()
    assert (
        len(set(groups.tolist())) > 25
    )  # then only those agree that have their square at nearly the same place
