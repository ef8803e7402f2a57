"""Which settings a search tries next: Optuna's samplers over an Optuna study rebuilt from the ledger's observations.

A suggestion is a function of the observations and of its address (study seed, variant, repeat, number) alone. Each
has a sampler of its own, seeded from the address: a study that goes on needs no sampler's state, and a sampler
seeded once for a rebuilt study would propose its old points again.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import qmc

from platform.fronts import ranks

__all__ = ["KINDS", "STARTUP", "Address", "History", "Observation", "Space", "Suggestion", "distinct", "suggest"]

KINDS = ("tpe", "random", "quasi-random", "gp")
STARTUP = 10
"""TPE and GP propose at random until so many trials have a value, if there are no first points; Optuna's default."""

optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would tell of a new study for each history


def _always(name: str, others: Mapping[str, Any]) -> bool:
    return True


@dataclass(frozen=True)
class Space:
    """What one variant's search varies.

    Args:
        distributions: of each parameter; one that depends on others stands after them.
        active: whether a parameter exists, given the values of those before it.
        union: the parameters of all variants of the study; empty if they all have this space. A quasi-random point
            has a coordinate for each, so that a variant without a parameter gets the same values for the others.
    """

    distributions: Mapping[str, BaseDistribution]
    active: Callable[[str, Mapping[str, Any]], bool] = _always
    union: Sequence[str] = ()


@dataclass(frozen=True)
class Observation:
    """What the ledger knows of one trial of a search.

    Args:
        number: its place in the search of its variant and repeat, from 0.
        params: the values it has for the space's parameters; others are ignored.
        state: 'pruned' means stopped by the scheduler; 'fail' diverged or failed.
        objectives: its final values, if complete.
        rungs: the objectives at each rung that it reached, by step.
    """

    number: int
    params: Mapping[str, Any]
    state: Literal["complete", "pruned", "fail", "running"]
    objectives: Sequence[float] | None = None
    rungs: Mapping[int, Sequence[float]] = field(default_factory=dict)


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


class History:
    """The observations of one search as an Optuna study.

    Extending it costs only what is new, and gives the suggestions that one built from nothing gives.
    """

    def __init__(self, space: Space, directions: Sequence[str], observations: Iterable[Observation] = ()) -> None:
        """Build the study.

        Args:
            space: what is varied.
            directions: 'min' or 'max' for each objective.
            observations: everything known so far.
        """
        self.space, self.directions = space, tuple(directions)
        self._storage = _Told()
        words = {"min": "minimize", "max": "maximize"}
        self._study = optuna.create_study(storage=self._storage, directions=[words[one] for one in directions])
        self._observed: dict[int, Observation] = {}
        self._first: dict[tuple[tuple[str, str], ...], int] = {}
        self.update(observations)

    def update(self, observations: Iterable[Observation]) -> None:
        """Make these the observations: new and changed ones are told, those no longer among them forgotten.

        Raises:
            ValueError: if an observation has another count of objectives than there are directions.
        """
        now = {one.number: one for one in observations}
        told = self._storage.told
        before = self._observed
        changed = [one for number, one in now.items() if before.get(number) is not one and before.get(number) != one]
        gone = [told.pop(number, None) for number in self._observed.keys() - now.keys()]
        for one in changed:
            earlier = told.pop(one.number, None)
            trial = _trial(one, self.space, len(self.directions))
            if trial is not None:
                told[one.number] = trial
                key = _key(trial.params)
                self._first[key] = min(self._first.get(key, one.number), one.number)
            if earlier is not None and (trial is None or trial.params != earlier.params):
                gone.append(earlier)
        if any(trial is not None for trial in gone):
            self._first = {_key(told[number].params): number for number in sorted(told, reverse=True)}
        if changed or gone:
            self._storage.told = dict(sorted(told.items()))
            if len(self.directions) > 1:
                _place([one for one in told.values() if isinstance(one, _Stopped)], self.directions)
        self._observed = now

    @property
    def trials(self) -> list[FrozenTrial]:
        """The trials as the samplers see them, by number; those outside the space are missing."""
        return list(self._storage.told.values())

    def kinds(self) -> optuna.Study:
        """Return a study with one trial for each set of parameters that any trial has which ended with a value."""
        found: dict[tuple[str, ...], FrozenTrial] = {}
        for trial in self._storage.told.values():
            if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
                found.setdefault(tuple(trial.params), trial)
        storage = _Told()
        storage.told = {trial.number: trial for trial in found.values()}
        return optuna.create_study(storage=storage, directions=self._study.directions)

    def first_with(self, params: Mapping[str, Any]) -> FrozenTrial | None:
        """Return the first trial, in whatever state, that has these settings, but for rounding."""
        number = self._first.get(_key(params))
        return None if number is None else self._storage.told[number]

    def ask(self, sampler: BaseSampler, number: int) -> dict[str, Any]:
        """Return what a sampler suggests as trial `number`; the history stays as it was.

        Raises:
            ValueError: if there is an observation of that number already.
        """
        if number in self._observed:
            raise ValueError(f"suggestion {number}: expected a number without an observation, got one that has it")
        self._storage.number, self._study.sampler = number, sampler
        trial = self._study.ask()
        return _walk(self.space, lambda name: _suggested(trial, name, self.space.distributions[name]))


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


# --- points without a sampler --------------------------------------------------------------------------------------


def _quasi_random(space: Space, address: Address) -> dict[str, Any]:
    """Return point `address.number` of the scrambled Sobol sequence of (study seed, repeat)."""
    names = sorted({*space.union, *space.distributions})
    seed = Address(address.seed, "", address.repeat, 0).derived(0)
    points = qmc.Sobol(len(names), scramble=True, seed=seed).random_base2(address.number.bit_length())
    point = dict(zip(names, points[address.number].tolist(), strict=True))
    return _walk(space, lambda name: _value(space.distributions[name], point[name]))


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


def _walk(space: Space, value: Callable[[str], Any]) -> dict[str, Any]:
    """Return a value for each parameter that is active given those before it."""
    params: dict[str, Any] = {}
    for name in space.distributions:
        if space.active(name, params):
            params[name] = value(name)
    return params


# --- Optuna --------------------------------------------------------------------------------------------------------


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
        group = history.space.active is not _always
        options = {"n_startup_trials": startup, "multivariate": True, "constant_liar": True, "group": group}
        return _Tpe(history, seed=seed, **options)


def _suggested(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    ask = trial.suggest_float if isinstance(distribution, FloatDistribution) else trial.suggest_int
    return ask(name, distribution.low, distribution.high, step=distribution.step, log=distribution.log)


class _Stopped(FrozenTrial):  # type: ignore[misc]
    """A stopped trial of a study with several objectives.

    Optuna ranks a stopped trial by its last value, and with several objectives refuses to. It ranks those that violate
    a constraint after all others, by how much: so that is how far back this one stands among the stopped.
    """

    place = 0

    @property
    def constraints(self) -> dict[str, float]:
        """The one constraint, violated: smaller is better."""
        return {"stopped": self.place + 1.0}

    @property
    def last(self) -> tuple[int, Sequence[float]]:
        """The rung where it was stopped, and its objectives there."""
        rung: tuple[int, Sequence[float]] = self.user_attrs["last"]
        return rung


def _place(stopped: Sequence[_Stopped], directions: Sequence[str]) -> None:
    """Give stopped trials their places: the latest rung first, within a rung by front, then by number."""
    rungs: dict[int, list[_Stopped]] = {}
    for trial in stopped:
        rungs.setdefault(trial.last[0], []).append(trial)
    place = 0
    for _, there in sorted(rungs.items(), reverse=True):
        fronts = ranks([trial.last[1] for trial in there], directions)
        for _, _, trial in sorted(zip(fronts, count(), there, strict=False)):
            trial.place, place = place, place + 1


def _trial(one: Observation, space: Space, objectives: int) -> FrozenTrial | None:
    """Return an observation as Optuna's trial; None if it lies outside the space, as it is now.

    Values that are not finite never get to a sampler: such a trial is a failed one.
    """
    params: dict[str, Any] = {}
    for name, distribution in space.distributions.items():
        if name in one.params and space.active(name, params):
            if not _holds(distribution, one.params[name]):
                return None
            known = one.params[name]
            params[name] = float(known) if isinstance(distribution, FloatDistribution) else known
    state = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "running": TrialState.RUNNING}.get(
        one.state, TrialState.FAIL
    )
    last = max(one.rungs, default=0)
    seen = one.objectives if state == TrialState.COMPLETE else one.rungs.get(last) if one.state == "pruned" else None
    if seen is not None and len(seen) != objectives:
        raise ValueError(f"trial {one.number}: expected {objectives} objectives, got {len(seen)}")
    if state in (TrialState.COMPLETE, TrialState.PRUNED) and not (seen and all(map(math.isfinite, seen))):
        state, seen = TrialState.FAIL, None
    stopped = state == TrialState.PRUNED
    return (_Stopped if stopped and objectives > 1 else FrozenTrial)(
        number=one.number,
        trial_id=one.number,
        state=state,
        value=None,
        values=seen if state == TrialState.COMPLETE else None,
        datetime_start=None,
        datetime_complete=None,
        params=params,
        distributions={name: space.distributions[name] for name in params},
        user_attrs={"last": (last, seen)} if stopped else {},
        system_attrs={},
        intermediate_values={last: seen[0]} if stopped and seen and objectives == 1 else {},
    )


def _key(params: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return what equal settings share; a sampler that comes to a bound again may miss it by a rounding error."""
    return tuple(sorted((name, f"{one:.9g}" if isinstance(one, float) else repr(one)) for name, one in params.items()))


def _holds(distribution: BaseDistribution, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and bool(distribution.low <= value <= distribution.high)


class _Told(optuna.storages.InMemoryStorage):  # type: ignore[misc]
    """Optuna's storage of one study: its trials are put into `told`, and the one asked for is not kept beyond the next.

    Optuna's own copies each trial it is given, numbers them without gaps, and forgets none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.told: dict[int, FrozenTrial] = {}
        """The trials by number, in this order."""
        self.number = 0
        self.asked: FrozenTrial | None = None

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        trial = optuna.trial.create_trial(state=TrialState.RUNNING)
        trial.number = trial._trial_id = self.number
        self.asked = trial
        return self.number

    def get_trial(self, trial_id: int) -> FrozenTrial:
        return self.asked if self.asked is not None and trial_id == self.number else self.told[trial_id]

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        trials = [*self.told.values(), *([] if self.asked is None else [self.asked])]
        return trials if states is None else [one for one in trials if one.state in states]

    def set_trial_param(self, trial_id: int, param_name: str, param_value_internal: float, distribution: Any) -> None:
        """Do nothing: the one who asks holds the values."""

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Do nothing: a sampler's notes for others that would ask at the same time."""
