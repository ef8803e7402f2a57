"""SSIM, the structural similarity (Wang, Bovik, Sheikh, Simoncelli, IEEE Transactions on Image Processing 2004)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from trials.images import Pixels

__all__ = ["SIDE_PX", "measure"]

SIDE_PX = 11

Array = npt.NDArray[np.float64]

WINDOW = np.exp(-(np.arange(-(SIDE_PX // 2), SIDE_PX // 2 + 1) ** 2) / (2 * 1.5**2))
WINDOW /= WINDOW.sum()
TILE_PX = 32
# Row i holds the window from column i on: a product with it makes 32 means of 42 values, faster than one by one.
BAND = np.stack([np.pad(WINDOW, (i, TILE_PX - 1 - i)) for i in range(TILE_PX)])


def measure(reference: Pixels, image: Pixels) -> float:
    """Return the mean SSIM over pixels and channels of two 8-bit RGB images (H, W, 3), in [-1, 1].

    Gaussian window of 11 x 11, sigma 1.5, K 0.01 and 0.03, range 255; pixels whose window leaves the image do not
    count. NaN if a side is shorter than 11.
    """
    if min(image.shape[:2]) < SIDE_PX:
        return math.nan
    channels = [_channel_mean(reference[..., c].astype(np.float64), image[..., c].astype(np.float64)) for c in range(3)]
    return float(np.mean(channels))


def _channel_mean(x: Array, y: Array) -> float:
    rows, columns = (side - SIDE_PX + 1 for side in x.shape)
    # Strip after strip, whose planes stay in the processor's cache.
    strips = [slice(top, top + TILE_PX + SIDE_PX - 1) for top in range(0, rows, TILE_PX)]
    return math.fsum(_sum(x[strip], y[strip]) for strip in strips) / float(rows * columns)


def _sum(x: Array, y: Array) -> float:
    mean_x, mean_y, mean_product, mean_squares = _windowed(np.stack([x, y, x * y, x * x + y * y]))
    product, squares = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    covariance, variances = mean_product - product, mean_squares - squares
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return float(np.sum((2 * product + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))))


def _windowed(planes: Array) -> Array:
    """Return Gaussian means over 11 x 11 pixels, only where the window lies in the planes: (N, H - 10, W - 10).

    The planes, (N, H, W), have at most 42 rows. Tile after tile, since larger products would start BLAS's threads,
    which hinder trials that run beside each other.
    """
    rows, columns = (side - SIDE_PX + 1 for side in planes.shape[1:])
    down = BAND[:rows, : planes.shape[1]]
    means = np.empty((len(planes), rows, columns))
    for left in range(0, columns, TILE_PX):
        tile = planes[:, :, left : left + TILE_PX + SIDE_PX - 1]
        across = BAND[: columns - left, : tile.shape[2]]
        means[:, :, left : left + TILE_PX] = down @ tile @ across.T
    return means
