"""Whether an enhancement keeps the order of lightness: what was brighter than another place stays brighter."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trials.images import Pixels

__all__ = ["CELLS", "cells", "disorder", "order_error"]

CELLS = 50
"""Cells of the grid along an image's shorter side, as in the published code."""

CHUNK = 64  # rows of comparisons that stay in the processor's cache

Array = npt.NDArray[np.float64]


def order_error(low: Pixels, image: Pixels) -> float:
    """Return the lightness order error, LOE (Wang, Zheng, Hu, Li 2013), as a share from 0 to 1: lower is better.

    Lightness is the largest of R, G and B. Published figures are counts on many kinds of grid and compare with none
    of another; this is the share of the ordered pairs of cells. Means over cells, not single pixels, are compared,
    because the order of single pixels in low light is the order of their noise.

    Args:
        low: 8-bit image (H, W, 3) before enhancement.
        image: the same after it.
    """
    return disorder(cells(_largest(low)), cells(_largest(image)))


def _largest(image: Pixels) -> Pixels:
    return np.maximum(np.maximum(image[..., 0], image[..., 1]), image[..., 2])  # many times as fast as max(axis=2)


def cells(plane: Pixels) -> Array:
    """Return the mean of each cell of a grid over `plane` (H, W): 50 along the shorter side, nearly square.

    A plane with a shorter side than that is its own grid.
    """
    share = min(1.0, CELLS / min(plane.shape))
    counts = [max(1, round(side * share)) for side in plane.shape]
    edges = [np.arange(count + 1) * side // count for count, side in zip(counts, plane.shape, strict=True)]
    strips = np.add.reduceat(plane, edges[0][:-1], axis=0, dtype=np.int64)
    sums = np.add.reduceat(strips, edges[1][:-1], axis=1)
    means: Array = sums / np.outer(np.diff(edges[0]), np.diff(edges[1]))
    return means


def disorder(before: npt.ArrayLike, after: npt.ArrayLike) -> float:
    """Return the share of ordered pairs (i, j) for which `before[i] >= before[j]` and `after[i] >= after[j]` differ."""
    first, second = np.ravel(before), np.ravel(after)
    changed = 0
    for start in range(0, len(first), CHUNK):
        some = slice(start, start + CHUNK)
        changed += int(np.count_nonzero((first[some, None] >= first) != (second[some, None] >= second)))
    return changed / len(first) ** 2
