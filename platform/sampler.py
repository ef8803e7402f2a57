"""Which settings a search tries next: Optuna's samplers over an Optuna study rebuilt from the ledger's observations.

A suggestion is a function of the observations and of its address (study seed, variant, repeat, number) alone. Each
has a sampler of its own, seeded from the address: a study that goes on needs no sampler's state, and a sampler
seeded once for a rebuilt study would propose its old points again.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial
from scipy.stats import qmc

from platform.sampler_history import History, Space, walk

__all__ = ["KINDS", "STARTUP", "Address", "Suggestion", "distinct", "suggest"]

KINDS = ("tpe", "random", "quasi-random", "gp")
STARTUP = 10
"""TPE and GP propose at random until so many trials have a value, if there are no first points; Optuna's default."""


@dataclass(frozen=True)
class Address:
    """Where a suggestion's random numbers come from. `number` is that of the trial suggested."""

    seed: int
    variant: str
    repeat: int
    number: int

    def derived(self, attempt: int) -> int:
        """Return the sampler's seed, of 32 bits, for an attempt at this suggestion: the head of a SHA-256."""
        parts = (int(self.seed), self.variant, int(self.repeat), int(self.number), int(attempt))
        return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "little")


@dataclass(frozen=True)
class Suggestion:
    """Settings to try. `repeats` is the number of the first trial that has them already, exactly these, or None."""

    params: Mapping[str, Any]
    repeats: int | None


def suggest(kind: str, history: History, address: Address, *, first: int = 0, attempt: int = 0) -> dict[str, Any]:
    """Return the settings to try as trial `address.number`: a value for each active parameter.

    The first `first` suggestions are quasi-random points of (study seed, repeat), the same for all variants and kinds.

    Args:
        kind: one of `KINDS`. The quasi-random sampler goes on with the first points' sequence: Optuna's own keeps its
            position in the study, and draws conditional parameters at random. GP learns nothing from stopped trials.
        history: what is known.
        address: of this suggestion.
        first: how many first points; TPE and GP begin as soon as so many trials have a value.
        attempt: counts the attempts at this suggestion; no matter to quasi-random points.

    Raises:
        ValueError: if the kind is another word.
    """
    if kind not in KINDS:
        raise ValueError(f"sampler: expected one of {', '.join(KINDS)}, got {kind!r}")
    if kind == "quasi-random" or address.number < first:
        return _quasi_random(history.space, address)
    sampler = _sampler(kind, history, address.derived(attempt), first or STARTUP)
    return history.ask(sampler, address.number)


def distinct(kind: str, history: History, address: Address, *, first: int = 0, tries: int = 5) -> Suggestion:
    """Return settings that no trial has; what was suggested at first if there seem to be none.

    A repeat is asked again, `tries` times of the sampler and then as often at random: GP has one best point, and where
    its trial failed, of which it learns nothing, would insist on it for good. A quasi-random point that repeats is
    kept, since the sequence is the same for all variants. Arguments as for `suggest`.
    """
    params = suggest(kind, history, address, first=first)
    earlier = history.first_with(params)
    if earlier is None:
        return Suggestion(params, None)
    if kind == "quasi-random" or address.number < first:
        return Suggestion(earlier.params, earlier.number)
    for attempt in range(1, 2 * tries + 1):
        other = suggest(kind if attempt <= tries else "random", history, address, first=first, attempt=attempt)
        if history.first_with(other) is None:
            return Suggestion(other, None)
    return Suggestion(earlier.params, earlier.number)


def _quasi_random(space: Space, address: Address) -> dict[str, Any]:
    """Return point `address.number` of the scrambled Sobol sequence of (study seed, repeat)."""
    names = sorted({*space.union, *space.distributions})
    seed = Address(address.seed, "", address.repeat, 0).derived(0)
    points = qmc.Sobol(len(names), scramble=True, seed=seed).random_base2(address.number.bit_length())
    point = dict(zip(names, points[address.number].tolist(), strict=True))
    return walk(space, lambda name: _value(space.distributions[name], point[name]))


def _value(distribution: BaseDistribution, unit: float) -> Any:
    """Return the value at a place in [0, 1) of a distribution: equal shares for equal steps, choices and decades."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(unit * len(distribution.choices))]
    low, high, step = distribution.low, distribution.high, distribution.step
    if isinstance(distribution, IntDistribution) and distribution.log:  # each integer's share reaches half a step
        value = math.exp(math.log(low - 0.5) + unit * (math.log(high + 0.5) - math.log(low - 0.5)))
        return min(max(round(value), low), high)
    if step is not None:
        value = low + step * int(unit * (round((high - low) / step) + 1))
        return value if isinstance(distribution, IntDistribution) else min(value, high)
    if distribution.log:
        value = math.exp(math.log(low) + unit * (math.log(high) - math.log(low)))
    else:
        value = low + unit * (high - low)
    return min(max(value, low), high)


class _Tpe(TPESampler):  # type: ignore[misc]
    """TPE that looks for what trials have in common among one of each kind.

    Optuna's compares the distributions of all trials, anew for each sampler: of 10,000 that takes as long as the rest.
    """

    def __init__(self, history: History, **options: Any) -> None:
        super().__init__(**options)
        self.history = history

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the parameters that are modelled together."""
        found: dict[str, BaseDistribution] = super().infer_relative_search_space(self.history.kinds(), trial)
        return found


def _sampler(kind: str, history: History, seed: int, startup: int) -> BaseSampler:
    if kind == "random":
        return RandomSampler(seed=seed)
    if kind == "gp":
        return GPSampler(seed=seed, n_startup_trials=startup, warn_independent_sampling=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # Without groups one trial that lacks a parameter, by a condition, takes it out of the joint model for good.
        group = history.space.conditional
        options = {"n_startup_trials": startup, "multivariate": True, "constant_liar": True, "group": group}
        return _Tpe(history, seed=seed, **options)
