"""The searches of a study: which is next to suggest settings, when they end, and what they found. Pure.

Every variant has one search for each repeat, with an equal budget. They take turns, so that a study that is cut off has
spent alike on all of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from analysis.schema import COMPLETED, RUNNING
from platform.fronts import Choice, Constraint, Knee, Rule, Weights, choose, front
from platform.plan import Ahead, Conclude, Done, Suggest, Wait
from platform.search_space import point
from platform.search_spec import Choose, bounds
from platform.tracks import Rules, Track, Trials, state, worth

__all__ = ["AS_IT_STANDS", "ahead", "chosen", "ended", "full"]

AS_IT_STANDS = -1
"""In place of a suggestion's number: the variant has nothing to search."""


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

    Looked at when all of these have tried alike, so that a cap does not cut one short that another was granted: it is
    overrun by a round at most. With a budget in steps it is looked at always; the one that has spent least is next.
    """
    total, whole = rules.search.total, rules.search.steps is None
    if whole and len({len(track.entries) for track in room}) > 1:
        return ""
    round_ = len(room) * len(rules.seeds) if whole else len(rules.seeds)
    started = sum(len(track.entries) for track in tracks) * len(rules.seeds)
    if total.trials is not None and started + round_ > total.trials:
        return f"another round of {round_} trials would go beyond the cap of {total.trials} (search.total.trials)"
    if total.hours is not None and hours >= total.hours:
        return f"the cap of {total.hours:g} hours is reached (search.total.hours)"
    if total.gpu_hours is not None and gpus * hours >= total.gpu_hours:
        return f"the cap of {total.gpu_hours:g} GPU-hours is reached (search.total.gpu_hours)"
    patience = rules.search.patience
    if patience is not None and all(idle(track, rules, trials) >= patience for track in room):
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
