"""What an export reads of a ledger: its searches, every suggestion with what became of it. Nothing is written."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from analysis.ledger import Ledger
from analysis.ledger import Search as Asked
from analysis.schema import COMPLETED, CONFIRM, PLANNED, RUNNING, SEARCH, STOPPED
from platform.errors import LedgerError
from platform.search_space import Parameter, ordered
from platform.search_spec import Distribution
from platform.tracks import Curve, Entry, Trials, state, worth

__all__ = ["REFUSED", "Search", "Searches", "Tried", "searches"]

REFUSED = "REFUSED"
"""The state of a suggestion that the trainer refused; else it is that of its trials."""


@dataclass(frozen=True)
class Tried:
    """A suggestion and what became of it.

    Args:
        number: in its search.
        at: when it was made, seconds since 1970; so are `started` and `ended`, None if that has not happened.
        params: path -> value.
        state: of its trials, of all seeds together, or `REFUSED`.
        message: the first line of what a trial that diverged or failed said, or what the trainer refused.
        identity: of its trial with the first seed; None if refused.
        seeds: that it is trained with.
        same_as: the number of the first suggestion with these settings; None if it is new.
        curve: step -> the objectives there, of all seeds that got there the mean; NaN where one is missing. Of one that
            was stopped it is the first stopped trial's, as its sampler is told, and ends at the rung.
        values: the objectives that it is worth, if it ran to the end.
    """

    number: int
    at: float
    params: Mapping[str, Any]
    state: str
    message: str | None = None
    identity: str | None = None
    seeds: Sequence[int] = ()
    same_as: int | None = None
    started: float | None = None
    ended: float | None = None
    curve: Curve = field(default_factory=dict)
    values: Sequence[float] | None = None


@dataclass(frozen=True)
class Search:
    """The search of one variant and repeat.

    Args:
        variant: whose it is.
        repeat: which of the variant's searches, from 0.
        tried: what it suggested, by number; what was left out since is missing.
        chosen: number of the suggestion that goes on to be confirmed; None while there is none.
        why: the sentence about the choice; empty before.
        confirmed: objective -> mean of the completed trials with fresh seeds; NaN if it cannot be computed.
        confirmations: how many trials those are, and how many are planned.
    """

    variant: str
    repeat: int
    tried: Sequence[Tried]
    chosen: int | None = None
    why: str = ""
    confirmed: Mapping[str, float] = field(default_factory=dict)
    confirmations: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Searches:
    """All searches of a study.

    Args:
        study: its name.
        begun: when its first spec was accepted, seconds since 1970.
        spec: the number of the spec that holds.
        asked: what was asked of them: objectives, sampler, scheduler, budget, ...
        space: the parameters of all variants.
        each: in the order of the plan.
    """

    study: str
    begun: float
    spec: int
    asked: Asked
    space: Sequence[Parameter]
    each: Sequence[Search]


class _Trial(NamedTuple):
    number: int
    id: str
    seed: int
    state: str
    message: str | None
    started: float | None
    ended: float | None


_Curves = dict[str, dict[int, Sequence[float]]]
"""Identity of a trial -> step -> values."""

_TRIAL = """t.number, t.id, t.seed, t.state,
    substr(t.message, 1, instr(t.message || char(10), char(10)) - 1), t.started, t.ended"""
_CELLS = f"""
SELECT c.variant, c.repeat, c.number, {_TRIAL} FROM cell c JOIN trial t ON t.number = c.trial
WHERE c.stage = ? ORDER BY c.seed
"""
_SUGGESTIONS = f"""
SELECT s.variant, s.repeat, s.number, s.at, s.params, s.trial, s.same_as, s.refused, {_TRIAL}
FROM suggestion s LEFT JOIN trial t ON t.id = s.trial
WHERE s.left_out IS NULL ORDER BY s.variant, s.repeat, s.number
"""
_CURVES = """
SELECT t.id, r.step, r.value FROM report r JOIN trial t ON t.number = r.trial
WHERE r.metric = ? AND (r.trial IN (SELECT trial FROM cell WHERE stage = 'search')
    OR t.id IN (SELECT trial FROM suggestion))
"""
_LAST = """
WITH ranked AS (
    SELECT s.trial, s.step, row_number() OVER (PARTITION BY s.trial ORDER BY s.step DESC) AS back
    FROM step s JOIN trial t ON t.number = s.trial
    WHERE t.state = 'COMPLETED' AND s.trial IN (SELECT trial FROM cell WHERE stage = 'confirm')
), last AS (SELECT trial, step FROM ranked WHERE back <= ?)
"""
_CONFIRMED = f"{_LAST} SELECT l.trial, avg(r.value) FROM last l JOIN report r USING (trial, step) WHERE r.metric = ?"
_CONFIRMED_ON = f"""{_LAST}
SELECT l.trial, avg(i.value) FROM last l JOIN image i USING (trial, step)
WHERE i.metric = ? AND i."set" IN (SELECT value FROM json_each(?))"""


def searches(ledger: Ledger) -> Searches:
    """Return the searches of an open ledger: one snapshot.

    Raises:
        LedgerError: if the study has no search, or no variant anything to search.
    """
    asked = ledger.study.search
    if asked is None:
        raise LedgerError(f"{ledger.study.name} has no search to export: its spec has no `search` section")
    each = _each(ledger, asked)
    if not each:
        raise LedgerError(f"{ledger.study.name} has no search to export: none of its variants has anything to search")
    space = ordered({path: Distribution.model_validate(one) for path, one in asked.space.items()})
    begun, spec = ledger.connection.execute("SELECT min(at), max(number) FROM spec").fetchone()
    return Searches(ledger.study.name, begun, spec, asked, space, each)


def _each(ledger: Ledger, asked: Asked) -> list[Search]:
    """Return the searches in the order of the plan: of variants that have something to search, repeat by repeat."""
    db, objectives, confirm = ledger.connection, list(asked.objectives), ledger.study.confirm
    tried = _tried(ledger, objectives)
    choices = {(row[0], row[1]): row[2:] for row in db.execute("SELECT variant, repeat, number, why FROM choice")}
    means = _confirmed(ledger, objectives, confirm.sets if confirm else [])
    confirming = defaultdict(list)
    for variant, repeat, _, *rest in db.execute(_CELLS, (CONFIRM,)):
        confirming[variant, repeat].append(_Trial(*rest))
    found = []
    for (variant,) in db.execute("SELECT name FROM variant ORDER BY number"):
        if not asked.parameters.get(variant):
            continue
        for repeat in range(asked.repeats):
            at = variant, repeat
            chosen, why = choices.get(at, (None, ""))
            over = [one.number for one in confirming[at] if one.state == COMPLETED]
            confirmed = {key: _mean([of.get(one, math.nan) for one in over]) for key, of in means.items()}
            found.append(Search(*at, tried[at], chosen, why, confirmed, (len(over), len(confirming[at]))))
    return found


def _tried(ledger: Ledger, objectives: Sequence[str]) -> dict[tuple[str, int], list[Tried]]:
    """Return the suggestions by variant and repeat."""
    db = ledger.connection
    trials: dict[tuple[str, int, int], list[_Trial]] = defaultdict(list)
    for variant, repeat, number, *rest in db.execute(_CELLS, (SEARCH,)):
        trials[variant, repeat, number].append(_Trial(*rest))
    curves = _curves(ledger, objectives)
    found = defaultdict(list)
    for row in db.execute(_SUGGESTIONS):
        variant, repeat, number, at, params, identity, same_as, refused, *first = row
        own = trials[variant, repeat, number] or ([] if first[0] is None else [_Trial(*first)])
        entry = Entry(number, json.loads(params), [one.id for one in own], same_as, refused)
        found[variant, repeat].append(_outcome(entry, at, identity, own, curves, ledger.study.at))
    return found


def _outcome(entry: Entry, at: float, identity: str | None, own: Sequence[_Trial], curves: _Curves, last: int) -> Tried:
    """Return what became of a suggestion.

    Args:
        entry: the suggestion.
        at: when it was made.
        identity: of its trial with the first seed.
        own: its trials.
        curves: of all trials.
        last: a trial is worth the mean over its last so many evaluations.
    """
    known = Trials({one.id: one.state for one in own}, curves, {})
    word = REFUSED if entry.refused is not None else state(entry, known)
    if word == RUNNING and not any(one.started for one in own):
        word = PLANNED
    counted = [one for one in own if one.state == STOPPED][:1] if word == STOPPED else own
    return Tried(
        number=entry.number,
        at=at,
        params=entry.params,
        state=word,
        message=entry.refused or next((one.message for one in own if one.state == word and one.message), None),
        identity=identity,
        seeds=[one.seed for one in own],
        same_as=entry.same_as,
        started=min((one.started for one in own if one.started), default=None),
        ended=max((one.ended for one in own if one.ended), default=None),
        curve=_averaged([curves[one.id] for one in counted if one.id in curves]),
        values=worth(entry, known, last) if word == COMPLETED and curves.keys() >= set(entry.trials) else None,
    )


def _curves(ledger: Ledger, objectives: Sequence[str]) -> _Curves:
    """Return the objectives of the search's trials: identity -> step -> a value for each, NaN where one is missing."""
    found: dict[str, dict[int, list[float]]] = defaultdict(dict)
    for place, key in enumerate(objectives):
        for trial, step, value in ledger.connection.execute(_CURVES, (key,)):
            values = found[trial].setdefault(step, [math.nan] * len(objectives))
            values[place] = math.nan if value is None else value
    return {trial: dict(curve) for trial, curve in found.items()}


def _averaged(curves: Sequence[Curve]) -> dict[int, list[float]]:
    steps = sorted({step for curve in curves for step in curve})
    there = {step: [curve[step] for curve in curves if step in curve] for step in steps}
    return {step: [_mean(values) for values in zip(*several, strict=True)] for step, several in there.items()}


def _confirmed(ledger: Ledger, objectives: Sequence[str], sets: Sequence[str]) -> dict[str, dict[int, float]]:
    """Return what the confirming trials are worth: objective -> trial -> mean over its last evaluations.

    Args:
        ledger: the open ledger.
        objectives: keys.
        sets: of images that no search saw, which alone count where images have the metric; empty for all images.
    """
    found = {}
    for key in objectives:
        on_sets = bool(sets) and ledger.study.metric(key).per_image
        query, more = (_CONFIRMED_ON, [json.dumps(sets)]) if on_sets else (_CONFIRMED, [])
        rows = ledger.connection.execute(f"{query} GROUP BY l.trial", [ledger.study.at, key, *more])
        found[key] = {trial: math.nan if value is None else value for trial, value in rows}
    return found


def _mean(values: Iterable[float]) -> float:
    several = list(values)
    return math.fsum(several) / len(several) if several else math.nan
