"""One variant's search: the rules that hold for it, what it has tried, and what that was worth. Pure.

A search is a list of suggestions, each with a trial for every seed; what these are worth is what the ledger says of the
trials.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any

from analysis.schema import COMPLETED, DIVERGED, FAILED, PLANNED, RUNNING, STOPPED
from platform import design
from platform.design import Variant
from platform.fronts import Choice
from platform.search_space import Parameter, active, point, space_of
from platform.search_spec import Direction, Search, confirm_seeds, objectives_of, search_seeds
from platform.spec import Study

__all__ = [
    "Curve",
    "Entry",
    "Rules",
    "Track",
    "Trials",
    "final",
    "first_points",
    "rules_of",
    "state",
    "tracks_of",
    "worth",
]

ENDED = (COMPLETED, STOPPED, DIVERGED, FAILED)
SPAN = 1_000_003
"""From the seeds of one repeat to those of the next."""
MOST_FIRST = 10
LEAST_FIRST = 2
ENUMERABLE = 4096
"""Spaces of more points than so many are not counted."""

Curve = Mapping[int, Sequence[float]]
"""Step -> the values of `Rules.metrics` there; NaN where one could not be computed."""


@dataclass(frozen=True)
class Rules:
    """What holds for all searches of a study; see `rules_of`.

    Args:
        search: of the spec.
        objectives: metric -> direction.
        metrics: what is kept of every report: the objectives, then what else the choice depends on.
        seeds: each suggestion is trained with every one of them, in the first repeat; see `seeds_of`.
        confirm: the seeds that confirm the first repeat; empty if nothing is confirmed.
        at: a trial is worth the mean over its last so many evaluations.
    """

    search: Search
    objectives: Mapping[str, Direction]
    metrics: Sequence[str]
    seeds: Sequence[int]
    confirm: Sequence[int]
    at: int

    def seeds_of(self, repeat: int) -> list[int]:
        """Return the seeds that a repeat of the searches trains with: the first one `seeds`, each other one its own.

        Repeats that shared seeds would share their luck, and their spread would be too small.
        """
        return [seed + repeat * SPAN for seed in self.seeds]

    def confirm_of(self, repeat: int) -> list[int]:
        """Return the seeds that confirm what a repeat found; as `seeds_of`."""
        return [seed + repeat * SPAN for seed in self.confirm]

    @cached_property
    def directions(self) -> list[str]:
        """Of the objectives."""
        return list(self.objectives.values())


def rules_of(study: Study) -> Rules | None:
    """Return the rules of a study's searches, or None if it has none."""
    spec, search = study.spec, study.spec.search
    if search is None:
        return None
    objectives = objectives_of(search, spec.analysis.primary, study.trainer.METRICS)
    seeds = search_seeds(search, spec.seed_list)
    confirm = [] if spec.confirm is None else confirm_seeds(spec.confirm, seeds, spec.seed_list)
    others = [key for key in search.choose.where if key not in objectives]
    return Rules(search, objectives, [*objectives, *others], seeds, confirm, spec.analysis.at)


@dataclass(frozen=True)
class Entry:
    """A suggestion: settings that a search tries, and its trials.

    Args:
        number: its place in the search, from 0.
        params: the value of each parameter that exists under the others.
        trials: an identity for each of `Rules.seeds`; empty if the trainer refused the settings.
        same_as: the number of the first suggestion with the same trials; None if it is new.
        refused: what the trainer said against the settings.
    """

    number: int
    params: Mapping[str, Any]
    trials: Sequence[str]
    same_as: int | None = None
    refused: str | None = None


@dataclass
class Track:
    """One search: of a variant, in a repeat.

    Args:
        variant: whose settings are searched.
        repeat: from 0.
        parameters: what it searches.
        left_out: what it leaves out of the spec's space: path -> reason.
        steps: how long a training of the variant is, for a budget in steps.
        entries: its suggestions by number, but for those left out since the spec was changed.
        following: the number of the next suggestion.
        choice: what was chosen, once it is over.
        first: identity of a trial -> the number of the first suggestion that has it.
    """

    variant: Variant
    repeat: int
    parameters: Sequence[Parameter]
    left_out: Mapping[str, str]
    steps: int
    entries: dict[int, Entry] = field(default_factory=dict)
    following: int = 0
    choice: Choice | None = None
    first: dict[str, int] = field(default_factory=dict)
    open: set[int] = field(default_factory=set)
    """The suggestions that had not ended when last looked at; of the others is kept what they cost and were worth."""
    _costs: dict[int, int] = field(default_factory=dict)
    _curves: dict[tuple[int, int | None], dict[int, dict[int, Sequence[float]]]] = field(default_factory=dict)
    _observations: dict[int, Any] = field(default_factory=dict)

    def reopen(self) -> None:
        """Look at every suggestion anew: one that had ended goes on."""
        self.open = set(self.entries)
        self._costs.clear()
        self._curves.clear()
        self._observations.clear()

    def settle(self, rules: Rules, trials: Trials) -> None:
        """Find which of the open suggestions have ended, with every one of their trials."""
        for number in sorted(self.open):
            if all(trials.states.get(one) in ENDED for one in self.entries[number].trials):
                self.open.discard(number)

    def steps_spent(self, rules: Rules, trials: Trials) -> int:
        """Return the steps of training of all suggestions; of open ones those that they will take."""
        self.settle(rules, trials)
        for number in self.entries.keys() - self._costs.keys() - self.open:
            self._costs[number] = _steps(self.entries[number], self, rules, trials)
        going = sum(_steps(self.entries[number], self, rules, trials) for number in self.open)
        return sum(self._costs.values()) + going

    def observed(self, rules: Rules, trials: Trials) -> list[Any]:
        """Return the suggestions as `platform.sampler_history.Observation`s. Loads Optuna."""
        self.settle(rules, trials)
        for number in self.entries.keys() - self._observations.keys() - self.open:
            self._observations[number] = _observation(self.entries[number], rules, trials)
        known = self._observations
        return [known.get(number) or _observation(one, rules, trials) for number, one in self.entries.items()]

    def curves(self, trials: Trials, place: int, only: int | None, count: int) -> dict[int, dict[int, Sequence[float]]]:
        """Return what is known of the trials of new suggestions: number -> step -> the first `count` values.

        Args:
            trials: of the search.
            place: which of a suggestion's trials, one for each seed.
            only: this step alone; None for all.
            count: how many values.
        """
        ended = self._curves.setdefault((place, only), {})
        for number in self.entries.keys() - ended.keys() - self.open:
            ended[number] = _points(self.entries[number], trials, place, only, count)
        going = {number: _points(self.entries[number], trials, place, only, count) for number in self.open}
        return {number: points for number, points in {**ended, **going}.items() if points}

    def add(self, entry: Entry) -> None:
        """Add the next suggestion."""
        self.entries[entry.number] = entry
        self.open.add(entry.number)
        self.following = max(self.following, entry.number + 1)
        for trial in entry.trials:
            self.first.setdefault(trial, entry.number)

    @cached_property
    def points(self) -> int | None:
        """How many different settings there are; None if they cannot be counted."""
        several = [_values(one) for one in self.parameters]
        if any(values is None for values in several) or math.prod(len(values or ()) for values in several) > ENUMERABLE:
            return None
        paths = [one.path for one in self.parameters]
        every = (dict(zip(paths, values, strict=True)) for values in product(*(values or () for values in several)))
        return len({point(active(self.parameters, values)) for values in every})


def tracks_of(study: Study, search: Search) -> list[Track]:
    """Return the searches of a study, in the order in which they take turns, with no suggestion yet."""
    found = []
    for variant in design.variants(study.spec):
        parameters, left_out = space_of(variant, search.space, trainer=study.trainer, config=study.config)
        steps = int(design.configured(study.trainer.Config, study.config, variant.overrides).steps)
        found += [Track(variant, repeat, parameters, left_out, steps) for repeat in range(search.repeats)]
    return found


@dataclass
class Trials:
    """What the ledger says of trials: state, curve and length of each, by identity."""

    states: Mapping[str, str]
    curves: dict[str, dict[int, Sequence[float]]]
    steps: dict[str, int]


def state(entry: Entry, trials: Trials) -> str:
    """Return the state of a suggestion: the worst of its trials', and RUNNING while one has still to end.

    One trial that was stopped or broke down speaks for the settings: a mean over the other seeds would hide it.
    """
    if entry.refused is not None:
        return FAILED
    found = {trials.states.get(one, PLANNED) for one in entry.trials}
    for worst in (FAILED, DIVERGED, STOPPED):
        if worst in found:
            return worst
    return COMPLETED if found == {COMPLETED} else RUNNING


def worth(entry: Entry, trials: Trials, at: int) -> list[float]:
    """Return what a completed suggestion is worth: for each metric the mean over its trials' last evaluations."""
    finals = [final(trials.curves[one], at) for one in entry.trials]
    return [math.fsum(values) / len(values) for values in zip(*finals, strict=True)]


def final(curve: Curve, at: int) -> list[float]:
    """Return the mean of the last `at` points of a curve."""
    last = [curve[step] for step in sorted(curve)[-at:]]
    return [sum(values) / len(values) for values in zip(*last, strict=True)]


def first_points(rules: Rules, track: Track) -> int:
    """Return how many suggestions of a search are the first points that all variants share: a third, 2 to 10.

    The first of them is where the spec itself stands, if that lies in the space.
    """
    search = rules.search
    if search.first_points is not None:
        return search.first_points
    room = (search.trials or 0) if search.trials is not None else (search.steps or 0) // track.steps
    return min(MOST_FIRST, max(LEAST_FIRST, room // len(rules.seeds) // 3))


def _points(entry: Entry, trials: Trials, place: int, only: int | None, count: int) -> dict[int, Sequence[float]]:
    """Return the values of one of a suggestion's trials by step; none of a suggestion that is a repeat or refused."""
    if entry.same_as is not None or not entry.trials:
        return {}
    curve = trials.curves.get(entry.trials[place], {})
    return {step: values[:count] for step, values in curve.items() if only is None or step == only}


def _observation(entry: Entry, rules: Rules, trials: Trials) -> Any:
    from platform.sampler_history import Observation

    word = {COMPLETED: "complete", STOPPED: "pruned", RUNNING: "running"}.get(state(entry, trials), "fail")
    count = len(rules.objectives)
    final = worth(entry, trials, rules.at)[:count] if word == "complete" else None
    rungs = _stopped_at(entry, trials, count) if word == "pruned" else {}
    return Observation(entry.number, entry.params, word, final, rungs)  # type: ignore[arg-type]


def _stopped_at(entry: Entry, trials: Trials, count: int) -> dict[int, Sequence[float]]:
    """Return the objectives where a suggestion was stopped, by step; of several stopped trials, the earliest one's."""
    stopped = [trials.curves.get(one, {}) for one in entry.trials if trials.states.get(one) == STOPPED]
    curve = min((one for one in stopped if one), key=max, default={})
    return {max(curve): curve[max(curve)][:count]} if curve else {}


def _steps(entry: Entry, track: Track, rules: Rules, trials: Trials) -> int:
    """Return the steps of a suggestion's trials: those trained once they have ended, else those that they will take."""
    if entry.refused is not None:
        return track.steps * len(rules.seeds)
    over = {STOPPED, DIVERGED, FAILED}
    return sum(
        max(trials.curves.get(one, {}), default=0)
        if trials.states.get(one) in over
        else trials.steps.get(one, track.steps)
        for one in entry.trials
    )


def _values(parameter: Parameter) -> Sequence[Any] | None:
    """Return all values of a parameter, or None if there are very many."""
    if parameter.kind == "choice":
        return parameter.choices
    if parameter.step is None or (parameter.high - parameter.low) / parameter.step > ENUMERABLE:
        return None
    count = round((parameter.high - parameter.low) / parameter.step)
    return [parameter.low + number * parameter.step for number in range(count + 1)]
