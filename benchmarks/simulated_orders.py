"""Simulated studies of random orders of seven components whose Shapley values are known; see calibration.py."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.effects import SHAPLEY, attributions
from analysis.factorial import full, orders, runs_of_orders, shapley_weights
from benchmarks.simulated_studies import NOISES, Cell, Floats, Parts, drawn, frame, parted, same

__all__ = ["NAMES", "TRUTHS", "OrdersCell", "of_orders", "orders_cells", "places", "proven_of_orders", "steps"]

NAMES = "abcdefg"
"""More components than `analysis.factorial.MOST_EXACT`."""
TRUTHS: dict[str, dict[str, float]] = {
    "interactions": {"a": 1.4, "af": -0.8, "f": 0.4, "b": -0.6, "bc": 0.5, "c": 0.3, "cde": 0.9, "d": 0.2},
    "all or nothing": {"abcdefg": 2.1, "g": -0.3},
}
"""What sets of components add to a run in which all of the set are there, in dB.

In the first `f` has a Shapley value of 0 since its interaction cancels it, and `g` does nothing. The second is the
hardest: all that a component adds, it adds in the one order of seven in which it is last; `g` takes 0.3 away in six of
seven orders and adds 1.8 in one, so that its value is 0.
"""
AT_ONCE = 250
_RUNS = full(NAMES).runs
_PLACE = {run: place for place, run in enumerate(_RUNS)}
_PLACE_OF_BITS = np.argsort([sum(1 << NAMES.index(name) for name in run) for run in _RUNS])


@dataclass(frozen=True)
class OrdersCell:
    """One kind of study: `count` random orders, of runs that vary as in `cell`."""

    truth: str
    cell: Cell
    count: int

    def __str__(self) -> str:
        return f"{self.cell.noise}, rho {self.cell.rho}, {self.count} orders x {self.cell.seeds} seeds"

    @property
    def worth(self) -> Floats:
        """Return the true score of each run of the full factorial, the full model first."""
        terms = TRUTHS[self.truth]
        return np.array([sum(term for names, term in terms.items() if run >= set(names)) for run in _RUNS])

    @property
    def shapley(self) -> Floats:
        """Return each component's true Shapley value, over all orders."""
        weights = [shapley_weights(name, NAMES) for name in NAMES]
        return np.array([[float(of_name[run]) for run in _RUNS] for of_name in weights]) @ self.worth


def orders_cells() -> list[OrdersCell]:
    """Return every cell; effects do not differ by image, there are 7 images."""
    kinds = itertools.product(TRUTHS, NOISES, (0.0, 0.7), (20, 40), (3, 5, 10))
    return [OrdersCell(truth, Cell(noise, 0.0, rho, seeds, 7), count) for truth, noise, rho, count, seeds in kinds]


def places(random: Sequence[Sequence[str]]) -> npt.NDArray[np.int64]:
    """Return the places among all runs of that before each component and that with it; orders x components x 2."""
    at = np.array([[NAMES.index(name) for name in order] for order in random])
    after = np.cumsum(1 << at, axis=1)
    pairs = _PLACE_OF_BITS[np.stack([after - (1 << at), after], axis=2)]
    return np.take_along_axis(pairs, np.argsort(at, axis=1)[:, :, None], axis=1)


def steps(means: Floats, random: Sequence[Sequence[str]]) -> Floats:
    """Return what each component adds in each seed and order, components x seeds x orders; `means`: runs x seeds."""
    before, after = np.moveaxis(means[places(random)], 2, 0)
    return np.moveaxis(after - before, 0, 2)


def of_orders(kind: OrdersCell, studies: int, seed: int, *, sample: int = 2) -> dict[str, float | Floats]:
    """Return the figures of a cell; `analysis.attributions` is asked about the first studies of the sample.

    Each study draws orders of its own. Where no training is missing, `analysis.linear.sampled` treats orders as images
    like these are treated, so that `parted` serves for both.
    """
    rng = np.random.default_rng([seed, 3000 + orders_cells().index(kind)])
    found, worth = np.empty((studies, len(NAMES), kind.cell.seeds, kind.count)), kind.worth
    asked = []
    for first in range(0, studies, AT_ONCE):
        scores, _ = drawn(kind.cell, min(AT_ONCE, studies - first), rng, arms=len(_RUNS))
        scores += worth[:, None, None]
        for study, means in enumerate(scores.mean(axis=3), start=first):
            random = orders(NAMES, kind.count, seed=int(rng.integers(2**32)))
            found[study] = steps(means, random)
            if study < sample:
                asked.append((scores[study - first], random))
    parts = parted(found)
    proven = sum(proven_of_orders(*one, parts, study) for study, one in enumerate(asked))
    truth = kind.shapley
    off, zero = np.abs(parts.difference - truth), np.isclose(truth, 0)
    missed, missed99 = (off > parts.half(level, "sample") for level in (0.05, 0.01))
    return {
        "proven": proven,
        "coverage": 1 - float(missed.mean()),
        "coverage se": float(missed.mean(axis=1).std() / np.sqrt(studies)),
        "of each": 1 - missed.mean(axis=0),
        "error5": missed.mean(axis=0)[zero],
        "error1": missed99.mean(axis=0)[zero],
        "seeds alone": 1 - float((off > parts.half(0.05, "these")).mean()),
    }


def proven_of_orders(scores: Floats, random: Sequence[Sequence[str]], parts: Parts, study: int) -> int:
    """Compare a study's parts with what the analysis says, and return how many comparisons were made.

    `scores`: all runs x seeds x images, of which the analysis gets those that the orders need.
    """
    needed = runs_of_orders(random)
    rows = [[int(name in run) for name in NAMES] for run in needed]
    variants = pd.DataFrame(rows, index=[f"c{_PLACE[run]}" for run in needed], columns=list(NAMES))
    table = attributions(frame(scores), variants, metric="psnr", higher_is_better=True, drawn=random)
    own = table[table["estimand"] == SHAPLEY].set_index("component").loc[list(NAMES)]
    half = parts.half(0.05, "sample")[study]
    same(own["difference"], parts.difference[study])
    same((own["high"] - own["low"]) / 2, half)
    same(own["p"] < 0.05, np.abs(parts.difference[study]) > half)
    return len(own)
