"""What an evaluation measures: NIQE, PSNR, SSIM, and what tells an error of exposure from an error of structure.

All on 8-bit images as they would be saved, whole, never on crops. `SETTINGS` is the record of how.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.ndimage import correlate1d

from trials import niqe as natural
from trials.images import Pixels
from trials.progress import DataError, ImageScore

__all__ = [
    "SETTINGS", "luminance_error", "mean_luminance", "mean_scores", "niqe", "niqe_flat_share",
    "psnr", "psnr_matched", "scaled", "score", "ssim", "ssim_matched",
]  # fmt: skip

PSNR_CAP_DB = 100.0
SSIM_SIDE_PX = 11

SETTINGS = {
    "images": "8-bit RGB, whole",
    "niqe": f"{natural.VERSION}: LIVE's pristine model, MATLAB's rgb2gray, blocks of {natural.BLOCK_PX} px",
    "psnr": f"RGB, range 255, at most {PSNR_CAP_DB:g} dB",
    "ssim": f"Wang et al. 2004: Gaussian {SSIM_SIDE_PX} x {SSIM_SIDE_PX}, sigma 1.5, K 0.01 and 0.03, range 255, "
    "borders left out, mean over R, G, B",
    "matched": "scaled to the reference's mean grey level (0.299 R + 0.587 G + 0.114 B), clipped, rounded to 8 bit",
    "mean": "over images, those left out that have no value",
}

Array = npt.NDArray[np.float64]

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
SSIM_WINDOW = np.exp(-(np.arange(-(SSIM_SIDE_PX // 2), SSIM_SIDE_PX // 2 + 1) ** 2) / (2 * 1.5**2))
SSIM_WINDOW /= SSIM_WINDOW.sum()


def niqe(image: Pixels) -> float:
    """Return NIQE of an 8-bit image, grey (H, W) or RGB (H, W, 3). Lower is better; see `trials.niqe.measure`.

    NaN where it is not defined: fewer than two blocks of 96 x 96, or hardly any that is not flat.

    Raises:
        DataError: if the image has another type or shape.
    """
    _require_pixels(image, grey=True)
    return natural.measure(image)[0]


def niqe_flat_share(image: Pixels) -> float:
    """Return the share (0 to 1) of pixels in flat surroundings. The larger it is, the less NIQE says.

    Raises:
        DataError: if the image is not 8-bit grey (H, W) or RGB (H, W, 3).
    """
    _require_pixels(image, grey=True)
    return natural.measure(image)[1]


def psnr(reference: Pixels, image: Pixels) -> float:
    """Return the peak signal-to-noise ratio of two 8-bit RGB images (H, W, 3) in dB, at most 100.

    Raises:
        DataError: if either has another type or shape, or the shapes differ.
    """
    _require_pair(reference, image)
    difference = reference.astype(np.float64) - image
    error = float(np.mean(difference * difference))
    return PSNR_CAP_DB if error == 0 else min(PSNR_CAP_DB, 10 * math.log10(255**2 / error))


def ssim(reference: Pixels, image: Pixels) -> float:
    """Return the structural similarity (Wang, Bovik, Sheikh, Simoncelli 2004) of two 8-bit RGB images (H, W, 3).

    The mean over pixels and channels, in [-1, 1]; NaN if a side is shorter than the window's 11 pixels.

    Raises:
        DataError: if either has another type or shape, or the shapes differ.
    """
    _require_pair(reference, image)
    if min(image.shape[:2]) < SSIM_SIDE_PX:
        return math.nan
    channels = [_channel_ssim(reference[..., c].astype(np.float64), image[..., c].astype(np.float64)) for c in range(3)]
    return float(np.mean(channels))


def _channel_ssim(x: Array, y: Array) -> float:
    mean_x, mean_y = _windowed(x), _windowed(y)
    product, squares = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    covariance = _windowed(x * y) - product
    variances = _windowed(x * x + y * y) - squares
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return float(np.mean((2 * product + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))))


def _windowed(plane: Array) -> Array:
    """Return Gaussian means over 11 x 11 pixels, only where the window lies in the image: (H - 10, W - 10)."""
    border = SSIM_SIDE_PX // 2
    rows = correlate1d(plane, SSIM_WINDOW, axis=0)[border:-border]
    return correlate1d(rows, SSIM_WINDOW, axis=1)[:, border:-border]


def psnr_matched(reference: Pixels, image: Pixels) -> float:
    """Return the PSNR in dB after the image was given the reference's mean brightness ("GT-mean").

    It uses the reference to correct the exposure: a diagnosis, never a result to compare methods by, nor a goal.
    NaN if the image is black.

    Raises:
        DataError: as `psnr`.
    """
    matched = _matched(reference, image)
    return math.nan if matched is None else psnr(reference, matched)


def ssim_matched(reference: Pixels, image: Pixels) -> float:
    """Return the SSIM after the image was given the reference's mean brightness; see `psnr_matched`.

    Raises:
        DataError: as `ssim`.
    """
    matched = _matched(reference, image)
    return math.nan if matched is None else ssim(reference, matched)


def luminance_error(reference: Pixels, image: Pixels) -> float:
    """Return mean luminance of the image minus that of the reference, in grey levels (-255 to 255).

    Raises:
        DataError: as `psnr`.
    """
    _require_pair(reference, image)
    return mean_luminance(image) - mean_luminance(reference)


def mean_luminance(image: Pixels) -> float:
    """Return the mean of 0.299 R + 0.587 G + 0.114 B over an RGB image (H, W, 3), in grey levels (0 to 255)."""
    return float(image.mean(axis=(0, 1)) @ LUMA)


def _matched(reference: Pixels, image: Pixels) -> Pixels | None:
    """Scale the image to the reference's mean luminance; None if it is black."""
    _require_pair(reference, image)
    brightness = mean_luminance(image)
    if brightness == 0:
        return None
    return scaled(image, mean_luminance(reference) / brightness)


def scaled(image: Pixels, gain: float) -> Pixels:
    """Multiply the 8-bit values by `gain`, round and clip."""
    levels = np.clip(np.round(np.arange(256) * gain), 0, 255).astype(np.uint8)
    return levels[image]


def score(image: Pixels, reference: Pixels | None) -> dict[str, float]:
    """Return every metric of an 8-bit RGB image (H, W, 3): keys as in `trials.trainer.METRICS`.

    Without a reference, those that need one are absent. A metric that is not defined is NaN.

    Raises:
        DataError: if an image has another type or shape, or the shapes differ.
    """
    _require_pixels(image, grey=False)
    index, flat_share = natural.measure(image)
    scores = {"eval/niqe": index, "eval/niqe_flat_share": flat_share}
    if reference is None:
        return scores
    return scores | {
        "eval/psnr_db": psnr(reference, image),
        "eval/ssim": ssim(reference, image),
        "eval/psnr_matched_db": psnr_matched(reference, image),
        "eval/ssim_matched": ssim_matched(reference, image),
        "eval/luminance_error_levels": luminance_error(reference, image),
    }


def mean_scores(scores: list[ImageScore]) -> dict[str, float]:
    """Return the mean of each metric over the images that have a value; NaN if none has."""
    columns: dict[str, list[float]] = {}
    for image in scores:
        for key, value in image.metrics.items():
            columns.setdefault(key, []).append(value)
    return {key: _mean([value for value in values if not math.isnan(value)]) for key, values in columns.items()}


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _require_pair(reference: Pixels, image: Pixels) -> None:
    _require_pixels(reference, grey=False)
    _require_pixels(image, grey=False)
    if reference.shape != image.shape:
        raise DataError(
            f"an image and its reference must have one size, but the image has shape {image.shape} "
            f"and the reference {reference.shape}"
        )


def _require_pixels(image: Pixels, *, grey: bool) -> None:
    shaped = (image.ndim == 3 and image.shape[2] == 3) or (grey and image.ndim == 2)
    if image.dtype != np.uint8 or not shaped or image.size == 0:
        expected = "(H, W, 3) or (H, W)" if grey else "(H, W, 3)"
        raise DataError(
            f"metrics need 8-bit images: expected uint8 of shape {expected}, got {image.dtype} of shape {image.shape}"
        )
