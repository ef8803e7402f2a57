"""Every linear contrast of variants: paired where seeds are shared, Welch's where not, runs missing. Pure.

The estimate is the weighted sum of the variants' means, each over its own seeds, so that contrasts which add up in
their weights add up in their estimates, whatever is missing. Its variance needs the covariances of these means. From
the seeds that two variants share, their deviations from their own means give each covariance without bias, whatever
the variances and correlations of the variants are. Where every seed is complete this is the paired estimate
(`statistics.paired`), where no seed is shared Welch's (`statistics.unpaired`); between them lie partly overlapping
samples. Degrees of freedom are Satterthwaite's for that sum of squares, with the variances found put in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from analysis.errors import StatisticsError
from analysis.statistics import Estimate, Floats, Images

__all__ = ["Runs", "contrast", "replicates", "sampled"]


@dataclass(frozen=True)
class Runs:
    """The scores of N trainings on the same I images (or scenes), in one unit.

    Args:
        variants: of each training, N names.
        seeds: of each, N labels; trainings of two variants with the same seed are a pair.
        scores: (N, I), finite.
    """

    variants: Sequence[str]
    seeds: Sequence[object]
    scores: Floats


def contrast(runs: Runs, weights: Mapping[str, float], *, images: Images = "these") -> Estimate:
    """Estimate the sum of weight x mean over variants.

    Args:
        runs: the trainings; those of variants without a weight do not matter. 2 seeds or more of each other variant.
        weights: variant -> its weight. The unit of the estimate is the scores' if the positive weights add up to 1.
        images: as for `statistics.paired`.

    Raises:
        StatisticsError: if a weighted variant has fewer than 2 seeds or one seed twice, scores are no finite matrix,
            or a sample has fewer than 2 images.
    """
    table = _table(runs, weights, images)
    count = table.means.shape[1]
    of_variant = table.means.mean(axis=1)  # (k,)
    inner = table.centred.mean(axis=2, keepdims=True)  # what a run's mean over images lies off its variant's
    seeds = _seeds_part(table, inner)
    difference = float(table.weights @ of_variant)
    if images == "these":
        return Estimate(difference, seeds)
    of_image = table.weights @ table.means
    residual = (table.centred - inner) * table.present[:, :, None]
    noise = float(table.weights @ _covariances(table, residual) @ table.weights) / (count - 1)
    part = max(0.0, (float(of_image.var(ddof=1)) - noise) / count)
    return Estimate(difference, seeds, (part, count - 1))


def sampled(runs: Runs, draws: Sequence[Mapping[str, float]], *, images: Images = "these") -> Estimate:
    """Estimate the mean of a contrast over all of which `draws` are a random sample, such as orders of components.

    The interval carries the error of that sample as a part of its own: the variance of the draws' estimates, free of
    what the seeds put into it, over their number.

    Args:
        runs: as for `contrast`.
        draws: the weights of each draw, 2 or more, drawn independently.
        images: as for `contrast`.

    Raises:
        StatisticsError: as for `contrast`, or if there are fewer than 2 draws.
    """
    if len(draws) < 2:
        raise StatisticsError(f"expected 2 draws or more, to tell the error of drawing, got {len(draws)}")
    names = list(dict.fromkeys(name for draw in draws for name in draw))
    each = np.array([[draw.get(name, 0.0) for name in names] for draw in draws])
    mean = dict(zip(names, each.mean(axis=0).tolist(), strict=True))
    table = _table(runs, dict.fromkeys(names, 1.0), images)  # all of them: a weight may cancel in the mean alone
    values = each @ table.means.mean(axis=1)
    off = each - each.mean(axis=0)
    of_means = _covariances(table, table.centred.mean(axis=2, keepdims=True))
    noise = float(np.einsum("mv,vw,mw->", off, of_means, off)) / (len(draws) - 1)
    part = max(0.0, float(values.var(ddof=1)) - noise) / len(draws)
    return replace(contrast(runs, mean, images=images), draws=(part, len(draws) - 1))


def replicates(runs: Runs, weights: Mapping[str, float]) -> float:
    """Return how many seeds of every variant would tell the contrast as well as these do, if variants vary alike."""
    counts = {name: list(runs.variants).count(name) for name, weight in weights.items() if weight}
    squares = {name: weights[name] ** 2 for name in counts}
    return sum(squares.values()) / sum(square / counts[name] for name, square in squares.items())


@dataclass(frozen=True)
class _Table:
    """The trainings of k weighted variants by S seeds.

    Args:
        weights: (k,).
        present: (k, S), whether there is such a training.
        means: (k, I), over each variant's own seeds.
        centred: (k, S, I), scores less these; 0 where there is none.
    """

    weights: Floats
    present: npt.NDArray[np.bool_]
    means: Floats
    centred: Floats


def _table(runs: Runs, weights: Mapping[str, float], images: Images) -> _Table:
    scores = np.asarray(runs.scores, dtype=float)
    if images not in ("these", "sample"):
        raise StatisticsError(f"images: expected `these` or `sample`, got {images!r}")
    if scores.ndim != 2 or len(scores) != len(runs.variants) or scores.shape[1] < (2 if images == "sample" else 1):
        raise StatisticsError(f"expected a row of images for each training, 2 for a sample, got {scores.shape}")
    names = [name for name, weight in weights.items() if weight]
    if not names:
        raise StatisticsError("expected a weight other than 0")
    rows = [place for place, name in enumerate(runs.variants) if weights.get(name)]
    if not np.isfinite(scores[rows]).all():
        raise StatisticsError("expected a finite score for each seed and image; leave incomplete seeds out first")
    seeds = list(dict.fromkeys(runs.seeds[row] for row in rows))
    at = ([names.index(runs.variants[row]) for row in rows], [seeds.index(runs.seeds[row]) for row in rows])
    counts = np.zeros((len(names), len(seeds)), dtype=int)
    np.add.at(counts, at, 1)
    if (counts > 1).any():
        raise StatisticsError(f"expected one training for each variant and seed, {_first(names, counts > 1)} has more")
    few = counts.sum(axis=1) < 2
    if few.any():
        raise StatisticsError(f"expected 2 seeds or more of each variant, {_first(names, few)} has fewer")
    table = np.zeros((*counts.shape, scores.shape[1]))
    table[at] = scores[rows]
    means = table.sum(axis=1) / counts.sum(axis=1)[:, None]
    present = counts > 0
    centred = (table - means[:, None]) * present[:, :, None]
    return _Table(np.array([weights[name] for name in names], dtype=float), present, means, centred)


def _first(names: Sequence[str], wrong: npt.NDArray[np.bool_]) -> str:
    return names[int(np.argwhere(wrong)[0][0])]


def _shares(table: _Table) -> tuple[Floats, Floats]:
    """Return the numbers of seeds of each variant (k,), and what share of a covariance the centred products keep.

    For two variants of n and m seeds, c of them in common, that is 1 - 1/n - 1/m + c/(n m): 1 - 1/n of a variance.
    """
    n = table.present.sum(axis=1).astype(float)
    common = table.present.astype(float) @ table.present.T
    kept = 1 - 1 / n[:, None] - 1 / n + common / np.outer(n, n)
    return n, np.where(common > 0, kept, np.inf)


def _covariances(table: _Table, deviations: Floats) -> Floats:
    """Return the covariances of the variants' means over seeds, summed over the last axis; (k, k), without bias."""
    n, kept = _shares(table)
    products = np.einsum("vsi,wsi->vw", deviations, deviations)
    covariances: Floats = products / (np.outer(n, n) * kept)
    return covariances


def _seeds_part(table: _Table, inner: Floats) -> tuple[float, float]:
    """Return the contrast's variance from the seeds, and its degrees of freedom."""
    n, kept = _shares(table)
    scaled = table.weights / n
    variance = float(table.weights @ _covariances(table, inner) @ table.weights)
    plain = float(((scaled @ inner[:, :, 0]) ** 2).sum())  # too small on average, but a sum of squares
    variance = max(variance, plain)
    of_variant, of_seed = np.nonzero(table.present)
    same = of_seed[:, None] == of_seed
    here = np.ix_(of_variant, of_variant)
    centring = np.eye(len(n))[here] / n[of_variant]
    form = (np.outer(scaled, scaled) / kept)[here] * same
    form = form - centring @ form
    form = form - form @ centring
    unit = inner[:, :, 0] / np.sqrt(n - 1)[:, None]
    product = form @ ((unit @ unit.T)[here] * same)
    spread = float((product * product.T).sum())
    df = float(np.trace(product)) ** 2 / spread if spread > 0 else float(n.sum() - len(n))  # the most there can be
    return variance, max(df, 1.0)
