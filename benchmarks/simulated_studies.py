"""Simulated studies whose truth is known, all of a kind at once, and what is made of them; see calibration.py."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from analysis.comparison import compare
from analysis.factorial import effect_weights, fractional
from analysis.linear import Runs, contrast
from analysis.sequential import LOOKS, adjusted, shares
from analysis.statistics import Images, holm, paired

__all__ = [
    "COMPONENTS", "ESTIMANDS", "LOOKS", "MARGIN", "NOISES", "RUNS", "RUN_SD", "TRUE", "Cell", "Parts", "cells", "drawn",
    "figures", "frame", "looked", "looked_one_by_one", "main_effects", "mistakes", "parted", "proven", "same",
]  # fmt: skip

Floats = npt.NDArray[np.float64]

RUN_SD, CELL_SD = 0.4, float(np.hypot(0.25, 0.1))
COMPONENTS = 5
NOISES = ("normal", "heavy tails", "unequal noise")
UNEQUAL = 2.5
ESTIMANDS: tuple[Images, Images] = ("sample", "these")
RUNS = 16
"""Of the smallest design that tells five main effects from interactions of two: half of all combinations."""
RESAMPLES, BOOTSTRAPPED = 999, 500
OSCILLATION, EVALUATIONS = 0.53, 7


@dataclass(frozen=True)
class Cell:
    """One kind of study."""

    noise: str
    by_image: float
    rho: float
    seeds: int
    images: int

    def __str__(self) -> str:
        return f"{self.noise}, by image {self.by_image}, rho {self.rho}, {self.seeds} x {self.images}"

    @property
    def scale(self) -> float:
        """Return how much more a variant varies than the full model."""
        return UNEQUAL if self.noise == "unequal noise" else 1.0

    @property
    def variances(self) -> dict[str, float]:
        """Return the true variances of a difference: of its runs, its cells, and its effect by image."""
        both = 1 + self.scale**2
        return {
            "run": RUN_SD**2 * (both - 2 * self.rho * self.scale),
            "cell": CELL_SD**2 * both,
            "by image": self.by_image**2,
        }

    def error(self, estimand: Images) -> float:
        """Return the true standard deviation of an estimate's error."""
        one = self.variances
        spread = one["run"] / self.seeds + one["cell"] / (self.seeds * self.images)
        return float(np.sqrt(spread + (one["by image"] / self.images if estimand == "sample" else 0)))


def cells() -> list[Cell]:
    """Return every cell."""
    return [Cell(*one) for one in itertools.product(NOISES, (0.0, 0.3, 0.5), (0.0, 0.7), (3, 5, 10), (7, 15))]


def drawn(cell: Cell, studies: int, rng: np.random.Generator, *, arms: int = 1 + COMPONENTS) -> tuple[Floats, Floats]:
    """Return scores without any effect, studies x arms (the full model first) x seeds x images, and effects by image.

    The second, studies x other arms x images, is part of the first; its truth over all images is 0.
    """
    seeds = cell.seeds

    def noise(*shape: int) -> Floats:
        if cell.noise == "heavy tails":
            return rng.standard_t(4, shape) / np.sqrt(2)
        return rng.standard_normal(shape)

    runs = np.sqrt(cell.rho) * noise(studies, 1, seeds, 1) + np.sqrt(1 - cell.rho) * noise(studies, arms, seeds, 1)
    scores = RUN_SD * runs + CELL_SD * noise(studies, arms, seeds, cell.images)
    scores[:, 1:] *= cell.scale
    by_image = cell.by_image * noise(studies, arms - 1, cell.images)
    scores[:, 1:] += by_image[:, :, None]
    return scores, by_image


@dataclass(frozen=True)
class Parts:
    """Differences of all studies at once: their means, and the variances that their errors are estimated to have."""

    difference: Floats
    seeds: Floats
    images: Floats
    residual: Floats
    shape: tuple[int, int]

    def half(self, level: float, estimand: Images) -> Floats:
        """Return half-widths."""
        of_seeds, of_images = (stats.t.ppf(1 - level / 2, size - 1) ** 2 for size in self.shape)
        return np.sqrt(of_seeds * self.seeds + (of_images * self.images if estimand == "sample" else 0))

    def satterthwaite(self, level: float) -> Floats:
        """Return the half-widths of two-way random effects with Satterthwaite's degrees of freedom."""
        seeds, images = self.shape
        squares = [self.seeds * seeds * images, self.images * seeds * images + self.residual, self.residual]
        dfs = (seeds - 1, images - 1, (seeds - 1) * (images - 1))
        total = squares[0] + squares[1] - squares[2]
        df = total**2 / sum(square**2 / one for square, one in zip(squares, dfs, strict=True))
        alone = self.images <= 0
        df = np.where(alone, seeds - 1, df)
        return stats.t.ppf(1 - level / 2, df) * np.sqrt(np.where(alone, self.seeds, total / (seeds * images)))


def parted(d: Floats) -> Parts:
    """Return the parts of differences, studies x components x seeds x images."""
    seeds, images = d.shape[2:]
    of_seed, of_image, mean = d.mean(axis=3), d.mean(axis=2), d.mean(axis=(2, 3))
    rest = d - of_seed[..., None] - of_image[:, :, None] + mean[..., None, None]
    residual = (rest**2).sum(axis=(2, 3)) / ((seeds - 1) * (images - 1))
    part = np.maximum(0, (of_image.var(axis=2, ddof=1) - residual / seeds) / images)
    return Parts(mean, of_seed.var(axis=2, ddof=1) / seeds, part, residual, (seeds, images))


def proven(scores: Floats, parts: Parts, rng: np.random.Generator, *, sample: int) -> int:
    """Compare with the project's own functions on some studies, and return how many comparisons were made."""
    count = 0
    for study in rng.choice(len(scores), size=min(sample, len(scores)), replace=False):
        d = scores[study, 1:] - scores[study, :1]
        for estimand in ESTIMANDS:
            own = [paired(one, images=estimand) for one in d]
            same([one.difference for one in own], parts.difference[study])
            for level in (0.05, 0.01):
                half = parts.half(level, estimand)[study]
                same([one.half_width(level) for one in own], half)
                same([one.p() < level for one in own], np.abs(parts.difference[study]) > half)
            p = [one.p() for one in own]
            same(min(holm(p)) < 0.05, any_of_five(parts, estimand)[study])
            count += len(own)
        names, seeds = [f"c{arm}" for arm in range(1 + COMPONENTS)], scores.shape[2]
        runs = Runs(np.repeat(names, seeds).tolist(), list(range(seeds)) * len(names), np.concatenate(scores[study]))
        linear = contrast(runs, {"c1": 1.0, "c0": -1.0}, images="sample")
        half = parts.half(0.05, "sample")[study, 0]
        same(linear.half_width(), half)
        same(linear.p() < 0.05, abs(parts.difference[study, 0]) > half)
    table = compare(frame(scores[0]), baseline="c0", metric="psnr", higher_is_better=True, images_are="sample")
    same((table["high"] - table["low"]) / 2, parts.half(0.05, "sample")[0])
    same((table["p_adjusted"] < 0.05).any(), any_of_five(parts, "sample")[0])
    return count


def same(one: Any, other: Any) -> None:
    """End the run if what should be the same is not."""
    if not np.allclose(np.asarray(one, dtype=float), np.asarray(other, dtype=float), rtol=1e-7, atol=1e-12):
        raise SystemExit(f"computed at once and by the analysis itself differ: {one} and {other}")


def frame(scores: Floats) -> pd.DataFrame:
    """Return a study's scores, variants x seeds x images, as the analysis takes them; variants are `c0`, `c1` ..."""
    places = itertools.product(*(range(size) for size in scores.shape))
    frame = pd.DataFrame(places, columns=["variant", "seed", "image"]).assign(set="s", psnr=scores.ravel())
    return frame.assign(variant="c" + frame["variant"].astype(str))


def any_of_five(parts: Parts, estimand: Images) -> npt.NDArray[np.bool_]:
    """Return whether Holm's steps reject any of a study's hypotheses at 5 %: whether the smallest p is small enough."""
    return (np.abs(parts.difference) > parts.half(0.05 / COMPONENTS, estimand)).any(axis=1)


def figures(half95: Floats, half99: Floats, off: Floats, rival: Floats) -> dict[str, float]:
    """Return a method's figures; `off`: estimates less the truth, `rival`: half-widths by Satterthwaite."""
    missed95, missed99 = (np.abs(off) > half for half in (half95, half99))
    return {
        "coverage": 1 - float(missed95.mean()),
        "coverage se": float(missed95.mean(axis=1).std() / np.sqrt(len(off))),
        "error1": float(missed99.mean()),
        "error1 se": float(missed99.mean(axis=1).std() / np.sqrt(len(off))),
        "family": float(missed99.any(axis=1).mean()),  # 1 % is 5 % over five components
        "width": float(np.median(half95) / np.median(rival)),
    }


def mistakes(scores: Floats, parts: Parts, rng: np.random.Generator) -> dict[str, dict[str, float]]:
    """Return the figures of what is often done instead, read as speaking of images like these."""
    d = scores[:, 1:] - scores[:, :1]
    seeds, images = parts.shape
    rival = parts.satterthwaite(0.05)
    found = {}
    for name, deviation, df in (
        ("t on seed means", np.sqrt(parts.seeds), seeds - 1),
        ("pooled t over seeds x images", d.std(axis=(2, 3), ddof=1) / np.sqrt(seeds * images), seeds * images - 1),
        ("Welch, seeds not paired", *_welch(scores)),
    ):
        halves = [stats.t.ppf(1 - level / 2, df) * deviation for level in (0.05, 0.01)]
        found[name] = figures(*halves, parts.difference, rival)
    found["crossed percentile bootstrap"] = _bootstrap(d[:BOOTSTRAPPED], rival[:BOOTSTRAPPED], rng)
    best = scores.copy()
    for arms, sd in ((slice(0, 1), OSCILLATION), (slice(1, None), 2 * OSCILLATION)):
        swing = rng.normal(0, sd, (*scores[:, arms].shape[:3], EVALUATIONS))
        best[:, arms] += swing.max(axis=3)[..., None]
    of_best = parted(best[:, 1:] - best[:, :1])
    halves = [of_best.half(level, "sample") for level in (0.05, 0.01)]
    found["best of 7 evaluations"] = figures(*halves, of_best.difference, rival)
    return found


def _welch(scores: Floats) -> tuple[Floats, Floats]:
    seeds = scores.shape[2]
    spread = scores.mean(axis=3).var(axis=2, ddof=1) / seeds
    both = spread[:, 1:] + spread[:, :1]
    return np.sqrt(both), both**2 * (seeds - 1) / (spread[:, 1:] ** 2 + spread[:, :1] ** 2)


def _bootstrap(d: Floats, rival: Floats, rng: np.random.Generator) -> dict[str, float]:
    """Return the figures of percentile intervals; the same resamples of seeds and images serve every study."""
    studies, components, seeds, images = d.shape
    of_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES) / seeds
    of_images = rng.multinomial(images, np.full(images, 1 / images), RESAMPLES) / images
    both = np.einsum("bs,bi->sib", of_seeds, of_images).reshape(seeds * images, RESAMPLES)
    means = d.reshape(studies * components, -1) @ both
    ends = np.quantile(means, [0.005, 0.025, 0.975, 0.995], axis=1).reshape(4, studies, components)
    missed95, missed99 = (ends[1] > 0) | (ends[2] < 0), (ends[0] > 0) | (ends[3] < 0)
    return {
        "coverage": 1 - float(missed95.mean()),
        "error1": float(missed99.mean()),
        "family": float(missed99.any(axis=1).mean()),
        "width": float(np.median(ends[2] - ends[1]) / 2 / np.median(rival)),
    }


def main_effects(cell: Cell, studies: int, rng: np.random.Generator) -> Floats:
    """Return the main effects in each study, seed and image of five components without any, from `RUNS` runs each."""
    names = "abcde"[:COMPONENTS]
    runs = fractional(names, 5).runs
    signs = [[float(effect_weights(frozenset(name), runs)[run]) for run in runs] for name in names]
    scores, _ = drawn(cell, studies, rng, arms=RUNS)
    return np.einsum("kr,nrsi->nksi", np.array(signs), scores)


TRUE = np.array([0.0, 0.0, 0.6, 1.0, -1.5])
MARGIN = 0.5


@dataclass(frozen=True)
class Looked:
    """What was decided about each component of each study (studies x components), and the seeds it took."""

    differs: npt.NDArray[np.bool_]
    equivalent: npt.NDArray[np.bool_]
    seeds: npt.NDArray[np.int64]


def looked(d: Floats, *, spending: bool, margin: float = 0.0) -> Looked:
    """Look at differences at every look and decide by the sequential rule; without `spending` each look uses it all."""
    studies, components, most = d.shape[:3]
    differs, equivalent = np.zeros((2, studies, components), dtype=bool)
    seeds = np.full((studies, components), most)
    for look, share in zip(LOOKS, shares(LOOKS, most) if spending else [1.0] * len(LOOKS), strict=True):
        parts, tested = parted(d[:, :, :look]), ~(differs | equivalent)
        size, room = np.abs(parts.difference), margin - np.abs(parts.difference)
        differs |= _steps(differs, tested, [size > parts.half(level, "these") for level in _levels(share)])
        if margin:
            small = [room > parts.half(2 * level, "these") for level in _levels(share)]
            equivalent |= _steps(equivalent, tested, small)
        seeds = np.where(tested & (differs | equivalent), look, seeds)
    return Looked(differs, equivalent, seeds)


def _levels(share: float) -> list[float]:
    return [0.05 * share / left for left in range(1, COMPONENTS + 1)]


def _steps(
    earlier: npt.NDArray[np.bool_], tested: npt.NDArray[np.bool_], below: list[npt.NDArray[np.bool_]]
) -> npt.NDArray[np.bool_]:
    """Return what Holm's steps reject; `below`: whether p lies below the level with 1, 2 ... hypotheses left."""
    found, stacked = earlier.copy(), np.stack([np.zeros_like(earlier), *below])
    for _ in below:
        left = COMPONENTS - found.sum(axis=1)
        found |= tested & stacked[left, np.arange(len(left))]
    return found


def looked_one_by_one(d: Floats, margin: float) -> tuple[set[int], set[int]]:
    """Return what the project's own functions decide about one study, components x seeds x images."""
    differs, equivalent = dict[str, float](), dict[str, float]()
    for look, share in zip(LOOKS, shares(LOOKS, d.shape[1]), strict=True):
        own = {str(place): paired(one[:look]) for place, one in enumerate(d)}
        own = {name: one for name, one in own.items() if min(differs.get(name, 1.0), equivalent.get(name, 1.0)) >= 0.05}
        p = {name: one.p() for name, one in own.items()}
        p_equivalent = {name: one.p_equivalent(margin) for name, one in own.items()}
        differs = adjusted(p, share=share, earlier=differs, declared=COMPONENTS)
        equivalent = adjusted(p_equivalent, share=share, earlier=equivalent, declared=COMPONENTS)
    return {int(name) for name in differs if differs[name] < 0.05}, {
        int(name) for name in equivalent if equivalent[name] < 0.05
    }
