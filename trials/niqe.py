"""NIQE, the natural image quality evaluator (Mittal, Soundararajan, Bovik, IEEE Signal Processing Letters 2013).

Written after LIVE's software release, with LIVE's pristine model, so that figures compare with the literature
on low light: MATLAB's `rgb2gray`, the whole 8-bit image, no border removed. It differs in one point, named
`snap1`: where a window of the image is flat, rounding errors would decide the result, so they are set to zero.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.ndimage import correlate1d
from scipy.special import gammaln

from trials.images import Pixels

__all__ = ["VERSION", "gray", "measure"]

VERSION = "live-2012/snap1"
BLOCK_PX = 96
SNAP = 1e-10
MODEL_SHA256 = "f6284a2b53fd40bbc960472b76ec55b67a299a0270294b804c847e99b8cc1e30"

Array = npt.NDArray[np.float64]

RGB_TO_GRAY = np.array([0.298936021293776, 0.587043074451121, 0.114020904255103])  # MATLAB's rgb2gray
WINDOW = np.exp(-(np.arange(-3, 4) ** 2) / (2 * (7 / 6) ** 2))
WINDOW /= WINDOW.sum()
# Keys' cubic kernel (a = -0.5), widened to halve an image without aliasing: 8 taps at distances 0.25, 0.75, ...
HALVING = np.array([-3.0, -9.0, 29.0, 111.0, 111.0, 29.0, -9.0, -3.0]) / 256
SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))


def measure(image: Pixels) -> tuple[float, float]:
    """Return NIQE (lower is better) and the share of flat pixels, on which NIQE says little.

    Args:
        image: 8-bit grey levels, (H, W) or RGB (H, W, 3). The remainder of H and W by 96 is cut off below and
            on the right, so figures compare between images of one size only.

    Returns:
        The index, and the share (0 to 1) of pixels that equal their Gaussian-weighted surroundings of 7 x 7. Both
        are NaN if no block of 96 x 96 fits. The index is NaN if fewer than two blocks can be described: the
        image is too small (one block), or all but one of its blocks are flat.
    """
    rows, columns = (BLOCK_PX * (side // BLOCK_PX) for side in image.shape[:2])
    if rows == 0 or columns == 0:
        return np.nan, np.nan
    plane = gray(image)[:rows, :columns].astype(np.float64)
    coefficients = _normalised(plane)
    half = _normalised(_halved(_halved(plane).T).T)
    features = np.hstack([_features(coefficients, BLOCK_PX), _features(half, BLOCK_PX // 2)])
    return _distance(features), float(np.mean(coefficients == 0))


def gray(image: Pixels) -> Pixels:
    """Return the luminance of an RGB image as MATLAB's `rgb2gray` rounds it; a grey image is returned as it is."""
    if image.ndim == 2:
        return image
    luminance: Array = image @ RGB_TO_GRAY
    return np.floor(luminance + 0.5).astype(np.uint8)


def _normalised(plane: Array) -> Array:
    """Return the mean-subtracted, contrast-normalised coefficients, on the scale 0 to 255."""
    mean = _blurred(plane)
    deviation = np.sqrt(np.abs(_blurred(plane * plane) - mean * mean))
    return _snapped((plane - mean) / (deviation + 1))


def _blurred(plane: Array) -> Array:
    return correlate1d(correlate1d(plane, WINDOW, axis=0, mode="nearest"), WINDOW, axis=1, mode="nearest")


def _snapped(values: Array) -> Array:
    values[np.abs(values) < SNAP] = 0
    return values


def _halved(plane: Array) -> Array:
    """Halve the number of rows as MATLAB's `imresize` does: bicubic, antialiased, symmetric borders."""
    padded = np.pad(plane, ((3, 3), (0, 0)), mode="symmetric")
    rows = len(plane)
    half = np.zeros((rows // 2, plane.shape[1]))
    for k, weight in enumerate(HALVING):
        half += weight * padded[k : k + rows : 2]
    return half


def _features(coefficients: Array, side: int) -> Array:
    """Return the 18 features of each block of `side` x `side` coefficients: (blocks, 18)."""
    rows, columns = (length // side for length in coefficients.shape)
    blocks = coefficients.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(-1, side, side)
    alpha, left, right = _generalised_gaussian(blocks)
    features = [alpha, (left + right) / 2]
    for shift in SHIFTS:  # neighbours wrap around within the block, as in LIVE's code
        alpha, left, right = _generalised_gaussian(_snapped(blocks * np.roll(blocks, shift, axis=(1, 2))))
        mean = (right - left) * np.exp(gammaln(2 / alpha) - gammaln(1 / alpha))
        features += [alpha, mean, left, right]
    return np.stack(features, axis=1)


def _generalised_gaussian(blocks: Array) -> tuple[Array, Array, Array]:
    """Fit an asymmetric generalised Gaussian to each block by its moments: shape, left scale, right scale, (blocks,).

    NaN where a block has no negative or no positive value.
    """
    values = blocks.reshape(len(blocks), -1)
    below, above = np.minimum(values, 0), np.maximum(values, 0)
    squares_below, squares_above = (np.einsum("ij,ij->i", part, part) for part in (below, above))
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.sqrt(squares_below / np.count_nonzero(below, axis=1))
        right = np.sqrt(squares_above / np.count_nonzero(above, axis=1))
        mean_size = (above.sum(axis=1) - below.sum(axis=1)) / values.shape[1]
        ratio = mean_size**2 * values.shape[1] / (squares_below + squares_above)
        skew = left / right
        alpha = _shape(ratio * (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2)
    scale = np.exp((gammaln(1 / alpha) - gammaln(3 / alpha)) / 2)
    return alpha, left * scale, right * scale


@cache
def _shapes() -> tuple[Array, Array]:
    """Return the grid of shapes 0.2, 0.201, ..., 10 and the ratio (mean |x|)^2 / mean x^2 of each, which rises."""
    shapes: Array = 0.2 + 0.001 * np.arange(9801, dtype=np.float64)
    ratios: Array = np.exp(2 * gammaln(2 / shapes) - gammaln(1 / shapes) - gammaln(3 / shapes))
    return shapes, ratios


def _shape(ratio: Array) -> Array:
    """Return the shape of the grid whose ratio is nearest; the smaller of two that are equally near."""
    shapes, ratios = _shapes()
    above = np.clip(np.searchsorted(ratios, ratio), 1, len(ratios) - 1)
    nearest = above - ((ratio - ratios[above - 1]) ** 2 <= (ratio - ratios[above]) ** 2)
    return np.where(np.isnan(ratio), np.nan, shapes[nearest])


def _distance(features: Array) -> float:
    """Return the distance between the features' distribution and that of pristine photographs."""
    complete = features[~np.isnan(features).any(axis=1)]
    if len(complete) < 2:
        return np.nan
    mean, covariance = _pristine()
    difference = mean - np.nanmean(features, axis=0)
    inverse = np.linalg.pinv((covariance + np.cov(complete, rowvar=False)) / 2)
    return float(np.sqrt(difference @ inverse @ difference))


@cache
def _pristine() -> tuple[Array, Array]:
    """Return mean (36,) and covariance (36, 36) of LIVE's model of pristine photographs; see NOTICE.md."""
    with np.load(Path(__file__).with_name("niqe_live2012.npz")) as file:
        mean, covariance = file["mean"], file["covariance"]
    if hashlib.sha256(mean.astype("<f8").tobytes() + covariance.astype("<f8").tobytes()).hexdigest() != MODEL_SHA256:
        raise RuntimeError("trials/niqe_live2012.npz is not LIVE's model of 2012: restore the file, or install again")
    return mean, covariance
