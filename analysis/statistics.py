"""How sure a difference is: intervals, p-values and equivalence for few seeds and few images. Pure numpy.

Seeds and images are crossed: every image is scored for every seed. Their two variances enter the interval apart,
each with its own Student quantile (MOVER: Zou and Donner 2008, Statistics in Medicine 27:1693, applied to crossed
random effects, the setting of Dorfman, Berbaum and Metz 1992 for readers and cases).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, sqrt
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import special

from analysis.errors import StatisticsError

__all__ = [
    "Estimate",
    "Floats",
    "Images",
    "decides",
    "deviation_range",
    "hedges",
    "holm",
    "paired",
    "seeds_needed",
    "unpaired",
    "wilson",
]

Images = Literal["these", "sample"]
"""What is concluded about: these very images, or images like them, of which these are a sample."""

Floats = npt.NDArray[np.float64]

LEAST_P = 1e-100
"""Below, SciPy's quantiles are wrong or none (`stdtrit`, 2 degrees of freedom); p of several parts is never less."""


@dataclass(frozen=True)
class Estimate:
    """A difference of means and the variances of its error, in the unit of the scores (squared).

    Args:
        difference: the mean over seeds and images.
        seeds: the part of the variance of the mean that comes from the seeds, with its degrees of freedom.
        images: the part that comes from the images; (0, inf) where the conclusion is about these images alone.
        draws: the part that comes from drawing contrasts at random (`linear.sampled`); (0, inf) without.
    """

    difference: float
    seeds: tuple[float, float]
    images: tuple[float, float] = (0.0, np.inf)
    draws: tuple[float, float] = (0.0, np.inf)

    def half_width(self, level: float = 0.05) -> float:
        """Return half the width of the interval that misses the true difference with probability `level`."""
        parts = (self.seeds, self.images, self.draws)
        return sqrt(sum(_quantile(level, df) ** 2 * variance for variance, df in parts if variance))

    def interval(self, level: float = 0.05) -> tuple[float, float]:
        """Return the interval's ends."""
        half = self.half_width(level)
        return self.difference - half, self.difference + half

    def p(self) -> float:
        """Return the p-value of "there is no difference": the level at which the interval just reaches zero."""
        return self._level(abs(self.difference))

    def p_equivalent(self, margin: float) -> float:
        """Return the p-value of "the difference is `margin` or more", by two one-sided tests."""
        room = margin - abs(self.difference)
        return 1.0 if room <= 0 else self._level(room) / 2

    def _level(self, half_width: float) -> float:
        """Return the level whose interval has this half-width. The half-width falls as the level grows."""
        if half_width <= 0:
            return 1.0
        parts = [(variance, df) for variance, df in (self.seeds, self.images, self.draws) if variance]
        of_each = [float(2 * special.stdtr(df, -half_width / sqrt(variance))) for variance, df in parts]
        if len(of_each) < 2:
            return max(of_each, default=0.0)
        low, high = log(max(*of_each, LEAST_P)), 0.0  # of the logarithm; no part alone has a lower level
        for _ in range(80):
            middle = (low + high) / 2
            low, high = (low, middle) if self.half_width(np.exp(middle)) <= half_width else (middle, high)
        return float(np.exp(high))


def paired(differences: npt.ArrayLike, *, images: Images = "these") -> Estimate:
    """Estimate a contrast whose runs are paired by seed.

    Args:
        differences: (S, I): the contrast of variants (a difference, a main effect, an interaction ...) for each
            seed and image; at least 2 seeds, and 2 images where they are a sample.
        images: with `these` the interval is exactly Student's, on the S means over images.

    Raises:
        StatisticsError: if the matrix has another shape, too few rows or columns, or a value that is not finite.
    """
    d = _matrix(differences, images)
    seeds, count = d.shape
    of_seeds = float(d.mean(axis=1).var(ddof=1)) / seeds
    if images == "these":
        return Estimate(float(d.mean()), (of_seeds, seeds - 1))
    return Estimate(float(d.mean()), (of_seeds, seeds - 1), (_images_part(d.mean(axis=0), _residual(d)), count - 1))


def unpaired(variant: npt.ArrayLike, baseline: npt.ArrayLike, *, images: Images = "these") -> Estimate:
    """Estimate variant minus baseline where the seeds of the two have nothing in common (Welch for the seeds' part).

    Args:
        variant: (S, I) scores.
        baseline: (S', I) scores of the same images.
        images: as for `paired`.

    Raises:
        StatisticsError: as for `paired`, or if the numbers of images differ.
    """
    arms = [_matrix(variant, images), _matrix(baseline, images)]
    if arms[0].shape[1] != arms[1].shape[1]:
        raise StatisticsError(f"expected the same images, got {arms[0].shape[1]} against {arms[1].shape[1]}")
    parts = [float(y.mean(axis=1).var(ddof=1)) / len(y) for y in arms]
    total = sum(parts)
    df: float = total**2 / sum(part**2 / (len(y) - 1) for part, y in zip(parts, arms, strict=True)) if total else np.inf
    of_image = arms[0].mean(axis=0) - arms[1].mean(axis=0)
    if images == "these":
        return Estimate(float(of_image.mean()), (total, df))
    part = _images_part(of_image, sum(_residual(y) for y in arms))
    return Estimate(float(of_image.mean()), (total, df), (part, of_image.size - 1))


def hedges(estimate: Estimate, seeds: float) -> float:
    """Return a difference in its standard deviations over seeds, without the bias of few seeds (Hedges 1981).

    NaN if the seeds do not vary.

    Args:
        estimate: of which the variance from the seeds is that over one seed divided by `seeds`.
        seeds: their number; where variants have different ones, `linear.replicates`.
    """
    variance, df = estimate.seeds
    deviation = sqrt(variance * seeds)
    return estimate.difference / deviation * (1 - 3 / (4 * df - 1)) if deviation else float("nan")


def holm(p: Sequence[float]) -> Floats:
    """Return the p-values adjusted for their number (Holm 1979), in the order given."""
    values = np.asarray(p, dtype=float)
    order = np.argsort(values, kind="stable")
    steps = values[order] * np.arange(values.size, 0, -1)
    adjusted = np.empty(values.size)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def wilson(count: int, total: int, *, level: float = 0.05) -> tuple[float, float]:
    """Return the interval of a share, `count` of `total` (Wilson 1927); (0, 1) of nothing."""
    if total == 0:
        return 0.0, 1.0
    z = float(special.ndtri(1 - level / 2))
    share, unit = count / total, z * z / total
    half = z * sqrt(share * (1 - share) / total + unit / (4 * total))
    middle = share + unit / 2
    return max(0.0, (middle - half) / (1 + unit)), min(1.0, (middle + half) / (1 + unit))


def seeds_needed(deviation: float, margin: float, *, level: float = 0.05, power: float = 0.8) -> int:
    """Return how many seeds decide, with this power, between "no difference" and "a difference of `margin`".

    That is: a true difference of `margin` is found, and a true difference of zero is shown to be below `margin`.

    Args:
        deviation: standard deviation over seeds of the paired difference, in the unit of `margin`.
        margin: the smallest difference that matters.
        level: of one test; the declared level over the number of tests, to be on the safe side of Holm.
        power: probability of a decision.
    """
    low, high = 2, 4
    while not decides(high, deviation / margin, level=level, power=power):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle, deviation / margin, level=level, power=power) else (middle, high)
    return high


def deviation_range(deviation: float, *, seeds: int) -> tuple[float, float]:
    """Return the 90 % interval of a standard deviation over seeds that so many of them (2 or more) have told.

    Three seeds leave the variance open by a factor of 0.33 to 19.5. The scores are taken to be normal.
    """
    df = seeds - 1
    low, high = (deviation * sqrt(df / float(special.chdtri(df, tail))) for tail in (0.05, 0.95))
    return low, high


def decides(seeds: int, ratio: float, *, level: float = 0.05, power: float = 0.8) -> bool:
    """Return whether so many seeds (2 or more) decide, in the sense and with the arguments of `seeds_needed`.

    Args:
        seeds: complete pairs of runs.
        ratio: standard deviation over seeds of the paired difference, over the margin.
        level: of one test.
        power: probability of a decision.
    """
    shift = sqrt(seeds) / max(ratio, 1e-9)
    df = seeds - 1
    detected = 1 - float(special.nctdtr(df, shift, _quantile(level, df))) if shift < 30 else 1.0
    bounded = 2 * float(special.stdtr(df, shift - _quantile(2 * level, df))) - 1
    return min(detected, bounded) >= power


def _quantile(level: float, df: float) -> float:
    """Return Student's two-sided quantile."""
    if np.isinf(df):
        return float(-special.ndtri(level / 2))
    return float(-special.stdtrit(df, level / 2))


def _images_part(of_image: Floats, residual: float) -> float:
    """Return the variance of the mean that comes from the images, free of what the seeds put into the image means."""
    return max(0.0, (float(of_image.var(ddof=1)) - residual) / of_image.size)


def _residual(scores: Floats) -> float:
    """Return the variance of an image's mean over seeds that comes from seeds x images."""
    seeds, images = scores.shape
    rest = scores - scores.mean(axis=1, keepdims=True) - scores.mean(axis=0) + scores.mean()
    return float((rest**2).sum() / ((seeds - 1) * (images - 1) * seeds))


def _matrix(scores: npt.ArrayLike, images: Images) -> Floats:
    """Return the scores as a matrix, or say why they are none."""
    matrix = np.asarray(scores, dtype=float)
    if images not in ("these", "sample"):
        raise StatisticsError(f"images: expected `these` or `sample`, got {images!r}")
    if matrix.ndim != 2:
        raise StatisticsError(f"expected a matrix of seeds x images, got {matrix.ndim} dimensions")
    if matrix.shape[0] < 2 or matrix.shape[1] < (2 if images == "sample" else 1):
        raise StatisticsError(f"expected 2 seeds or more, and 2 images for a sample, got {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise StatisticsError("expected a finite score for each seed and image; leave incomplete seeds out first")
    return matrix
