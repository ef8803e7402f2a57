"""Which trials of a search are stopped early: the spec's rule, asked of what the ledger says. Pure.

The rules themselves stand in `platform.stopping`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from analysis.schema import CONTINUE, DIVERGED, FAILED, STOP, STOPPED
from platform import stopping
from platform.search_spec import Asha, Hyperband, Median, Search
from platform.tracks import Rules, Track, Trials, state

__all__ = ["decision", "moot", "ruled", "rungs"]


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

    A trial that several searches share is stopped if all of them say so, to which it is not `moot`.

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
        if trial not in track.first or moot([track], trials, trial):
            continue
        number = track.first[trial]
        if step in own_rungs(number, rules.search, steps_of_rungs):
            place = track.entries[number].trials.index(trial)
            said.append(ruled(track, rules, trials, number, step, place, steps_of_rungs))
    if not said:
        return None
    return STOP if all(one == STOP for one in said) else CONTINUE


def moot(tracks: Iterable[Track], trials: Trials, trial: str) -> bool:
    """Whether nothing is learnt from a trial any more: another seed of its settings was stopped or broke down."""
    shared = [track.entries[track.first[trial]] for track in tracks if trial in track.first]
    return bool(shared) and all(state(entry, trials) in (STOPPED, DIVERGED, FAILED) for entry in shared)


def ruled(track: Track, rules: Rules, trials: Trials, number: int, step: int, place: int, steps: Sequence[int]) -> str:
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
