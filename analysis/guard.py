"""Whether stopping early misleads: the order of trials at a rung beside their order at the end. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special

from analysis.comparison import LEVEL
from analysis.statistics import Floats

__all__ = ["Finding", "Guard", "guard", "tells"]

Finding = Literal["foretells", "against", "unknown"]

WEAK = 0.5
"""A rank correlation below this one: of two trials, the better one at the end is the worse one here in a quarter."""
PLACED = 6
"""Of fewer trials it says nothing at which place one of them stood."""
EXACT = 4000
"""With more pairs than so many the null distribution is normal for all that matters."""


@dataclass(frozen=True)
class Guard:
    """How well a rung foretells the end.

    Args:
        n: the trials compared.
        pairs: of them, all of the same group.
        tau: Kendall's rank correlation (b) between the values at the rung and at the end, over these pairs; NaN if it
            cannot be had. (1 + tau) / 2 of the pairs have the same order at both, if none are tied.
        low: lower end of its interval.
        high: upper end of its interval.
        finding: `foretells` where the interval lies above 0, `against` where it lies below `WEAK`, else `unknown`.
        warning: what a reader should know, in words; empty if the rung foretells the end and nothing is to be said.
    """

    n: int
    pairs: int
    tau: float
    low: float
    high: float
    finding: Finding
    warning: str


def guard(
    rung_values: Mapping[int, float],
    final_values: Mapping[int, float],
    *,
    higher_is_better: bool,
    reduction: int,
    groups: Mapping[int, object] | None = None,
    named: Callable[[int], str] = "trial {}".format,
) -> Guard:
    """Compare the order of trials at a rung with their order at the end, among those that have both values.

    Only trials of the same group are compared, so that what groups differ by does not count as foretold. The interval
    is Fisher's z of tau with variance 0.437 / (n - 4) (Fieller, Hartley and Pearson, "Tests for rank correlation
    coefficients I", Biometrika 44, 1957); of several groups n is that of one group whose tau would vary as much by
    chance. It lies above 0 only if the exact test over the orders within the groups says so, too, at half the level
    (as if no values were tied, which errs on the safe side). Trials that outlived this very rung are alike there, which
    hides a correlation: those that nothing could stop tell more.

    Args:
        rung_values: one objective at the rung, by trial.
        final_values: the same objective at the end, by trial.
        higher_is_better: the objective's direction.
        reduction: the share that goes on is 1 / reduction.
        groups: of each trial; all are of one if there are none.
        named: how a trial is called in a warning.
    """
    factor = -1.0 if higher_is_better else 1.0
    members: dict[object, list[int]] = {}
    for number in sorted(rung_values.keys() & final_values.keys()):
        if math.isfinite(rung_values[number]) and math.isfinite(final_values[number]):
            members.setdefault(None if groups is None else groups[number], []).append(number)
    values = [
        (np.array([[factor * rung_values[one], factor * final_values[one]] for one in several]), several)
        for several in members.values()
    ]
    sizes = [len(several) for _, several in values]
    n, pairs = sum(sizes), sum(size * (size - 1) // 2 for size in sizes)
    if not tells(sizes):
        what = "too few trials ran to the end to tell whether the order here foretells that at the end"
        return Guard(n, pairs, math.nan, -1.0, 1.0, "unknown", what)
    agreement, tau = _agreement([points for points, _ in values])
    if math.isnan(tau):
        what = "all values are the same, so that nothing can be told"
        return Guard(n, pairs, tau, -1.0, 1.0, "unknown", what)
    low, high = _interval(tau, sizes)
    if _by_chance(agreement, sizes) > LEVEL / 2:
        low = min(low, 0.0)
    finding: Finding = "foretells" if low > 0 else "against" if high < WEAK else "unknown"
    return Guard(n, pairs, tau, low, high, finding, _warning(finding, values, reduction, named))


def tells(sizes: Sequence[int]) -> bool:
    """Return whether groups of so many trials can tell anything: whether full agreement would."""
    by_chance = math.prod(1 / math.factorial(min(size, 100)) for size in sizes)
    return by_chance <= LEVEL / 2 and _interval(1.0, sizes)[0] > 0


def _agreement(groups: Sequence[Floats]) -> tuple[int, float]:
    """Return pairs in the same order minus those turned round, over all groups, and tau b."""
    agreement, untied = 0, [0, 0]
    for points in groups:
        signs = [np.sign(np.subtract.outer(points[:, side], points[:, side])).astype(int) for side in (0, 1)]
        agreement += int((signs[0] * signs[1]).sum()) // 2
        untied = [count + int(np.abs(one).sum()) // 2 for count, one in zip(untied, signs, strict=True)]
    whole = math.sqrt(untied[0] * untied[1])
    return agreement, agreement / whole if whole else math.nan


def _variance(sizes: Sequence[int]) -> float:
    """Return the variance of the agreement if the order here says nothing (Kendall 1938, in each group)."""
    return sum(size * (size - 1) * (2 * size + 5) / 18 for size in sizes)


def _interval(tau: float, sizes: Sequence[int]) -> tuple[float, float]:
    pairs = sum(size * (size - 1) / 2 for size in sizes)
    variance = 9 * _variance(sizes) / pairs**2
    # of one group of n: variance / 9 = 2 (2 n + 5) / (9 n (n - 1))
    n = (variance + 4 + math.sqrt((variance + 4) ** 2 + 40 * variance)) / (2 * variance)
    half = float(-special.ndtri(LEVEL / 2)) * math.sqrt(0.437 / (n - 4))
    most = 1 - 1 / pairs  # as if one pair were half wrong: z of 1 is infinite
    z = math.atanh(min(max(tau, -most), most))
    return math.tanh(z - half) if tau >= -most else -1.0, math.tanh(z + half) if tau <= most else 1.0


def _by_chance(agreement: int, sizes: Sequence[int]) -> float:
    """Return how probable this agreement or a larger one is if every order within the groups is as likely.

    Pairs turned round are the inversions of a permutation, whose numbers of m trials are spread as the sum of uniform
    draws from 0 to k, for k below m.
    """
    pairs = sum(size * (size - 1) // 2 for size in sizes)
    if pairs > EXACT:
        return float(special.ndtr(-(agreement - 1) / math.sqrt(_variance(sizes))))
    spread = np.ones(1)
    for size in sizes:
        for most in range(1, size):
            spread = np.convolve(spread, np.full(most + 1, 1 / (most + 1)))
    return float(spread[: (pairs - agreement) // 2 + 1].sum())


def _warning(
    finding: Finding,
    values: Sequence[tuple[Floats, list[int]]],
    reduction: int,
    named: Callable[[int], str],
) -> str:
    if finding == "against":
        return "early stopping may mislead: the order here tells little of the order at the end"
    if finding == "unknown":
        return "too few trials to tell whether the order here foretells that at the end"
    for points, numbers in values:
        best = int(np.argmin(points[:, 1]))  # of equal ones the first
        place, n = 1 + int((points[:, 0] < points[best, 0]).sum()), len(numbers)
        if n >= PLACED and place > max(1, n // reduction):
            who = f"{named(numbers[best])}, the best at the end"
            return f"early stopping may mislead: {who}, stood at place {place} of {n} here"
    return ""
