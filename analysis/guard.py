"""Whether stopping early misleads: the order of trials at a rung beside their order at the end. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from scipy import stats

__all__ = ["PAIRS", "Guard", "guard"]

PAIRS = 6
"""A rank correlation of fewer trials says nothing: of 6, only one above 0.72 is told from 0."""


@dataclass(frozen=True)
class Guard:
    """How well a rung foretells the end.

    Args:
        n: the trials compared.
        tau: Kendall's rank correlation (b) between the values at the rung and at the end; NaN if it cannot be had.
            (1 + tau) / 2 of the pairs have the same order at both, if none are tied.
        low: lower end of its interval.
        high: upper end of its interval.
        warning: a sentence where stopping at this rung would mislead, or nobody knows; else empty.
    """

    n: int
    tau: float
    low: float
    high: float
    warning: str

    @property
    def misleads(self) -> bool:
        """Whether there is a finding against stopping here, not only too little to tell."""
        return bool(self.warning) and not math.isnan(self.tau)


def guard(
    rung_values: Mapping[int, float],
    final_values: Mapping[int, float],
    *,
    higher_is_better: bool,
    reduction: int,
    level: float = 0.95,
    named: Callable[[int], str] = "trial {}".format,
) -> Guard:
    """Compare the order of trials at a rung with their order at the end, among those that have both values.

    The interval is Fisher's z of tau with variance 0.437 / (n - 4) (Fieller, Hartley and Pearson, "Tests for rank
    correlation coefficients I", Biometrika 44, 1957). It warns where the interval holds 0, or the trial that ended best
    was not among the best 1 / reduction at the rung. Trials that outlived this very rung are alike there, which hides a
    correlation: those that nothing could stop tell more.

    Args:
        rung_values: one objective at the rung, by trial.
        final_values: the same objective at the end, by trial.
        higher_is_better: the objective's direction.
        reduction: the share that goes on is 1 / reduction.
        level: the interval's level.
        named: how a trial is called in a warning.
    """
    factor = -1.0 if higher_is_better else 1.0
    pairs = {
        number: (factor * rung_values[number], factor * final_values[number])
        for number in sorted(rung_values.keys() & final_values.keys())
        if math.isfinite(rung_values[number]) and math.isfinite(final_values[number])
    }
    n = len(pairs)
    if n < PAIRS:
        what = f"only {n} of the trials ran to the end with values at both: whether stopping here misleads is not known"
        return Guard(n, math.nan, -1.0, 1.0, what)
    tau = float(stats.kendalltau(*zip(*pairs.values(), strict=True)).statistic)
    if math.isnan(tau):
        what = f"all {n} trials have the same value: whether stopping here misleads is not known"
        return Guard(n, tau, -1.0, 1.0, what)
    half = float(stats.norm.ppf((1 + level) / 2)) * math.sqrt(0.437 / (n - 4))
    most = 1 - 2 / (n * (n - 1))  # as if one pair were half wrong: z of 1 is infinite
    z = math.atanh(min(max(tau, -most), most))
    low = math.tanh(z - half) if tau >= -most else -1.0
    high = math.tanh(z + half) if tau <= most else 1.0
    return Guard(n, tau, low, high, _warning(pairs, reduction, (tau, low, high), named))


def _warning(
    pairs: Mapping[int, tuple[float, float]],
    reduction: int,
    estimate: tuple[float, float, float],
    named: Callable[[int], str],
) -> str:
    tau, low, high = estimate
    n = len(pairs)
    numbers = f"rank correlation {tau:.2f} [{low:.2f}, {high:.2f}], {n} trials"
    if low <= 0:
        return f"early stopping may mislead: the order here does not foretell the order at the end ({numbers})"
    best = min(pairs, key=lambda number: (pairs[number][1], number))
    place = 1 + sum((pairs[number][0], number) < (pairs[best][0], best) for number in pairs)
    if place > max(1, n // reduction):
        return (
            f"early stopping may mislead: {named(best)}, the best at the end, stood at place {place} of {n} here and "
            f"would have been stopped ({numbers})"
        )
    return ""
