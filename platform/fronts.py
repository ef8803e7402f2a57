"""Several objectives at once: non-dominated fronts, and the rules that pick one candidate from a front.

A point dominates another if it is no worse in any objective and better in one. The points that nobody dominates
are the first front (Pareto's), those that only the first front dominates the second, and so on. A point with an
objective that is no finite number is on no front.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Choice", "Constraint", "Knee", "Rule", "Weights", "choose", "front", "ranks", "signs"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Weights:
    """The smallest weighted sum of losses, each normalised on the front: 0 its best point there, 1 its worst.

    Values, not ranks, so that a small loss in one objective cannot outweigh a large gain in another; on the front,
    so that a bad candidate, which sits on none, cannot stretch the scale.
    """

    weights: Mapping[str, float]


@dataclass(frozen=True)
class Constraint:
    """The best in objective `best` among the candidates within all bounds: metric -> (lowest, highest) value.

    A metric need not be an objective, but each candidate must have it to be within its bounds.
    """

    bounds: Mapping[str, tuple[float, float]]
    best: str


@dataclass(frozen=True)
class Knee:
    """The point of the front farthest from its chord, towards the ideal point.

    With the front's losses normalised to [0, 1], the chord of two objectives joins (0, 1) and (1, 0); of m it is the
    plane on which they sum to 1 (Das, "On characterizing the knee of the Pareto curve based on normal-boundary
    intersection", 1999). The distance is (1 - sum) / sqrt(m).
    """


Rule = Weights | Constraint | Knee


@dataclass(frozen=True)
class Choice:
    """The candidate chosen, or None, and why: a sentence for the report."""

    number: int | None
    why: str


def signs(directions: Sequence[str]) -> Floats:
    """Return the factors, (m,), that turn values into losses: 1 for 'min', -1 for 'max'.

    Raises:
        ValueError: if a direction is another word.
    """
    unknown = [one for one in directions if one not in ("min", "max")]
    if unknown:
        raise ValueError(f"direction: expected 'min' or 'max', got {unknown[0]!r}")
    return np.array([1.0 if one == "min" else -1.0 for one in directions])


def ranks(points: Sequence[Sequence[float]], directions: Sequence[str]) -> list[int | None]:
    """Return for each point the number of its front, 0 the best; None for one with a value that is not finite.

    A point's front is the length of the longest chain of points that dominate one another and it. Equal points share
    a front. n points of up to two objectives take O(n log n), of more O(n^2).

    Args:
        points: values, (n, m).
        directions: 'min' or 'max' for each of the m objectives.
    """
    found: list[int | None] = [None] * len(points)
    losses = _losses(points, directions)
    finite = np.flatnonzero(np.isfinite(losses).all(axis=1))
    if finite.size:
        order = finite[np.lexsort(losses[finite].T[::-1])]  # by the first objective, then the second, ...
        in_order = losses[order]
        new = np.append(True, (in_order[1:] != in_order[:-1]).any(axis=1))
        fronts = _two(in_order[new]) if len(directions) <= 2 else _many(in_order[new])
        for index, row in zip(order.tolist(), (new.cumsum() - 1).tolist(), strict=True):
            found[index] = fronts[row]
    return found


def front(points: Sequence[Sequence[float]], directions: Sequence[str]) -> list[int]:
    """Return the indices of the points that nobody dominates, in their order; as `ranks`."""
    return [index for index, rank in enumerate(ranks(points, directions)) if rank == 0]


def choose(rule: Rule, candidates: Mapping[int, Mapping[str, float]], objectives: Mapping[str, str]) -> Choice:
    """Return the candidate that a rule picks. Equally good ones: the lowest number. Their order plays no part.

    Args:
        rule: how to choose.
        candidates: the metrics of each, by its number.
        objectives: 'min' or 'max' for each objective.

    Raises:
        ValueError: if the rule names an objective that there is not, no bound, or weights negative or all 0.
    """
    _check(rule, objectives)
    points = _points(candidates, objectives)
    if not points:
        return Choice(None, "no candidate has a number for every objective")
    if isinstance(rule, Constraint):
        return _within(rule, candidates, points, objectives)
    numbers = sorted(points)
    members = [numbers[index] for index in front([points[one] for one in numbers], list(objectives.values()))]
    losses = _normalised(_losses([points[one] for one in members], list(objectives.values())))
    if isinstance(rule, Weights):
        weights = np.array([rule.weights.get(name, 0.0) for name in objectives])
        scores = losses @ (weights / weights.sum())
        text = ", ".join(f"{name} x {weight:g}" for name, weight in rule.weights.items())
        why = f"smallest weighted sum ({text}) of losses normalised on the front of {_count(len(members))}"
    else:
        scores = (losses.sum(axis=1) - 1) / math.sqrt(len(objectives))
        why = f"knee of the front of {_count(len(members))}"
    return Choice(members[_first_smallest(scores)], why)


def _within(
    rule: Constraint,
    candidates: Mapping[int, Mapping[str, float]],
    points: Mapping[int, Sequence[float]],
    objectives: Mapping[str, str],
) -> Choice:
    """Return the best candidate within the bounds; of equally good ones, one that no other of them dominates."""
    bounds = rule.bounds.items()
    fit = [
        number
        for number in sorted(points)
        if all(low <= candidates[number].get(name, math.nan) <= high for name, (low, high) in bounds)
    ]
    text = " and ".join(_bound(name, low, high) for name, (low, high) in bounds)
    if not fit:
        return Choice(None, f"none of {_count(len(points))} has {text}")
    names = list(objectives)
    losses = _losses([points[one] for one in fit], list(objectives.values()))
    own = losses[:, names.index(rule.best)]
    ties = [number for number, loss in zip(fit, own.tolist(), strict=True) if loss == own.min()]
    chosen = ties[front([points[one] for one in ties], list(objectives.values()))[0]]
    return Choice(chosen, f"best {rule.best} of the {len(fit)} of {_count(len(points))} with {text}")


def _check(rule: Rule, objectives: Mapping[str, str]) -> None:
    named = {rule.best} if isinstance(rule, Constraint) else set(rule.weights) if isinstance(rule, Weights) else set()
    unknown = sorted(named - objectives.keys())
    if unknown:
        raise ValueError(f"choice: expected objectives among {', '.join(objectives)}, got {unknown[0]}")
    if isinstance(rule, Constraint) and not rule.bounds:
        raise ValueError("choice: expected at least one bound, got none")
    if isinstance(rule, Weights) and (min(rule.weights.values(), default=0) < 0 or not any(rule.weights.values())):
        raise ValueError(f"choice: expected weights of 0 or more, not all 0, got {dict(rule.weights)}")


def _points(
    candidates: Mapping[int, Mapping[str, float]], objectives: Mapping[str, str]
) -> dict[int, tuple[float, ...]]:
    """Return the objectives of the candidates that have a finite number for each."""
    points = {
        number: tuple(metrics.get(name, math.nan) for name in objectives) for number, metrics in candidates.items()
    }
    return {number: point for number, point in points.items() if all(map(math.isfinite, point))}


def _losses(points: Sequence[Sequence[float]], directions: Sequence[str]) -> Floats:
    """Return the points as losses, (n, m): smaller is better in each column."""
    return np.asarray(points, dtype=np.float64).reshape(len(points), len(directions)) * signs(directions)


def _normalised(losses: Floats) -> Floats:
    """Return losses of which each column spans [0, 1]; a column of equal losses is 0."""
    low, high = losses.min(axis=0), losses.max(axis=0)
    return np.asarray((losses - low) / np.where(high > low, high - low, 1.0))


def _first_smallest(scores: Floats) -> int:
    """Return the index of the first score that is smallest, but for rounding."""
    return int(np.flatnonzero(scores <= scores.min() + 1e-12)[0])


def _two(losses: Floats) -> list[int]:
    """Return the fronts of different points of one or two losses, sorted by the first, then the second.

    A point can only be dominated by earlier ones, and by one of a front exactly if that front's latest point, which
    has its smallest second loss, is no worse in it. These latest losses grow from front to front.
    """
    latest: list[float] = []
    found = []
    for second in losses[:, 1].tolist() if losses.shape[1] == 2 else range(len(losses)):
        number = bisect_right(latest, second)
        latest[number : number + 1] = [second]
        found.append(number)
    return found


def _many(losses: Floats) -> list[int]:
    """Return the fronts of different points of any number of losses, sorted as for `_two`."""
    found = np.zeros(len(losses), dtype=np.int64)
    for index in range(1, len(losses)):
        dominating = (losses[:index] <= losses[index]).all(axis=1)
        found[index] = found[:index].max(where=dominating, initial=-1) + 1
    return [int(one) for one in found]


def _count(number: int) -> str:
    return f"{number} candidate{'' if number == 1 else 's'}"


def _bound(name: str, low: float, high: float) -> str:
    if low == -math.inf:
        return f"{name} <= {high:g}"
    return f"{name} >= {low:g}" if high == math.inf else f"{low:g} <= {name} <= {high:g}"
