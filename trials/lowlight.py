"""Artificial darkness: a photograph as a sensor would see the scene with less light.

sRGB -> linear light (IEC 61966-2-1) -> times a factor -> Poisson-Gaussian noise, the model of a sensor's photons
and readout (Foi et al., IEEE Transactions on Image Processing 2008) -> sRGB -> 8 bit.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trials.images import Pixels

__all__ = ["darken", "to_linear", "to_srgb"]

Array = npt.NDArray[np.floating]


def darken(image: Pixels, *, factor: float, shot: float, read: float, rng: np.random.Generator) -> Pixels:
    """Return the 8-bit image as under `factor` times the light, with a sensor's noise.

    Args:
        image: sRGB, any shape.
        factor: light that is left, 0 to 1.
        shot: linear light per photon, so light L is Poisson(L / shot) * shot: variance shot * L. 0: no shot noise.
        read: standard deviation of the readout noise, in linear light (0 to 1). 0: none.
        rng: drawn from for shot noise first, then for readout noise.

    Raises:
        ValueError: if `factor`, `shot` or `read` is negative.
    """
    if min(factor, shot, read) < 0:
        raise ValueError(f"factor, shot and read must not be negative, got {factor}, {shot} and {read}")
    light = to_linear(image) * factor
    if shot > 0:
        light = rng.poisson(light / shot) * shot
    if read > 0:
        light = light + rng.normal(0, read, light.shape)
    return to_srgb(light)


def to_linear(image: Pixels) -> Array:
    """Return the linear light (0 to 1) of 8-bit sRGB values."""
    value = np.arange(256) / 255
    levels = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return levels[image]


def to_srgb(light: Array) -> Pixels:
    """Return the 8-bit sRGB values of linear light, clipped to 0 to 1 and rounded."""
    light = np.clip(light, 0, 1)
    value = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.round(value * 255).astype(np.uint8)
