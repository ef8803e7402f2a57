"""What an evaluation measures: NIQE, PSNR, SSIM, and what shows EnlightenGAN's known defects.

Errors of exposure are told from errors of structure, shifted from faded colour, lost detail from added noise. All on
8-bit images as they would be saved, whole, never on crops. `SETTINGS` is the record of how.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from trials import colour, detail, lightness
from trials import niqe as natural
from trials import ssim as structural
from trials.detail import LUMA, Region
from trials.images import Pixels
from trials.lowlight import to_linear, to_srgb
from trials.progress import DataError, ImageScore

__all__ = [
    "SETTINGS", "brightened", "clipped_share", "luminance_error", "mean_luminance", "mean_scores", "niqe",
    "niqe_flat_share", "psnr", "psnr_matched", "scaled", "score", "ssim", "ssim_matched",
]  # fmt: skip

PSNR_CAP_DB = 100.0

SETTINGS = {
    "images": "8-bit RGB, whole",
    "niqe": f"{natural.VERSION}: LIVE's pristine model, MATLAB's rgb2gray, blocks of {natural.BLOCK_PX} px",
    "psnr": f"RGB, range 255, at most {PSNR_CAP_DB:g} dB",
    "ssim": f"Wang et al. 2004: Gaussian {structural.SIDE_PX} x {structural.SIDE_PX}, sigma 1.5, K 0.01 and 0.03, "
    "range 255, borders left out, mean over R, G, B",
    "matched": "scaled to the reference's mean grey level (0.299 R + 0.587 G + 0.114 B), clipped, rounded to 8 bit",
    "luminance": "0.299 R + 0.587 G + 0.114 B of the 8-bit values; contrast is its standard deviation over the pixels",
    "clipped_share": "pixels of which each channel is 0 or 255",
    "loe": "Wang et al. 2013: share of the ordered pairs of cells whose order changed; max(R, G, B), means over a grid "
    f"of {lightness.CELLS} cells along the shorter side",
    "ciede2000": "Sharma et al. 2005, CIELAB under D65 (2 deg), mean over the pixels; lightness apart: the image is "
    "given the reference's L*",
    "blocks": f"means over {colour.BLOCK_PX} x {colour.BLOCK_PX} px in linear light, whose colour noise hardly changes",
    "chroma": f"ratio of the mean C*ab of the blocks, each at least {colour.CHROMA_FLOOR:g}",
    "colour_angle": "between RGB vectors in linear light, mean over the blocks whose largest channel is in both images "
    f"at least that of grey level {colour.DARKEST}",
    "gmsd": "Xue et al. 2014: luminance, halved, c = 170, zeros beyond the borders",
    "high_frequency": "finest level of the Laplacian pyramid (5 x 5 binomial) of luminance: mean square / squared mean "
    "luminance",
    "noise": "median size of the finest diagonal Haar coefficients of luminance / 0.6745",
    "input": "scaled in linear light to the output's mean luminance, clipped, rounded to 8 bit; compared by blocks in "
    "CIEDE2000 too; the angle without the scaling",
    "hair": "the part of the image that shows hair; high_frequency relative to its own luminance",
    "mean": "over images, those left out that have no value",
    "cost": "trained parameters of the generator; inference: the fastest of 5 passes of one image of 256 x 256 px in "
    "float32, on the device and threads of the training, at its end",
}

Array = npt.NDArray[np.float64]


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
    difference: Array = reference.astype(np.float64) - image
    error = float(np.mean(difference * difference))
    return PSNR_CAP_DB if error == 0 else min(PSNR_CAP_DB, 10 * math.log10(255**2 / error))


def ssim(reference: Pixels, image: Pixels) -> float:
    """Return the structural similarity (Wang, Bovik, Sheikh, Simoncelli 2004) of two 8-bit RGB images (H, W, 3).

    The mean over pixels and channels, in [-1, 1]; NaN if a side is shorter than the window's 11 pixels.

    Raises:
        DataError: if either has another type or shape, or the shapes differ.
    """
    _require_pair(reference, image)
    return structural.measure(reference, image)


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
    sums: Array = image.sum(axis=0).sum(axis=0)  # rows first: many times as fast as both at once
    means: Array = sums / (image.shape[0] * image.shape[1])
    return float(np.dot(means, LUMA))


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


def brightened(low: Pixels, image: Pixels) -> Pixels | None:
    """Scale a low-light image in linear light to another's mean luminance, clip and round; None if it is black."""
    light = colour.brightness(colour.light(low))
    if light == 0:
        return None
    levels = np.arange(256, dtype=np.uint8)
    return to_srgb(to_linear(levels) * (colour.brightness(colour.light(image)) / light))[low]


def clipped_share(image: Pixels) -> float:
    """Return the share (0 to 1) of the pixels of an 8-bit image (H, W, 3) of which each channel is 0 or 255."""
    extreme = (image == 0) | (image == 255)
    return float(np.mean(extreme[..., 0] & extreme[..., 1] & extreme[..., 2]))


def score(image: Pixels, reference: Pixels | None, low: Pixels, hair: Region | None = None) -> dict[str, float]:
    """Return every metric of an 8-bit RGB image (H, W, 3): keys as in `trials.trainer.METRICS`.

    Those that need a reference are absent without one, and those of hair without a region too. A metric that is not
    defined is NaN.

    Args:
        image: the enhanced image.
        reference: the same scene in normal light.
        low: the image before it was enhanced.
        hair: the part that shows hair.

    Raises:
        DataError: if an image has another type or shape, or the shapes differ.
    """
    _require_pair(low, image, "low-light input")
    scores = _alone(image) | _from_input(low, image)
    return scores if reference is None else scores | _from_reference(reference, image, hair)


def _alone(image: Pixels) -> dict[str, float]:
    index, flat_share = natural.measure(image)
    plane = detail.luminance(image)
    return {
        "eval/niqe": index,
        "eval/niqe_flat_share": flat_share,
        "eval/contrast_levels": float(plane.std(dtype=np.float64)),
        "eval/clipped_share": clipped_share(image),
        "eval/noise_levels": detail.noise(plane),
    }


def _from_input(low: Pixels, image: Pixels) -> dict[str, float]:
    scores = {"eval/loe": lightness.order_error(low, image)}
    target = brightened(low, image)
    if target is None:
        undefined = ("ciede2000", "ciede2000_chroma", "chroma_log2", "colour_angle_deg", "high_frequency_log2")
        return scores | {f"eval/input_{name}": math.nan for name in undefined}
    before, after, seen = (colour.blocks(colour.light(one)) for one in (target, image, low))
    shades = colour.lab(before), colour.lab(after)
    planes = detail.luminance(target), detail.luminance(image)
    return scores | {
        **{f"eval/input_{name}": value for name, value in _ciede2000(*shades).items()},
        "eval/input_chroma_log2": colour.chroma_log2(*shades),
        "eval/input_colour_angle_deg": colour.angle_deg(seen, after),
        "eval/input_high_frequency_log2": detail.high_frequency_log2(*planes),
    }


def _from_reference(reference: Pixels, image: Pixels, hair: Region | None) -> dict[str, float]:
    _require_pair(reference, image)
    lights = colour.light(reference), colour.light(image)
    before, after = (colour.blocks(light) for light in lights)
    planes = detail.luminance(reference), detail.luminance(image)
    scores = {
        "eval/psnr_db": psnr(reference, image),
        "eval/ssim": ssim(reference, image),
        "eval/psnr_matched_db": psnr_matched(reference, image),
        "eval/ssim_matched": ssim_matched(reference, image),
        "eval/luminance_error_levels": luminance_error(reference, image),
        **{f"eval/{name}": value for name, value in _ciede2000(*(colour.lab(light) for light in lights)).items()},
        "eval/chroma_log2": colour.chroma_log2(colour.lab(before), colour.lab(after)),
        "eval/colour_angle_deg": colour.angle_deg(before, after),
        "eval/gmsd": detail.gmsd(*planes),
        "eval/high_frequency_log2": detail.high_frequency_log2(*planes),
    }
    if hair is None:
        return scores
    return scores | {
        "eval/hair_gmsd": detail.gmsd(*planes, within=hair),
        "eval/hair_high_frequency_log2": detail.high_frequency_log2(*planes, within=hair),
    }


def _ciede2000(reference: colour.Planes, image: colour.Planes) -> dict[str, float]:
    """Return the mean difference of colours in CIELAB, (3, H, W), and the same with lightness apart."""
    whole, chroma = colour.ciede2000(reference, image)
    return {
        "ciede2000": float(whole.mean(dtype=np.float64)),
        "ciede2000_chroma": float(chroma.mean(dtype=np.float64)),
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


def _require_pair(reference: Pixels, image: Pixels, role: str = "reference") -> None:
    _require_pixels(reference, grey=False)
    _require_pixels(image, grey=False)
    if reference.shape != image.shape:
        raise DataError(
            f"an image and its {role} must have one size, but the image has shape {image.shape} "
            f"and the {role} {reference.shape}"
        )


def _require_pixels(image: Pixels, *, grey: bool) -> None:
    shaped = (image.ndim == 3 and image.shape[2] == 3) or (grey and image.ndim == 2)
    if image.dtype != np.uint8 or not shaped or image.size == 0:
        expected = "(H, W, 3) or (H, W)" if grey else "(H, W, 3)"
        raise DataError(
            f"metrics need 8-bit images: expected uint8 of shape {expected}, got {image.dtype} of shape {image.shape}"
        )
