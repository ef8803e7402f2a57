"""What a running study looks like at a moment: read from the ledger alone, so any process can look on."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.schema import CONFIRM, FIXED, PLANNED, RUNNING, SEARCH, STAGES, STATES, complete
from platform.standing import Asked, Known, Standing, asked, expected, standings, untuned

__all__ = ["Progress", "Row", "Running", "Snapshot", "models", "snapshot", "states", "time_left_s"]


@dataclass(frozen=True)
class Running:
    """A trial that is being trained: `step` of `steps`, and the metric at its newest evaluation.

    Of several cells that it fills, it is shown in that of the first stage. `number` is that of the search's suggestion.
    """

    variant: str
    seed: int
    step: int
    steps: int
    value: float | None
    elapsed_s: float
    stage: str = FIXED
    repeat: int = 0
    number: int = 0


@dataclass(frozen=True)
class Row:
    """A variant at the spec's settings: how many of its trials have ended, and what the completed are worth on average.

    As in a search, a trial is worth the mean over its last evaluations, as many as the study declares.
    """

    variant: str
    ended: int
    trials: int
    value: float | None


@dataclass(frozen=True)
class Progress:
    """How far a search and its confirmation are.

    Args:
        asked: what the study asks of it.
        titles: of the objectives, as a table's head shows them.
        standings: of the variants, in the design's order.
        planned: how many cells each stage has in the end, by what is known now. A trial that the ledger has already
            may turn out to fill one of them.
        states: how many of each stage's cells are in each state.
        mean_s: what an ended trial of the search took, stopped ones too; None before the first.
        step_s: what a training step of those took, evaluations included.
    """

    asked: Asked
    titles: Mapping[str, str]
    standings: Sequence[Standing]
    planned: Mapping[str, int]
    states: Mapping[str, Mapping[str, int]]
    mean_s: float | None
    step_s: float | None

    @property
    def coming(self) -> int:
        """How many cells are still to come into being."""
        return sum(self.planned.values()) - sum(sum(there.values()) for there in self.states.values())

    def waiting(self, stage: str) -> int:
        """Return how many of a stage's cells have not begun."""
        there = self.states.get(stage, {})
        return self.planned[stage] - sum(there.values()) + there.get(PLANNED, 0)


@dataclass(frozen=True)
class Snapshot:
    """A study at a moment.

    Args:
        counts: trials of the plan in each state; one that fills several cells counts once.
        running: the trials that are being trained.
        rows: the variants at the spec's settings.
        mean_s: what a completed trial took, None before the first.
        search: how far the search is, if the study has one.
    """

    counts: Mapping[str, int]
    running: Sequence[Running]
    rows: Sequence[Row]
    mean_s: float | None
    search: Progress | None = None

    @property
    def trials(self) -> int:
        """How many trials there are in the end; `at_most` so many if a search has still to say what it tries."""
        return sum(self.counts.values()) + (self.search.coming if self.search else 0)

    @property
    def at_most(self) -> bool:
        """Whether there may be fewer: a search can suggest again what was trained already."""
        return self.search is not None and self.search.coming > 0

    @property
    def ended(self) -> int:
        """How many have a result, good or bad."""
        return sum(self.counts.values()) - self.counts[PLANNED] - self.counts[RUNNING]

    @property
    def stage(self) -> str:
        """The stage that trials run in, or that is next; several are joined. Empty if there is no search."""
        if self.search is None:
            return ""
        now = [stage for stage in STAGES if any(one.stage == stage for one in self.running)]
        left = [stage for stage in STAGES if self.search.waiting(stage)]
        return " and ".join(now or left[:1] or STAGES[-1:])


_COUNTS = "SELECT state, count(*) FROM trial WHERE number IN (SELECT trial FROM cell) GROUP BY state"
_CELLS = "SELECT c.stage, t.state, count(*) FROM cell c JOIN trial t ON t.number = c.trial GROUP BY c.stage, t.state"
_RUNNING = """
SELECT t.number, cell.variant, cell.seed, coalesce((SELECT max(step) FROM step WHERE trial = t.number), 0),
    json_extract(t.settings, '$.steps'),
    (SELECT value FROM report WHERE report.trial = t.number AND metric = :metric ORDER BY step DESC LIMIT 1),
    attempt.started, cell.stage, cell.repeat, cell.number
FROM trial t JOIN attempt ON attempt.trial = t.number AND attempt.ended IS NULL JOIN cell ON cell.trial = t.number
WHERE t.state = 'RUNNING' ORDER BY attempt.started, t.number
"""
_ROWS = """
SELECT cell.variant, sum(trial.state NOT IN ('PLANNED', 'RUNNING')), count(*)
FROM cell JOIN trial ON trial.number = cell.trial JOIN variant ON variant.name = cell.variant
WHERE cell.stage = 'fixed' GROUP BY cell.variant ORDER BY variant.number
"""
_AT = "SELECT json_extract(resolved, '$.analysis.at') FROM spec ORDER BY number DESC LIMIT 1"
_MEAN = """
SELECT avg(seconds) FROM (
    SELECT max(step.seconds) AS seconds FROM trial JOIN step ON step.trial = trial.number
    WHERE trial.state = 'COMPLETED' GROUP BY trial.number ORDER BY trial.ended DESC LIMIT 50)
"""
_MEAN_OF_SEARCH = """
SELECT avg(seconds), sum(seconds) / sum(step) FROM (
    SELECT max(step.seconds) AS seconds, max(step.step) AS step FROM trial JOIN step ON step.trial = trial.number
    WHERE trial.number IN (
        SELECT number FROM trial WHERE state IN ('COMPLETED', 'STOPPED', 'DIVERGED')
        AND number IN (SELECT trial FROM cell WHERE stage = 'search') ORDER BY ended DESC LIMIT 50)
    GROUP BY trial.number)
"""


def snapshot(ledger: Path, metric: str, now: float, known: Known | None = None) -> Snapshot:
    """Return the study at this moment.

    Args:
        ledger: the file; it may be written to at the same time.
        metric: the metric shown, such as `eval/psnr_db`.
        now: seconds since 1970.
        known: what the last call for this ledger and metric found out; with it, 10,000 trials take 0.1 s.
    """
    db = sqlite3.connect(f"file:{ledger}?mode=ro", uri=True, isolation_level=None)
    try:
        complete(db)
        db.execute("BEGIN")  # all that follows is of one moment
        known = {} if known is None else known
        search = _progress(db, metric, known)
        counts = dict(db.execute(_COUNTS))
        running = _running(db, metric, now)
        rows = _rows(db, metric, known)
        (mean_s,) = db.execute(_MEAN).fetchone()
    finally:
        db.close()
    return Snapshot(dict.fromkeys(STATES, 0) | counts, running, rows, mean_s, search)


def _running(db: sqlite3.Connection, metric: str, now: float) -> list[Running]:
    found: dict[int, Running] = {}
    for trial, variant, seed, step, steps, value, started, *cell in db.execute(_RUNNING, {"metric": metric}):
        one = Running(variant, seed, step, steps or 1, value, now - started, *cell)
        if trial not in found or STAGES.index(one.stage) < STAGES.index(found[trial].stage):
            found[trial] = one
    return list(found.values())


def _rows(db: sqlite3.Connection, metric: str, known: Known) -> list[Row]:
    """Return the variants at the spec's settings, in the order of the design; adds to `known`."""
    (at,) = db.execute(_AT).fetchone() or (None,)
    values = untuned(db, [metric], at or 1, known)
    return [
        Row(variant, ended, trials, values.get(variant, {}).get(metric))
        for variant, ended, trials in db.execute(_ROWS).fetchall()
    ]


def _progress(db: sqlite3.Connection, metric: str, known: Known) -> Progress | None:
    """Return how far the search is, with the means of `metric` over the confirming trials; None without a search."""
    wanted = asked(db)
    if wanted is None:
        return None
    states: dict[str, dict[str, int]] = {stage: {} for stage in STAGES}
    for stage, state, count in db.execute(_CELLS):
        states[stage][state] = count
    found = standings(db, wanted, [metric], known)
    planned = expected(wanted, {stage: sum(there.values()) for stage, there in states.items()}, found)
    row = db.execute("SELECT value FROM study WHERE key = 'metrics'").fetchone()
    titles = {one["key"]: one["title"] for one in json.loads(row[0] if row else "[]")}
    mean_s, step_s = db.execute(_MEAN_OF_SEARCH).fetchone()
    return Progress(
        wanted, {name: titles.get(name, name) for name in wanted.objectives}, found, planned, states, mean_s, step_s
    )


def states(ledger: Path) -> dict[str, str]:
    """Return the state of every trial in a ledger, by identity; none if there is no ledger."""
    if not ledger.exists():
        return {}
    db = sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)
    try:
        return dict(db.execute("SELECT id, state FROM trial"))
    finally:
        db.close()


def models(ledger: Path) -> dict[str, str]:
    """Return the trained models that a ledger has scores of: name -> the file that the last spec named."""
    if not ledger.exists():
        return {}
    db = sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)
    try:
        if not db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'spec'").fetchone():
            return {}  # a driver died before it could write
        complete(db)
        row = db.execute("SELECT resolved FROM spec ORDER BY number DESC LIMIT 1").fetchone()
        scored = {name for (name,) in db.execute("SELECT method FROM scored WHERE weights IS NOT NULL")}
    finally:
        db.close()
    named = json.loads(row[0]).get("reference", {}) if row else {}
    return {name: path for name, path in named.items() if name in scored}


def time_left_s(now: Snapshot, slots: int) -> float | None:
    """Estimate the seconds until the last trial ends, with `slots` of them at a time; None while nothing is known.

    A trial takes what the last completed ones took; before the first, what the running ones will at their pace. One of
    a search takes what its last ended ones took, stopped ones too; a budget of steps is spent at their pace.
    """
    paces = [one.elapsed_s * one.steps / one.step for one in now.running if one.step]
    whole = now.mean_s or (sum(paces) / len(paces) if paces else None)
    if whole is None:
        return None
    running = [max(0.0, whole * (1 - one.step / one.steps)) for one in now.running]
    if now.search is None:
        work = sum(running) + whole * now.counts[PLANNED]
    else:
        work = sum(running) + whole * (now.search.waiting(FIXED) + now.search.waiting(CONFIRM))
        work += _searching_s(now.search, now.running, whole)
    return max([work / max(1, slots), *running])


def _searching_s(search: Progress, running: Sequence[Running], whole: float) -> float:
    """Return the seconds of training that trials of the search will take that have not begun."""
    left = search.waiting(SEARCH)
    if search.asked.unit == "trials" or search.step_s is None or not left:
        return left * (search.mean_s or whole)
    spent = sum(min(one.spent, one.budget) for one in search.standings)
    begun = sum(one.steps - one.step for one in running if one.stage == SEARCH)
    return max(0.0, sum(one.budget for one in search.standings) - spent - begun) * search.step_s
