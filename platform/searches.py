"""The searches of a study: what each has tried, what it asks for next, and what it found. Pure.

Every variant has one search for each repeat, with an equal budget. They take turns, so that a study that is cut off has
spent alike on all of them. A search is a list of suggestions, each with a trial for every seed; what these are worth is
what the ledger says of the trials.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any

from analysis.schema import COMPLETED, CONTINUE, DIVERGED, FAILED, PLANNED, RUNNING, STOP, STOPPED
from platform import design, stopping
from platform.design import Variant
from platform.fronts import Choice, Constraint, Knee, Rule, Weights, choose, front
from platform.plan import Ahead, Conclude, Done, Suggest, Wait
from platform.search_space import Parameter, active, point, space_of
from platform.search_spec import (
    Asha,
    Choose,
    Direction,
    Hyperband,
    Median,
    Search,
    bounds,
    confirm_seeds,
    objectives_of,
    search_seeds,
)
from platform.spec import Study

__all__ = [
    "AS_IT_STANDS", "Curve", "Entry", "Rules", "Track", "Trials", "ahead", "chosen", "decision", "ended",
    "final", "first_points", "full", "rules", "rungs", "state", "tracks", "worth",
]  # fmt: skip

AS_IT_STANDS = -1
"""In place of a suggestion's number: the variant has nothing to search."""
MOST_FIRST = 10
LEAST_FIRST = 2
ENUMERABLE = 4096
"""Spaces of more points than so many are not counted."""

Curve = Mapping[int, Sequence[float]]
"""Step -> the values of `Rules.metrics` there; NaN where one could not be computed."""


@dataclass(frozen=True)
class Rules:
    """What holds for all searches of a study; see `rules`.

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
        return [seed + repeat * self._span for seed in self.seeds]

    def confirm_of(self, repeat: int) -> list[int]:
        """Return the seeds that confirm what a repeat found; as `seeds_of`."""
        return [seed + repeat * self._span for seed in self.confirm]

    @property
    def _span(self) -> int:
        return 1 + max([*self.seeds, *self.confirm])

    @cached_property
    def directions(self) -> list[str]:
        """Of the objectives."""
        return list(self.objectives.values())


def rules(study: Study) -> Rules | None:
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
        """Find which of the open suggestions have ended."""
        for number in sorted(self.open):
            if state(self.entries[number], trials) != RUNNING:
                self.open.discard(number)

    def steps_spent(self, rules: Rules, trials: Trials) -> int:
        """Return the steps of training of all suggestions; of open ones those that they will take."""
        self.settle(rules, trials)
        for number in self.entries.keys() - self._costs.keys() - self.open:
            self._costs[number] = _steps(self.entries[number], self, rules, trials)
        going = sum(_steps(self.entries[number], self, rules, trials) for number in self.open)
        return sum(self._costs.values()) + going

    def observed(self, rules: Rules, trials: Trials) -> list[Any]:
        """Return the suggestions as `platform.sampler.Observation`s. Loads Optuna."""
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


def tracks(study: Study, search: Search) -> list[Track]:
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


def _points(entry: Entry, trials: Trials, place: int, only: int | None, count: int) -> dict[int, Sequence[float]]:
    """Return the values of one of a suggestion's trials by step; none of a suggestion that is a repeat or refused."""
    if entry.same_as is not None or not entry.trials:
        return {}
    curve = trials.curves.get(entry.trials[place], {})
    return {step: values[:count] for step, values in curve.items() if only is None or step == only}


def _observation(entry: Entry, rules: Rules, trials: Trials) -> Any:
    from platform.sampler import Observation

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


# --- what comes next -------------------------------------------------------------------------------------------------


def ahead(tracks: Sequence[Track], rules: Rules, trials: Trials, *, hours: float = 0, gpus: float = 0) -> Ahead:
    """Return what the searches ask for next.

    Args:
        tracks: the searches, in the order in which they take turns.
        rules: of the searches.
        trials: what is known of their trials.
        hours: of training that the searches have taken so far.
        gpus: that a trial holds.
    """
    room = [track for track in tracks if not full(track, rules, trials)]
    over = any(track.choice is not None for track in room)  # a cap has ended them all, and that stands
    if room and not over and not capped(tracks, room, rules, trials, hours=hours, gpus=gpus):
        spent = [_spent(track, rules, trials) for track in room]
        track = room[spent.index(min(spent))]
        return Suggest(track.variant.name, track.repeat)
    waiting = False
    for track in tracks:
        if track.choice is None:
            track.settle(rules, trials)
            if not track.open:
                return Conclude(track.variant.name, track.repeat)
            waiting = True
    return Wait() if waiting else Done()


def full(track: Track, rules: Rules, trials: Trials) -> bool:
    """Whether a search has no room for another suggestion: its budget is spent, or its space holds nothing new."""
    if not track.parameters or exhausted(track):
        return True
    spent = _spent(track, rules, trials)
    if rules.search.trials is not None:
        return spent + len(rules.seeds) > rules.search.trials
    return spent + track.steps * len(rules.seeds) > (rules.search.steps or 0)


def exhausted(track: Track) -> bool:
    """Whether a search has tried every setting of its space."""
    if track.points is None or len(track.entries) < track.points:
        return False
    return len({point(entry.params) for entry in track.entries.values()}) >= track.points


def capped(
    tracks: Sequence[Track], room: Sequence[Track], rules: Rules, trials: Trials, *, hours: float, gpus: float
) -> str:
    """Return why the searches that have `room` left end all the same; empty if they go on.

    Looked at when all of these have spent alike, so that a cap does not cut one short that another was granted:
    it is overrun by a round at most.
    """
    counts = {len(track.entries) for track in room}
    if len(counts) > 1:
        return ""
    total, round_ = rules.search.total, len(room) * len(rules.seeds)
    started = sum(len(track.entries) for track in tracks) * len(rules.seeds)
    if total.trials is not None and started + round_ > total.trials:
        return f"another round of {round_} trials would go beyond the cap of {total.trials} (search.total.trials)"
    if total.hours is not None and hours >= total.hours:
        return f"the cap of {total.hours:g} hours is reached (search.total.hours)"
    if total.gpu_hours is not None and gpus * hours >= total.gpu_hours:
        return f"the cap of {total.gpu_hours:g} GPU-hours is reached (search.total.gpu_hours)"
    patience = rules.search.patience
    if patience is not None and all(idle(track, rules, trials) >= patience for track in tracks if track.parameters):
        return f"no search found anything better in its last {patience} suggestions (search.patience)"
    return ""


def idle(track: Track, rules: Rules, trials: Trials) -> int:
    """Return how many of a search's last suggestions, that have ended, were no better than what came before them.

    With several objectives a suggestion is better if it is on the front.
    """
    over = [entry for _, entry in sorted(track.entries.items()) if state(entry, trials) != RUNNING]
    values = [
        worth(entry, trials, rules.at)[: len(rules.objectives)] if state(entry, trials) == COMPLETED else None
        for entry in over
    ]
    places = [place for place, value in enumerate(values) if value is not None and all(map(math.isfinite, value))]
    best = front([values[place] or () for place in places], rules.directions)
    first = [places[index] for index in best if (values[places[index]] or ()) not in values[: places[index]]]
    return len(over) - 1 - max(first, default=-1)


def ended(tracks: Sequence[Track], rules: Rules, trials: Trials, *, hours: float, gpus: float) -> dict[str, str]:
    """Return for each variant why its search ended before its budget was spent, where it did."""
    room = [track for track in tracks if not full(track, rules, trials)]
    why = capped(tracks, room, rules, trials, hours=hours, gpus=gpus) if room else ""
    found = {track.variant.name: why for track in room if why}
    budget = rules.search.trials
    for track in tracks:
        if exhausted(track) and (budget is None or _spent(track, rules, trials) + len(rules.seeds) <= budget):
            found[track.variant.name] = f"all {track.points} settings of its space have been tried"
    return found


def _spent(track: Track, rules: Rules, trials: Trials) -> int:
    """Return what a search has spent of its budget, in trials or in steps of training.

    A repeat, which costs nothing, and settings that the trainer refused count as if they had been trained: else a small
    space would never be done with.
    """
    if rules.search.trials is not None:
        return len(track.entries) * len(rules.seeds)
    return track.steps_spent(rules, trials)


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


# --- what was found --------------------------------------------------------------------------------------------------


def chosen(track: Track, rules: Rules, trials: Trials) -> Choice:
    """Return what a search found, by the spec's rule; a repeat is never chosen, its original may be."""
    if not track.parameters:
        return Choice(AS_IT_STANDS, "it has nothing to search: it is confirmed as it stands")
    candidates = {
        number: dict(zip(rules.metrics, worth(entry, trials, rules.at), strict=True))
        for number, entry in track.entries.items()
        if entry.same_as is None and state(entry, trials) == COMPLETED
    }
    found = choose(_rule(rules.search.choose), candidates, rules.objectives)
    if found.number is None or len(rules.objectives) > 1 or isinstance(_rule(rules.search.choose), Constraint):
        return found
    ((name, direction),) = rules.objectives.items()
    word = "highest" if direction == "max" else "lowest"
    return Choice(found.number, f"{word} {name} of {len(candidates)} that ran to the end")


def _rule(choose: Choose) -> Rule:
    if choose.weights:
        return Weights(choose.weights)
    if choose.best is not None:
        return Constraint({metric: bounds(limit) for metric, limit in choose.where.items()}, choose.best)
    return Knee()


# --- stopping early --------------------------------------------------------------------------------------------------


def rungs(search: Search, *, steps: int, evaluate_every: int) -> list[int]:
    """Return the steps at which the scheduler decides about a training of so many steps; the last step is none."""
    rule = search.scheduler.rules
    if rule is None:
        return []
    first = rule.first_rung or evaluate_every
    if isinstance(rule, Median):
        return [step for step in range(evaluate_every, steps, evaluate_every) if step >= first]
    return stopping.rungs(first, rule.reduction, steps, evaluate_every)


def own_rungs(number: int, search: Search, steps: Sequence[int]) -> Sequence[int]:
    """Return the rungs of a suggestion: all of them, but with Hyperband those of its bracket."""
    rule = search.scheduler.rules
    if not isinstance(rule, Hyperband):
        return steps
    return steps[stopping.bracket(number, steps, rule.reduction, rule.brackets) :]


def decision(
    tracks: Iterable[Track], rules: Rules, trials: Trials, trial: str, step: int, steps_of_rungs: Sequence[int]
) -> str | None:
    """Return what becomes of a search's trial at a step: CONTINUE, STOP, or None where nothing is to be decided.

    A trial of which another seed was stopped or broke down is stopped: its settings are judged already. One that
    several searches share is stopped if all of them say so.

    Args:
        tracks: all searches of the study.
        rules: of the searches.
        trials: what is known, this trial's report at this step included.
        trial: its identity.
        step: where it is.
        steps_of_rungs: of its training; see `rungs`.
    """
    said = []
    for track in tracks:
        if trial not in track.first:
            continue
        entry = track.entries[track.first[trial]]
        if state(entry, trials) in (STOPPED, DIVERGED, FAILED):
            said.append(STOP)
        elif step in own_rungs(entry.number, rules.search, steps_of_rungs):
            place = entry.trials.index(trial)
            said.append(_ruled(track, rules, trials, entry.number, step, place, steps_of_rungs))
    if not said:
        return None
    return STOP if all(one == STOP for one in said) else CONTINUE


def _ruled(track: Track, rules: Rules, trials: Trials, number: int, step: int, place: int, steps: Sequence[int]) -> str:
    """Return what the scheduler's rule says of a suggestion's trial among those of the same search and seed."""
    count, rule, directions = len(rules.objectives), rules.search.scheduler.rules, rules.directions
    only = None if isinstance(rule, Median) else step  # what a rung decides needs its own values alone
    curves = track.curves(trials, place, only, count)
    if isinstance(rule, Hyperband):
        said = stopping.hyperband(
            curves, number, step, rungs=steps, reduction=rule.reduction, directions=directions, brackets=rule.brackets
        )
    elif isinstance(rule, Asha):
        said = stopping.asha(curves, number, step, rungs=steps, reduction=rule.reduction, directions=directions)
    else:
        least = rule.warm_up_trials if isinstance(rule, Median) else 1
        said = stopping.median(curves, number, step, first=steps[0], directions=directions, least=least)
    return str(said)


def first_points(rules: Rules, track: Track) -> int:
    """Return how many suggestions of a search are the first points that all variants share: a third, 2 to 10.

    The first of them is where the spec itself stands, if that lies in the space.
    """
    search = rules.search
    if search.first_points is not None:
        return search.first_points
    room = (search.trials or 0) if search.trials is not None else (search.steps or 0) // track.steps
    return min(MOST_FIRST, max(LEAST_FIRST, room // len(rules.seeds) // 3))
