"""What remains of the searches of a study once its spec, its images or its trainer have changed. Pure.

What would be trained the same way again is used; the rest is kept in the ledger and marked with the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from analysis.schema import DIVERGED, FAILED, STOPPED
from platform import ledger_search, search_space, searches
from platform.ledger import Ledger, Suggestion
from platform.plan import Cell
from platform.search_run import cells_of
from platform.spec import Study
from platform.tracks import Entry, Rules, Track, Trials, rules_of, tracks_of

__all__ = ["Revision", "revised"]


@dataclass(frozen=True)
class Revision:
    """What a study's searches have tried, as it looks under the spec that holds now.

    Args:
        suggestions: every one, marked where it is left out.
        cells: of those that are used.
        dropped: those that are left out now and were used before.
    """

    suggestions: Sequence[Suggestion]
    cells: Sequence[Cell]
    dropped: Sequence[Suggestion] = ()

    @property
    def sentences(self) -> list[str]:
        """What is used no more, and why: a sentence for each variant and kind of reason, with an example."""
        kinds: dict[tuple[str, str], list[Suggestion]] = {}
        for one in self.dropped:
            kinds.setdefault((one.variant, (one.left_out or "").partition(" ")[0]), []).append(one)
        return [
            f"{variant}: {len(those)} {'suggestion' if len(those) == 1 else 'suggestions'} of its search left out, "
            f"{'' if len(those) == 1 else f'such as number {those[0].number}, '}since {those[0].left_out}"
            for (variant, _), those in kinds.items()
        ]


def revised(study: Study, suggestions: Sequence[Suggestion], ledger: Ledger, data: str) -> Revision:
    """Return what remains of a study's searches.

    Args:
        study: as it is now.
        suggestions: all that the ledger has, by variant, repeat and number.
        ledger: what it says of their trials.
        data: digest of the images of the search.
    """
    rules, known = rules_of(study), ledger.states
    tracks = {} if rules is None else {(t.variant.name, t.repeat): t for t in tracks_of(study, rules.search)}
    found: list[Suggestion] = []
    cells: list[Cell] = []
    for one in suggestions:
        track = tracks.get((one.variant, one.repeat))
        kept = _gone(one, tracks) if rules is None or track is None else _kept(one, track, rules, study, ledger, data)
        if rules is None or track is None or isinstance(kept, str):
            found.append(replace(one, left_out=str(kept)))
            continue
        params, own = kept
        if not any(cell.trial in known for cell in own):
            found.append(replace(one, left_out="the images, the seeds or the version of the trainer are others"))
            continue
        if any(_stopped_otherwise(cell.trial, study, ledger) for cell in own):
            found.append(replace(one, left_out="it was stopped early under another rule or by another objective"))
            continue
        if searches.full(track, rules, _trials(track, known, ledger)):
            found.append(replace(one, left_out="the budget has no room for it"))
            continue
        same_as = track.first.get(own[0].trial)
        track.add(Entry(one.number, params, [cell.trial for cell in own], same_as))
        found.append(replace(one, params=params, trial=own[0].trial, same_as=same_as, left_out=None))
        cells += own
    before = {(one.variant, one.repeat, one.number) for one in suggestions if one.left_out is None}
    dropped = [one for one in found if one.left_out is not None and (one.variant, one.repeat, one.number) in before]
    return Revision(found, cells, dropped)


def _gone(one: Suggestion, tracks: Iterable[tuple[str, int]]) -> str:
    """Return why a suggestion's search is no more."""
    names = {variant for variant, _ in tracks}
    if not names:
        return "the spec has no search"
    return "there are fewer repeats" if one.variant in names else "the design has no such variant"


def _kept(
    one: Suggestion, track: Track, rules: Rules, study: Study, ledger: Ledger, data: str
) -> tuple[dict[str, Any], list[Cell]] | str:
    """Return a suggestion's point and cells in the search as it is now, or why it is none."""
    if one.trial is None:
        return "the trainer refused its settings"
    params = search_space.placed(
        track.variant,
        track.parameters,
        ledger_search.settings(ledger, one.trial),
        trainer=study.trainer,
        config=study.config,
    )
    if isinstance(params, str):
        return params
    return params, cells_of(study, rules, track, one.number, params, data)


def _stopped_otherwise(trial: str, study: Study, ledger: Ledger) -> bool:
    """Whether a trial was stopped early by what is the study's rule no more, so that it says little of its settings."""
    if ledger.states.get(trial) != STOPPED:
        return False
    before = ledger_search.stopped_under(ledger, trial)
    return before is not None and _rule(before) != _rule(study.resolved())


def _rule(spec: Mapping[str, Any]) -> Any:
    """Return what decides on stopping in a resolved spec: the scheduler, and the objectives that it compares."""
    search = spec.get("search") or {}
    return search.get("scheduler"), search.get("objectives") or spec["analysis"]["primary"]


def _trials(track: Track, known: Mapping[str, str], ledger: Ledger) -> Trials:
    """Return as much of a search's trials as tells what it has spent."""
    over = {trial for trial in track.first if known.get(trial) in (STOPPED, DIVERGED, FAILED)}
    return Trials(known, {trial: {ledger_search.reached(ledger, trial): ()} for trial in over}, {})
