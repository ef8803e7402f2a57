"""Where the search of each variant stands, what it chose and what was confirmed: read from the ledger alone.

A trial is worth the mean over its last evaluations, as many as the study declares; settings trained with several seeds
are worth the mean over these. Numbers of repeats and suggestions are the ledger's, from 0.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from analysis.schema import COMPLETED, CONFIRM, DIVERGED, FAILED, FIXED, SEARCH, STAGES, STOPPED
from platform.fronts import front

__all__ = ["Asked", "Chosen", "Confirmed", "Known", "Standing", "asked", "expected", "standings", "untuned"]

ENDED = (COMPLETED, STOPPED, DIVERGED, FAILED)


@dataclass(frozen=True)
class Asked:
    """What the study asks of its search.

    Args:
        objectives: metric -> `max` or `min`.
        at: a trial's worth is the mean over its last so many evaluations.
        repeats: searches of each variant.
        seeds: trials of each suggestion.
        budget: of each variant, over all its repeats, in `unit`.
        unit: what the budget counts.
        parameters: the settings that each variant searches.
        ended: why a variant's search ended before its budget was spent.
        confirming: seeds that each choice is confirmed with; 0 if the study confirms none.
        sets: the image sets that only confirming trials are scored on; none if they use the search's.
        digest: of the images of a confirming trial.
        expected: how many cells each stage has in the end.
    """

    objectives: Mapping[str, str]
    at: int
    repeats: int
    seeds: int
    budget: int
    unit: Literal["trials", "steps"]
    parameters: Mapping[str, Sequence[str]]
    ended: Mapping[str, str]
    confirming: int
    sets: Sequence[str]
    digest: str
    expected: Mapping[str, int]


@dataclass(frozen=True)
class Confirmed:
    """Confirming trials: how many have ended, of how many; and each metric's mean over the completed ones."""

    ended: int
    planned: int
    completed: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Chosen:
    """What one repeat of a search chose; `number` is None if nothing, -1 for the variant as it stands."""

    repeat: int
    number: int | None
    why: str
    params: Mapping[str, Any]
    promised: Mapping[str, float]
    """What it was worth in the search, by objective."""
    confirmed: Confirmed


@dataclass(frozen=True)
class Standing:
    """Where a variant's search stands, over all its repeats.

    Args:
        variant: its name.
        spent: of the budget, in its unit: trials once they have ended, steps once they are reported. What was suggested
            again, or refused by the trainer, counts too.
        budget: as asked; 0 if the variant has nothing to search.
        states: how many of its trials are in each state.
        best: the best value so far of each objective by itself.
        front: how many suggestions no other one dominates.
        chosen: one for each repeat that is over.
        confirmed: the trials that confirm what was chosen.
        ended: why it ended before its budget was spent; usually empty.
    """

    variant: str
    spent: int
    budget: int
    states: Mapping[str, int] = field(default_factory=dict)
    best: Mapping[str, float] = field(default_factory=dict)
    front: int = 0
    chosen: Sequence[Chosen] = ()
    confirmed: Confirmed = Confirmed(0, 0, 0, {})
    ended: str = ""


_WORTH = """(
    SELECT CASE WHEN count(r.value) = count(*) THEN avg(r.value) END
    FROM (SELECT step FROM step WHERE trial = :trial ORDER BY step DESC LIMIT :at) s
    LEFT JOIN report r ON r.trial = :trial AND r.step = s.step AND r.metric = :metric{0})"""
# A confirming trial is scored on the search's images too: its report is no measure of those the search never saw.
_WORTH_ON_SETS = """(
    SELECT avg(i.value) FROM (SELECT step FROM step WHERE trial = :trial ORDER BY step DESC LIMIT :at) s
    CROSS JOIN image i ON i.trial = :trial AND i.step = s.step AND i."set" IN (SELECT value FROM json_each(:sets))
    WHERE i.metric = :metric{0})"""
_CELLS = """
SELECT c.variant, c.repeat, c.number, t.number, t.state, (SELECT max(step) FROM step WHERE trial = t.number)
FROM cell c JOIN trial t ON t.number = c.trial WHERE c.stage = ?
"""
_UNTUNED = """
SELECT c.variant, t.number FROM cell c JOIN trial t ON t.number = c.trial
WHERE c.stage = 'fixed' AND t.state = 'COMPLETED' ORDER BY c.variant, c.seed
"""

# What the trainer refused is paid for as if it had been trained, so that a search of such settings has an end.
_REFUSED = """
SELECT variant, count(*) FROM suggestion WHERE refused IS NOT NULL AND left_out IS NULL GROUP BY variant
"""
_STEPS = """
SELECT c.variant, max(json_extract(t.settings, '$.steps')) FROM cell c JOIN trial t ON t.number = c.trial
WHERE c.stage = 'fixed' GROUP BY c.variant
"""

Known = dict[tuple[str, int], dict[str, float | None]]
"""What completed trials are worth, which never changes: (stage, trial) -> metric -> value, None if it has no number."""


@dataclass(frozen=True)
class _Trial:
    """A trial in a cell of the search or of its confirmation; `worth` as in `Known`, empty if it was not completed."""

    variant: str
    repeat: int
    number: int
    trial: int
    state: str
    step: int
    worth: Mapping[str, float | None]


def asked(db: sqlite3.Connection) -> Asked | None:
    """Return what the study asks of its search; None if it has none."""
    facts = {
        key: json.loads(value)
        for key, value in db.execute("SELECT key, value FROM study WHERE key IN ('search', 'confirm', 'expected')")
    }
    search, confirm = facts.get("search"), facts.get("confirm") or {}
    row = db.execute("SELECT resolved FROM spec ORDER BY number DESC LIMIT 1").fetchone()
    if not search or row is None:
        return None
    (unit, budget), repeats = next(iter(search["budget"].items())), search["repeats"]
    return Asked(
        objectives=search["objectives"],
        at=(json.loads(row[0]).get("analysis") or {}).get("at", 1),
        repeats=repeats,
        seeds=len(search["seeds"]),
        budget=budget * repeats,
        unit=unit,
        parameters=search["parameters"],
        ended=search["ended"],
        confirming=len(confirm.get("seeds", ())),
        sets=confirm.get("sets", ()),
        digest=confirm.get("digest", ""),
        expected=facts.get("expected") or {},
    )


def standings(
    db: sqlite3.Connection, asked: Asked, metrics: Collection[str], known: Known | None = None
) -> list[Standing]:
    """Return where every variant stands, in the order of the design.

    Args:
        db: a ledger that is open, `analysis.schema.complete`.
        asked: of this ledger.
        metrics: whose means over the confirming trials are wanted.
        known: what an earlier call with the same metrics found out; this one adds to it, so that the next is quick.
    """
    known = {} if known is None else known
    searched, confirming, chosen = defaultdict(list), defaultdict(list), defaultdict(list)
    for one in _trials(db, SEARCH, asked, list(asked.objectives), known):
        searched[one.variant].append(one)
    for one in _trials(db, CONFIRM, asked, list(dict.fromkeys(metrics)), known):
        confirming[one.variant].append(one)
    for variant, *row in db.execute(
        "SELECT c.variant, c.repeat, c.number, c.why, s.params FROM choice c "
        "LEFT JOIN suggestion s USING (variant, repeat, number) ORDER BY c.variant, c.repeat"
    ):
        chosen[variant].append(row)
    refused = Counter(dict(db.execute(_REFUSED)))
    steps = dict(db.execute(_STEPS)) if asked.unit == "steps" else {}
    return [
        _standing(
            one, asked, searched[one], confirming[one], chosen[one], asked.seeds * refused[one] * steps.get(one, 1)
        )
        for (one,) in db.execute("SELECT name FROM variant ORDER BY number").fetchall()
    ]


def untuned(
    db: sqlite3.Connection, metrics: Sequence[str], at: int, known: Known | None = None
) -> dict[str, dict[str, float]]:
    """Return what each variant is worth at the spec's settings: the means over its completed trials of that stage.

    Args:
        db: a ledger that is open, `analysis.schema.complete`.
        metrics: whose means are wanted.
        at: how many of a trial's last evaluations count.
        known: what an earlier call with the same metrics found out; this one adds to it.
    """
    known = {} if known is None else known
    worths: dict[str, list[Mapping[str, float | None]]] = defaultdict(list)
    for variant, trial in db.execute(_UNTUNED).fetchall():
        if (FIXED, trial) not in known:
            known[FIXED, trial] = _worth(db, trial, metrics, at)
        worths[variant].append(known[FIXED, trial])
    return {
        variant: {
            name: sum(there) / len(there)
            for name in metrics
            if (there := [value for one in those if (value := one[name]) is not None and math.isfinite(value)])
        }
        for variant, those in worths.items()
    }


def _worth(
    db: sqlite3.Connection, trial: int, metrics: Sequence[str], at: int, sets: Sequence[str] = ()
) -> dict[str, float | None]:
    """Return what a completed trial is worth in each metric; None if one of its last evaluations has no value.

    Args:
        db: a ledger that is open.
        trial: its number.
        metrics: their keys.
        at: how many of its last evaluations count.
        sets: if there are any, only images of these count.
    """
    worths = ", ".join((_WORTH_ON_SETS if sets else _WORTH).format(index) for index in range(len(metrics)))
    bound = {"at": at, "sets": json.dumps(list(sets)), **{f"metric{n}": one for n, one in enumerate(metrics)}}
    row = db.execute(f"SELECT {worths}", {**bound, "trial": trial}).fetchone()
    return dict(zip(metrics, row, strict=True))


def _trials(db: sqlite3.Connection, stage: str, asked: Asked, metrics: Sequence[str], known: Known) -> list[_Trial]:
    """Return the trials in a stage's cells, each with what it is worth if it was completed; adds to `known`."""
    sets = asked.sets if stage == CONFIRM else ()
    found = []
    for variant, repeat, number, trial, state, step in db.execute(_CELLS, (stage,)).fetchall():
        if state == COMPLETED and (stage, trial) not in known:
            known[stage, trial] = _worth(db, trial, metrics, asked.at, sets)
        values = known[stage, trial] if state == COMPLETED else {}
        found.append(_Trial(variant, repeat, number, trial, state, step or 0, values))
    return found


def _standing(
    variant: str,
    asked: Asked,
    searched: Sequence[_Trial],
    confirming: Sequence[_Trial],
    chosen: Sequence[Any],
    refused: int,
) -> Standing:
    """Return where a variant stands; `refused` is what the settings cost that the trainer refused."""
    steps = asked.unit == "steps"
    spent = refused + sum(one.step if steps else one.state in ENDED for one in searched)  # repeats are paid for, too
    trials = {one.trial: one.state for one in searched}
    worths = _worths(searched, asked)
    points = [[worth[name] for name in asked.objectives] for worth in worths.values()]
    fronted = front(points, list(asked.objectives.values()))
    choices = [
        Chosen(
            repeat,
            number,
            why,
            json.loads(params or "{}"),
            worths.get((repeat, -1 if number is None else number), {}),
            _confirmed([one for one in confirming if one.repeat == repeat], asked, [number]),
        )
        for repeat, number, why, params in chosen
    ]
    return Standing(
        variant=variant,
        spent=spent,
        budget=asked.budget if asked.parameters.get(variant) else 0,
        states=Counter(trials.values()),
        best={
            name: (max if direction == "max" else min)(worth[name] for worth in worths.values())
            for name, direction in asked.objectives.items()
            if worths
        },
        front=len({tuple(points[index]) for index in fronted}),
        chosen=choices,
        confirmed=_confirmed(confirming, asked, [one.number for one in choices]),
        ended=asked.ended.get(variant, ""),
    )


def _worths(searched: Sequence[_Trial], asked: Asked) -> dict[tuple[int, int], dict[str, float]]:
    """Return what each suggestion is worth, by repeat and number: those of which every seed has a finite value."""
    suggestions = defaultdict(list)
    for one in searched:
        suggestions[one.repeat, one.number].append(one)
    found: dict[tuple[int, int], dict[str, float]] = {}
    for at, trials in suggestions.items():
        if len(trials) < asked.seeds or not all(one.worth for one in trials):
            continue
        means = {name: _mean([one.worth[name] for one in trials]) for name in asked.objectives}
        found |= {at: {name: value for name, value in means.items() if value is not None}}
    return {at: means for at, means in found.items() if len(means) == len(asked.objectives)}


def _confirmed(trials: Sequence[_Trial], asked: Asked, numbers: Iterable[int | None]) -> Confirmed:
    """Return how these trials confirm the choices of these numbers."""
    completed = [one for one in trials if one.state == COMPLETED]
    means = {name: _mean([one.worth[name] for one in completed]) for name in (completed[0].worth if completed else ())}
    planned = asked.confirming * sum(number is not None for number in numbers)
    return Confirmed(
        ended=sum(one.state in ENDED for one in trials),
        planned=max(planned, len(trials)),
        completed=len(completed),
        values={name: value for name, value in means.items() if value is not None},
    )


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean; None if there is no value, or one that is no finite number."""
    numbers = [value for value in values if value is not None and math.isfinite(value)]
    return sum(numbers) / len(numbers) if numbers and len(numbers) == len(values) else None


def expected(asked: Asked, there: Mapping[str, int], standings: Sequence[Standing]) -> dict[str, int]:
    """Return how many cells each stage has in the end, by what is known now.

    Args:
        asked: which says how many were expected at the start.
        there: how many each stage has now: a budget of steps may buy more than expected, with trials stopped early.
        standings: of the variants. A search that is over may have cost less, and chosen nothing.
    """
    found = {stage: max(asked.expected.get(stage, 0), there.get(stage, 0)) for stage in STAGES}
    if standings and all(len(one.chosen) >= asked.repeats for one in standings):
        found[SEARCH] = there.get(SEARCH, 0)
        found[CONFIRM] = sum(one.confirmed.planned for one in standings)
    return found
