"""The observations of one search as an Optuna study, rebuilt from the ledger, for `platform.sampler`."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from platform.fronts import ranks

__all__ = ["History", "Observation", "Space", "walk"]

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

    @property
    def conditional(self) -> bool:
        """Whether a trial may lack a parameter."""
        return self.active is not _always


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
        return walk(self.space, lambda name: _suggested(trial, name, self.space.distributions[name]))


def walk(space: Space, value: Callable[[str], Any]) -> dict[str, Any]:
    """Return a value for each parameter that is active given those before it."""
    params: dict[str, Any] = {}
    for name in space.distributions:
        if space.active(name, params):
            params[name] = value(name)
    return params


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
