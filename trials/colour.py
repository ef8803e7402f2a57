"""How far colours are from a reference's: CIEDE2000, chroma, and the angle between colours, which no exposure changes.

Images are planes (3, H, W) here: linear light (R, G, B from 0 to 1), or CIELAB under D65 (2 degrees) as computed
from it. The functions keep the type of what they are given: float32 is as fast as twice exact enough.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from trials.images import Pixels
from trials.lowlight import to_linear

__all__ = [
    "BLOCK_PX", "CHROMA_FLOOR", "DARKEST", "Planes",
    "angle_deg", "blocks", "brightness", "chroma_log2", "ciede2000", "lab", "light",
]  # fmt: skip

Planes = npt.NDArray[np.floating[Any]]

DARKEST = 5
"""Grey level (0 to 255) below which a pixel's largest channel says nothing about its colour."""

CHROMA_FLOOR = 0.1
"""Mean C*ab that nobody sees; below it, chroma counts as so much, so that a grey image has a finite ratio."""

BLOCK_PX = 8

LIGHT = to_linear(np.arange(256, dtype=np.uint8)).astype(np.float32)
XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
WHITE = np.array([0.95047, 1.0, 1.08883])  # D65
TURN = 2 * math.pi


def light(image: Pixels) -> Planes:
    """Return the linear light of an 8-bit sRGB image (H, W, 3): planes (3, H, W), 0 to 1, float32."""
    return np.take(LIGHT, np.moveaxis(image, 2, 0))


def brightness(light: Planes) -> float:
    """Return the mean luminance (CIE Y, 0 to 1) of linear light (3, H, W)."""
    return float(light.mean(axis=(1, 2), dtype=np.float64) @ XYZ[1])


def blocks(light: Planes) -> Planes:
    """Return the means of linear light (3, H, W) over blocks of 8 x 8 px: (3, H // 8, W // 8).

    The remainder below and on the right is cut off. The blocks of an image with a shorter side are of that side.
    """
    side = min(BLOCK_PX, *light.shape[1:])
    rows, columns = (length // side for length in light.shape[1:])
    strips = light[:, : rows * side, : columns * side].reshape(3, rows, side, columns * side).sum(axis=2)
    means: Planes = strips.reshape(3, rows, columns, side).sum(axis=3) / side**2
    return means


def lab(light: Planes) -> Planes:
    """Return L*, a* and b* of linear light, (3, H, W) both: CIE 1976 from sRGB's primaries, relative to D65."""
    xyz = np.einsum("xc,chw->xhw", (XYZ / WHITE[:, None]).astype(light.dtype), light)  # starts no threads
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def ciede2000(first: Planes, second: Planes) -> tuple[Planes, Planes]:
    """Return the colour difference CIEDE2000 of CIELAB colours, (3, ...) each; Sharma, Wu, Dalal 2005.

    Returns:
        The difference, (...), and what is left of it once both have the same L*.
    """
    (l1, a1, b1), (l2, a2, b2) = first, second
    stretch = 1.5 - 0.5 * _saturating((np.sqrt(a1 * a1 + b1 * b1) + np.sqrt(a2 * a2 + b2 * b2)) / 2)
    (chroma1, hue1), (chroma2, hue2) = _polar(stretch * a1, b1), _polar(stretch * a2, b2)
    turned = hue2 - hue1
    apart = np.abs(turned) > math.pi  # then the shorter turn, and the hue in its middle, lie across hue 0
    turned = turned - np.where(apart, np.copysign(TURN, turned), 0).astype(turned.dtype)
    hue = (hue1 + hue2) / 2 + apart * turned.dtype.type(math.pi)
    chroma = (chroma1 + chroma2) / 2
    by_chroma = (chroma2 - chroma1) / (1 + 0.045 * chroma)
    by_hue = 2 * np.sqrt(chroma1 * chroma2) * np.sin(turned / 2) / (1 + 0.015 * chroma * _hue_weight(hue))
    squared = by_chroma * by_chroma + by_hue * (by_hue + _rotation(chroma, hue) * by_chroma)
    squared = np.maximum(squared, 0)  # never negative but by rounding
    middle = (l1 + l2) / 2 - 50
    middle = middle * middle
    by_lightness = (l2 - l1) / (1 + 0.015 * middle / np.sqrt(20 + middle))
    return np.sqrt(by_lightness * by_lightness + squared), np.sqrt(squared)


def _saturating(chroma: Planes) -> Planes:
    """Return sqrt(C^7 / (C^7 + 25^7))."""
    square = chroma * chroma
    power = square * square * square * chroma
    root: Planes = np.sqrt(power / (power + 25.0**7))
    return root


def _polar(a: Planes, b: Planes) -> tuple[Planes, Planes]:
    """Return chroma, and hue from 0 to a turn."""
    hue = np.arctan2(b, a)
    return np.sqrt(a * a + b * b), hue + (hue < 0) * hue.dtype.type(TURN)


def _hue_weight(hue: Planes) -> Planes:
    """Return T of the formula."""
    weight: Planes = (
        1
        - 0.17 * np.cos(hue - math.radians(30))
        + 0.24 * np.cos(2 * hue)
        + 0.32 * np.cos(3 * hue + math.radians(6))
        - 0.20 * np.cos(4 * hue - math.radians(63))
    )
    return weight


def _rotation(chroma: Planes, hue: Planes) -> Planes:
    """Return R_T of the formula, which matters among blues."""
    # A middle of two hues across 0 may exceed a turn, where the formula takes a turn off.
    distance = (hue - (hue >= TURN) * hue.dtype.type(TURN) - math.radians(275)) / math.radians(25)
    rotation: Planes = -2 * _saturating(chroma) * np.sin(math.radians(60) * np.exp(-distance * distance))
    return rotation


def chroma_log2(reference: Planes, image: Planes) -> float:
    """Return log2 of an image's mean chroma C*ab over its reference's; negative where colour was lost.

    Args:
        reference: CIELAB, (3, H, W).
        image: CIELAB, of any size.
    """
    means = [float(np.sqrt(a * a + b * b).mean(dtype=np.float64)) for _, a, b in (reference, image)]
    before, after = (max(mean, CHROMA_FLOOR) for mean in means)
    return math.log2(after / before)


def angle_deg(reference: Planes, image: Planes, *, darkest: float = float(LIGHT[DARKEST])) -> float:
    """Return the mean angle between the RGB vectors of two images in degrees: 0 where only the exposure differs.

    Args:
        reference: linear light, (3, H, W).
        image: linear light, of the same size.
        darkest: a pixel (or block) counts if in both images its largest channel is at least this.

    Returns:
        The mean over the pixels that count; NaN if there is none.
    """
    counts = (reference.max(axis=0) >= darkest) & (image.max(axis=0) >= darkest)
    if not counts.any():
        return math.nan
    first, second = (planes / np.maximum(_length(planes), 1e-12) for planes in (reference, image))
    # Half the angle from the chord: unlike the cosine, exact for small angles in float32.
    half = np.arcsin(np.minimum(_length(first - second) / 2, 1))
    return math.degrees(2 * float(half.mean(where=counts, dtype=np.float64)))


def _length(planes: Planes) -> Planes:
    """Return the length of each pixel's vector, (H, W)."""
    length: Planes = np.sqrt((planes * planes).sum(axis=0))
    return length
