"""How much fine detail an image has kept, and how much noise: on luminance (H, W), in grey levels from 0 to 255."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trials.images import Pixels

__all__ = ["LUMA", "Plane", "Region", "cut", "gmsd", "high_frequency_log2", "luminance", "noise"]

Plane = npt.NDArray[np.floating[Any]]

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


class Region(NamedTuple):
    """A rectangle of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int


GMSD_CONSTANT = 170.0
ROUNDING = 1 / 12
"""Variance of the error of rounding to 8 bit, in squared grey levels: less energy than that counts as that."""


def luminance(image: Pixels) -> Plane:
    """Return 0.299 R + 0.587 G + 0.114 B of an 8-bit image (H, W, 3), in grey levels, not rounded."""
    red, green, blue = LUMA.astype(np.float32)
    plane: Plane = image[..., 0] * red + image[..., 1] * green + image[..., 2] * blue
    return plane


def cut(plane: Plane, part: Region) -> Plane:
    """Return the part of `plane` (H, W) that a region names."""
    return plane[part.top : part.top + part.height, part.left : part.left + part.width]


def gmsd(reference: Plane, image: Plane, *, within: Region | None = None) -> float:
    """Return the gradient magnitude similarity deviation (Xue, Zhang, Mou, Bovik 2014): 0 for equal images.

    As in the published code: means over 2 x 2 pixels, every other row and column of them, Prewitt's gradients,
    c = 170, zeros beyond the borders.

    Args:
        reference: luminance (H, W).
        image: luminance of the same size.
        within: deviation over this part alone.
    """
    first, second = _squared_gradient(_halved(reference)), _squared_gradient(_halved(image))
    similarity: Plane = (2 * np.sqrt(first * second) + GMSD_CONSTANT) / (first + second + GMSD_CONSTANT)
    if within is not None:
        similarity = cut(similarity, Region(*(px // 2 for px in within)))
    return float(np.std(similarity, dtype=np.float64))


def _halved(plane: Plane) -> Plane:
    rows, columns = plane.shape
    even: Plane = np.pad(plane, ((0, rows % 2), (0, columns % 2)))
    pairs = even[::2] + even[1::2]
    half: Plane = (pairs[:, ::2] + pairs[:, 1::2]) / 4
    return half


def _squared_gradient(plane: Plane) -> Plane:
    """Return the squared magnitude of Prewitt's gradient, of the same size."""
    padded: Plane = np.pad(plane, 1)
    down = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    across = (padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]) / 3
    x, y = down[:, 2:] - down[:, :-2], across[2:] - across[:-2]
    squares: Plane = x * x + y * y
    return squares


def high_frequency_log2(reference: Plane, image: Plane, *, within: Region | None = None) -> float:
    """Return log2 of an image's energy of fine detail over its reference's, at equal mean luminance.

    The energy is the mean square of the finest level of the Laplacian pyramid (Burt, Adelson 1983), which is what
    5 x 5 binomial means leave over. It is taken relative to the squared mean luminance, so that a factor on the grey
    levels changes nothing. Blurring lowers it; noise raises it.

    Args:
        reference: luminance (H, W).
        image: luminance; its size may differ.
        within: energy and mean luminance of this part alone.

    Returns:
        NaN if either is black.
    """
    before, after = _relative_energy(reference, within), _relative_energy(image, within)
    return math.log2(after / before)


def _relative_energy(plane: Plane, within: Region | None) -> float:
    fine: Plane = plane - _smoothed(_smoothed(plane).T).T
    if within is not None:
        plane, fine = cut(plane, within), cut(fine, within)
    mean = float(plane.mean(dtype=np.float64))
    energy = max(float(np.mean(fine * fine, dtype=np.float64)), ROUNDING)
    return energy / mean**2 if mean > 0 else math.nan


def _smoothed(plane: Plane) -> Plane:
    """Return binomial means (1, 4, 6, 4, 1) / 16 of each row and its neighbours, borders mirrored."""
    rows = np.pad(plane, ((2, 2), (0, 0)), mode="symmetric")
    means: Plane = (rows[:-4] + rows[4:] + 4 * (rows[1:-3] + rows[3:-1]) + 6 * rows[2:-2]) / 16
    return means


def noise(plane: Plane) -> float:
    """Return an estimate of the noise's standard deviation in grey levels (Donoho, Johnstone 1994).

    The median size of the finest diagonal Haar coefficients, one for each 2 x 2 pixels, / 0.6745. Fine texture counts
    as noise. NaN if the image has no 2 x 2 pixels.
    """
    rows, columns = (side // 2 * 2 for side in plane.shape)
    if rows == 0 or columns == 0:
        return math.nan
    whole = plane[:rows, :columns]
    steps = whole[::2] - whole[1::2]
    diagonal = (steps[:, ::2] - steps[:, 1::2]) / 2
    return float(np.median(np.abs(diagonal))) / 0.6745
