"""When a search stops a trial early: pure functions of the curves recorded so far.

What a rule says depends on the values that it is given and on the trials' numbers, never on the order of arrival. A
decision that was recorded stands: a study that goes on decides as one that was never interrupted.

A value that is not finite loses against any that is, and a trial that has one at a rung is stopped. With several
objectives trials are compared by the front they are on (`platform.fronts`). Equally good ones fare alike: were the
earlier one to win, the first suggestion of a search would hold its place on the front against all that come after it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from statistics import median as middle

import numpy as np

from platform.fronts import ranks, signs

__all__ = ["Curves", "Decision", "asha", "bracket", "decide", "hyperband", "median", "rungs"]

Curves = Mapping[int, Mapping[int, Sequence[float]]]
"""What is known: trial's number -> step -> the objectives there."""


class Decision(StrEnum):
    """What becomes of a trial at a rung."""

    CONTINUE = "continue"
    STOP = "stop"


def rungs(first: int, reduction: int, last: int, evaluate_every: int) -> list[int]:
    """Return the rungs: `first`, and `reduction` times the one before, each moved up to the next evaluation.

    The last step is none: there a trial ends anyway. Empty if `first` is beyond it.

    Args:
        first: where the first rung should be, in steps.
        reduction: the factor between rungs, and of each rung's trials the share that goes on is 1 / reduction.
        last: the last step of a training.
        evaluate_every: steps between evaluations; at multiples of it a trial reports.

    Raises:
        ValueError: if first or evaluate_every is below 1, or reduction below 2.
    """
    if first < 1 or evaluate_every < 1 or reduction < 2:
        raise ValueError(
            "rungs: expected first and evaluate_every of 1 or more and a reduction of 2 or more, "
            f"got {first}, {evaluate_every} and {reduction}"
        )
    found: list[int] = []
    wanted = first
    while (step := math.ceil(wanted / evaluate_every) * evaluate_every) < last:
        if step not in found:
            found.append(step)
        wanted *= reduction
    return found


def decide(
    rule: Callable[[Curves, int, int], Decision],
    curves: Curves,
    this: int,
    step: int,
    recorded: Mapping[tuple[int, int], str],
) -> Decision:
    """Return the decision on a trial at a step: the recorded one, (trial, step) -> what, or else the rule's."""
    known = recorded.get((this, step))
    return rule(curves, this, step) if known is None else Decision(known)


def asha(
    curves: Curves, this: int, step: int, *, rungs: Sequence[int], reduction: int, directions: Sequence[str]
) -> Decision:
    """Continue if the trial is among the best 1 / reduction of those that have reached this rung, or is the best.

    Asynchronous successive halving that stops and never pauses: the top floor(n / reduction) of n, at least one (Li et
    al., "A system for massively parallel hyperparameter tuning", MLSys 2020, algorithm 2, without its pauses). So the
    first trial at a rung goes on. At a step that is no rung every trial does. Where the cut goes through trials that
    are equally good, or on the same front, all of these go on; of several objectives fewer are stopped, therefore.

    Args:
        curves: what is known, this trial's value at this step included.
        this: the trial's number.
        step: where it is.
        rungs: the steps of the rungs.
        reduction: 2 or more.
        directions: 'min' or 'max' for each objective.
    """
    if step not in rungs:
        return Decision.CONTINUE
    losses = _losses({number: curve[step] for number, curve in curves.items() if step in curve}, directions)
    better = sum(loss < losses[this] for loss in losses.values())
    good = math.isfinite(losses[this]) and better < max(1, len(losses) // reduction)
    return Decision.CONTINUE if good else Decision.STOP


def bracket(number: int, rungs: Sequence[int], reduction: int, brackets: int | None = None) -> int:
    """Return a trial's Hyperband bracket: how many of the first rungs it passes unseen, from 0 to all of them.

    Of s rungs left, a bracket gets the share ceil((s_max + 1) / (s + 1) * reduction^s) of the trials (Li et al.,
    "Hyperband", JMLR 18, 2018, algorithm 1), dealt evenly: every trial goes to the bracket that lacks most. With
    `brackets` there are only so many, those with the most rungs.
    """
    dealt = _dealt(len(rungs), reduction, len(rungs) + 1 if brackets is None else brackets)
    return dealt[number % len(dealt)]


@lru_cache(maxsize=16)
def _dealt(most: int, reduction: int, brackets: int) -> tuple[int, ...]:
    """Return the brackets of the trials of one round, in which each bracket gets as many as its share."""
    shares = [-(-(most + 1) * reduction**left // (left + 1)) for left in range(most, max(most - brackets, -1), -1)]
    given, found = [0] * len(shares), []
    for turn in range(1, sum(shares) + 1):
        lacks = [share * turn - has * sum(shares) for share, has in zip(shares, given, strict=True)]
        found.append(lacks.index(max(lacks)))
        given[found[-1]] += 1
    return tuple(found)


def hyperband(
    curves: Curves,
    this: int,
    step: int,
    *,
    rungs: Sequence[int],
    reduction: int,
    directions: Sequence[str],
    brackets: int | None = None,
) -> Decision:
    """Decide as `asha` among the trials of this one's bracket, at its own rungs. Arguments as for these two.

    The trials of the last bracket of all have no rung: all run to the end, which is what `analysis.guard` looks at.
    """
    own = bracket(this, rungs, reduction, brackets)
    rivals = {number: curve for number, curve in curves.items() if bracket(number, rungs, reduction, brackets) == own}
    return asha(rivals, this, step, rungs=rungs[own:], reduction=reduction, directions=directions)


def median(curves: Curves, this: int, step: int, *, first: int, directions: Sequence[str], least: int = 3) -> Decision:
    """Stop if the trial's best value so far is worse than the median of the others' running means up to this step.

    Golovin et al., "Google Vizier", KDD 2017, section 3.2.2, with every other trial that has reached the step in place
    of the completed ones. With several objectives "best" is the best of each, and fronts are compared, not values.

    Args:
        curves: what is known, this trial's value at this step included.
        this: the trial's number.
        step: where it is.
        first: before this step every trial goes on.
        directions: 'min' or 'max' for each objective.
        least: with fewer others every trial goes on that has a finite value.
    """
    if step < first:
        return Decision.CONTINUE
    if not np.isfinite(curves[this][step]).all():
        return Decision.STOP
    points: dict[int, Sequence[float]] = {
        number: _mean([values for at, values in curve.items() if at <= step])
        for number, curve in sorted(curves.items())
        if number != this and max(curve, default=-1) >= step
    }
    if len(points) < max(least, 1):
        return Decision.CONTINUE
    so_far = np.array([values for at, values in curves[this].items() if at <= step], dtype=np.float64)
    factors = signs(directions)
    best = np.nanmin(np.where(np.isfinite(so_far), so_far * factors, np.nan), axis=0) * factors
    points[this] = best.tolist()
    losses = _losses(points, directions)
    own = losses.pop(this)
    return Decision.STOP if own > middle(losses.values()) else Decision.CONTINUE


def _mean(points: Sequence[Sequence[float]]) -> list[float]:
    return [sum(values) / len(values) for values in zip(*points, strict=True)]


def _losses(points: Mapping[int, Sequence[float]], directions: Sequence[str]) -> dict[int, float]:
    """Return what is compared, smaller is better: the value's loss, or of several the front; infinite if not finite."""
    if len(directions) == 1:
        (factor,) = signs(directions).tolist()
        return {number: factor * point[0] if math.isfinite(point[0]) else math.inf for number, point in points.items()}
    fronts = ranks(list(points.values()), directions)
    return {number: math.inf if rank is None else rank for number, rank in zip(points, fronts, strict=True)}
