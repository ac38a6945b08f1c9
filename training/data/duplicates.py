"""Finds near-duplicates among many images: most pairs are compared only roughly, in blocks.

Two images are variants of each other if their silhouettes or their edges agree, mirrored or not; chains of variants
form a group. For the rough comparison, each image's vector is reduced to a few coordinates and the length of the rest.
By the Cauchy-Schwarz inequality, the product of two vectors is at most the product of the coordinates plus that of the
two lengths. Only pairs for which this sum is large enough are compared in full, so no pair is missed, and memory grows
with the images, not with the pairs.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smalti import palette

SAME_SILHOUETTE = (
    0.85  # intersection over union; chosen by eye on sprites: better merge strangers than separate variants
)
SAME_EDGES = 0.7  # correlation of the edges' strengths
FILLED = 0.95  # if this much of its bounding box is opaque, the silhouette is only a frame, and is ignored
BLOCK = 2048  # images; all pairs of two blocks are compared at once
PORTION = 512  # images or pairs whose edges are computed at once
COORDINATES = 256  # kept of each image for the rough comparison
SAMPLE = 1024  # images from which the coordinates are computed
DENSE = 0.004  # if more of a block's pairs remain, one product of the whole block is faster than single pairs

Indices = NDArray[np.int64]
Vectors = NDArray[np.float32]  # (images, values)


def groups(rgb: NDArray[np.uint8], opaque: NDArray[np.bool_]) -> Indices:
    """The group of every image: (images,), numbered from 0 by first appearance.

    Takes the images' colours (images, height, width, 3), and which pixels are opaque (images, height, width).
    """
    found = Groups(len(rgb))
    framed = frames(opaque)
    for rule in (_Silhouettes(opaque, framed), _Edges(rgb, opaque | ~framed[:, None, None])):
        _join(rule, found)
    return found.numbers()


def frames(opaque: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which images (images,) are opaque in a rectangle: pictures without transparency, with or without a margin."""
    heights, widths = (_extent(np.asarray(opaque.any(axis=axis))) for axis in (2, 1))
    return np.asarray(opaque.sum(axis=(1, 2)) >= np.float32(FILLED) * heights * widths)


def _extent(lines: NDArray[np.bool_]) -> Indices:
    """From the first to the last true value of each line: (lines,)."""
    extent = lines.shape[1] - lines.argmax(axis=1) - lines[:, ::-1].argmax(axis=1)
    return np.asarray(np.where(lines.any(axis=1), extent, 0))


class Groups:
    """The groups of images that are known so far."""

    def __init__(self, images: int) -> None:
        self.of = np.arange(images)

    def apart(self, pairs: Indices) -> NDArray[np.bool_]:
        """Whether the two images of each pair (2, pairs) are in different groups so far."""
        return np.asarray(self.of[pairs[0]] != self.of[pairs[1]])

    def join(self, pairs: Indices) -> None:
        """Merge the groups of the two images of each pair (2, pairs)."""
        from scipy.sparse import coo_array  # comes with scikit-learn
        from scipy.sparse.csgraph import connected_components

        one, other = self.of[pairs]
        size = len(self.of)
        links = coo_array((np.ones(len(one), dtype=np.bool_), (one, other)), shape=(size, size))
        self.of = connected_components(links.tocsr(), directed=False)[1][self.of].astype(np.int64)

    def numbers(self) -> Indices:
        """The group of every image, numbered from 0 by first appearance."""
        _, first, members = np.unique(self.of, return_index=True, return_inverse=True)
        return np.argsort(np.argsort(first))[members]


class _Rule(ABC):
    """Two images agree if the product of their vectors exceeds the sum of their `needs`."""

    images: Indices  # the images that the rule applies to
    vectors: NDArray[np.generic]  # one for each of them
    needs: Vectors  # (images,)
    slack: float  # if a product is this near to the sum, `agree` decides

    def part(self, rows: slice | Indices, *, mirrored: bool) -> Vectors:
        """The vectors of some images, or of their mirror images."""
        found = self.vectors[rows]
        return (found[:, self.mirror] if mirrored else found).astype(np.float32, copy=False)

    mirror: Indices  # where each value of a mirrored image's vector comes from

    def may_agree(self, one: slice, other: slice) -> bool:
        """Whether any image of one block could agree with one of the other."""
        return True

    @abstractmethod
    def agree(self, pairs: Indices, *, mirrored: bool) -> NDArray[np.bool_]:
        """The rule itself, for pairs (2, pairs) of positions in `images`."""


class _Silhouettes(_Rule):
    """Images agree by the intersection over union of their silhouettes; a frame is no silhouette."""

    slack = 0.05  # pixels: products of whole numbers are exact, `needs` is rounded

    def __init__(self, opaque: NDArray[np.bool_], framed: NDArray[np.bool_]) -> None:
        height, width = opaque.shape[1:]
        flat = opaque.reshape(len(opaque), height * width)
        areas = flat.sum(axis=1)
        by_area = np.argsort(areas, kind="stable")  # blocks of very different areas are not compared
        self.images = by_area[~framed[by_area]]
        self.vectors, self.areas = flat[self.images], areas[self.images].astype(np.float32)
        # common > s · (one + other − common), solved for `common`.
        self.needs = self.areas * np.float32(SAME_SILHOUETTE / (1 + SAME_SILHOUETTE))
        self.mirror = np.arange(height * width).reshape(height, width)[:, ::-1].ravel()

    def may_agree(self, one: slice, other: slice) -> bool:
        return bool(self.areas[one][-1] > 0.99 * SAME_SILHOUETTE * self.areas[other][0])

    def agree(self, pairs: Indices, *, mirrored: bool) -> NDArray[np.bool_]:
        one, other = self.vectors[pairs[0]], self.vectors[pairs[1]]
        common = (one & (other[:, self.mirror] if mirrored else other)).sum(1).astype(np.float32)
        union = self.areas[pairs[0]] + self.areas[pairs[1]] - common
        return np.asarray(common / np.maximum(union, 1) > SAME_SILHOUETTE)


class _Edges(_Rule):
    """Images agree by the correlation of their edges' strengths; the border of a frame is no edge."""

    slack = 1e-4  # many times the error of single precision

    def __init__(self, rgb: NDArray[np.uint8], inside: NDArray[np.bool_]) -> None:
        self.rgb, self.inside, self.images = rgb, inside, np.arange(len(rgb))
        count, height, width = rgb.shape[:3]
        self.vectors = np.empty((count, height * (width - 1) + (height - 1) * width), dtype=np.float32)
        for rows in _portions(count, PORTION):
            self.vectors[rows] = edges(rgb[rows], inside[rows])
        self.needs = np.full(count, SAME_EDGES / 2, dtype=np.float32)
        across = np.arange(height * (width - 1)).reshape(height, width - 1)
        down = np.arange((height - 1) * width).reshape(height - 1, width)
        self.mirror = np.concatenate([across[:, ::-1].ravel(), across.size + down[:, ::-1].ravel()])

    def agree(self, pairs: Indices, *, mirrored: bool) -> NDArray[np.bool_]:
        found = [np.zeros(0, dtype=np.bool_)]
        for part in _portions(pairs.shape[1], PORTION):
            one, other = self._edges(pairs[0, part]), self._edges(pairs[1, part], mirrored=mirrored)
            found.append(np.einsum("ij,ij->i", one, other) > SAME_EDGES)
        return np.concatenate(found)

    def _edges(self, chosen: Indices, *, mirrored: bool = False) -> NDArray[np.float64]:
        rgb, inside = self.rgb[chosen], self.inside[chosen]
        return edges(rgb[:, :, ::-1], inside[:, :, ::-1]) if mirrored else edges(rgb, inside)


def edges(rgb: NDArray[np.uint8], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The strength of every edge of lightness, whatever the colours, centred and of length 1: (images, features).

    Edges between two pixels that are not both `inside` (images, height, width) are 0.
    """
    lightness = palette.to_lab(rgb)[..., 0]
    across = np.abs(np.diff(lightness, axis=2)).reshape(len(rgb), -1)
    down = np.abs(np.diff(lightness, axis=1)).reshape(len(rgb), -1)
    strength = np.sqrt(np.concatenate([across, down], axis=1))  # the root makes weak edges count more
    counted = np.concatenate(
        [
            (inside[:, :, 1:] & inside[:, :, :-1]).reshape(len(rgb), -1),
            (inside[:, 1:] & inside[:, :-1]).reshape(len(rgb), -1),
        ],
        axis=1,
    )
    means = (strength * counted).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)
    centred = (strength - means[:, None]) * counted
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9))


@dataclass(frozen=True, slots=True)
class _Rough:
    """The reduced vectors of all images; the product of two is never less than that of the full vectors."""

    plain: Vectors  # (images, coordinates + 1)
    mirrored: Vectors

    @classmethod
    def of(cls, rule: _Rule) -> "_Rough":
        axes = _axes(rule)
        plain, mirrored = (cls._kept(rule, axes, mirrored=mirrored) for mirrored in (False, True))
        return cls(plain, mirrored)

    @staticmethod
    def _kept(rule: _Rule, axes: Vectors, *, mirrored: bool) -> Vectors:
        kept = np.empty((len(rule.images), axes.shape[1] + 1), dtype=np.float32)
        for rows in _portions(len(kept), PORTION):
            vectors = rule.part(rows, mirrored=mirrored)
            kept[rows, :-1] = vectors @ axes
            kept[rows, -1] = np.linalg.norm(vectors - kept[rows, :-1] @ axes.T, axis=1)
        return kept


def _axes(rule: _Rule) -> Vectors:
    """The orthogonal directions in which a sample of the images varies most: (values, coordinates)."""
    chosen = np.unique(np.linspace(0, len(rule.images) - 1, SAMPLE).astype(np.int64))
    _, _, directions = np.linalg.svd(rule.part(chosen, mirrored=False), full_matrices=False)
    return np.ascontiguousarray(directions[:COORDINATES].T)


def _join(rule: _Rule, groups: Groups) -> None:
    """Merge the groups of all images that agree by the rule."""
    if len(rule.images) < 2:
        return
    rough = _Rough.of(rule)
    blocks = list(_portions(len(rule.images), BLOCK))
    for number, one in enumerate(blocks):
        for other in blocks[number:]:
            if not rule.may_agree(one, other):
                continue
            for mirrored in (False, True):
                if len(np.unique(groups.of[rule.images[np.r_[one, other]]])) > 1:
                    _join_blocks(rule, rough, groups, one, other, mirrored=mirrored)


def _join_blocks(
    rule: _Rule, rough: _Rough, groups: Groups, one: slice, other: slice, *, mirrored: bool
) -> None:
    """Merge the groups of images that agree, one from each block."""
    bound = _over(rule, rough.plain[one], (rough.mirrored if mirrored else rough.plain)[other], one, other)
    chosen = bound >= -rule.slack
    if np.count_nonzero(chosen) > DENSE * chosen.size:
        products = rule.part(one, mirrored=False), rule.part(other, mirrored=mirrored)
        over = _over(rule, *products, one, other)
        pairs = _where(over >= -rule.slack, one, other)
        pairs = pairs[:, groups.apart(rule.images[pairs])]
        over = over[pairs[0] - one.start, pairs[1] - other.start]
    else:
        pairs = _where(chosen, one, other)
        pairs = pairs[:, groups.apart(rule.images[pairs])]
        over = _products(rule, pairs, mirrored=mirrored) - rule.needs[pairs].sum(axis=0)
    near = pairs[:, np.abs(over) <= rule.slack]
    agreeing = near[:, rule.agree(near, mirrored=mirrored)]
    if (joined := np.concatenate([pairs[:, over > rule.slack], agreeing], axis=1)).size:
        groups.join(rule.images[joined])


def _over(rule: _Rule, vectors: Vectors, others: Vectors, one: slice, other: slice) -> Vectors:
    """By how much the products of two blocks exceed the sums of `needs`: (images, other images)."""
    needs, more = rule.needs[one, None], rule.needs[other, None]
    left = np.concatenate([vectors, -needs, np.ones_like(needs)], axis=1)
    right = np.concatenate([others, np.ones_like(more), -more], axis=1)
    return np.asarray(left @ right.T)


def _where(chosen: NDArray[np.bool_], one: slice, other: slice) -> Indices:
    """The chosen pairs of two blocks, as positions in the rule's images: (2, pairs)."""
    flat = np.flatnonzero(chosen)
    return np.stack([flat // chosen.shape[1] + one.start, flat % chosen.shape[1] + other.start])


def _products(rule: _Rule, pairs: Indices, *, mirrored: bool) -> Vectors:
    found = [np.zeros(0, dtype=np.float32)]
    for part in _portions(pairs.shape[1], BLOCK):
        one = rule.part(pairs[0, part], mirrored=False)
        found.append(np.einsum("ij,ij->i", one, rule.part(pairs[1, part], mirrored=mirrored)))
    return np.concatenate(found)


def _portions(count: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
