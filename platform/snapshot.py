"""What a running study looks like at a moment: read from the ledger alone, so any process can look on."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.schema import COMPLETED, PLANNED, RUNNING, STATES, complete

__all__ = ["Row", "Running", "Snapshot", "models", "snapshot", "states", "time_left_s"]


@dataclass(frozen=True)
class Running:
    """A trial that is being trained: `step` of `steps`, and the metric at its newest evaluation."""

    variant: str
    seed: int
    step: int
    steps: int
    value: float | None
    elapsed_s: float


@dataclass(frozen=True)
class Row:
    """A variant: how many of its trials have ended, and the metric's mean over the last evaluations of those."""

    variant: str
    ended: int
    trials: int
    value: float | None


@dataclass(frozen=True)
class Snapshot:
    """A study at a moment. `counts` has every state; `mean_s` is what a completed trial took, None before the first."""

    counts: Mapping[str, int]
    running: Sequence[Running]
    rows: Sequence[Row]
    mean_s: float | None

    @property
    def trials(self) -> int:
        """How many trials the plan has."""
        return sum(self.counts.values())

    @property
    def ended(self) -> int:
        """How many have a result, good or bad."""
        return self.trials - self.counts[PLANNED] - self.counts[RUNNING]


_COUNTS = "SELECT state, count(*) FROM trial WHERE number IN (SELECT trial FROM cell) GROUP BY state"
_RUNNING = """
SELECT cell.variant, cell.seed, coalesce(max(step.step), 0), json_extract(trial.settings, '$.steps'),
    (SELECT value FROM report WHERE report.trial = trial.number AND metric = :metric ORDER BY step DESC LIMIT 1),
    attempt.started, coalesce(max(step.seconds), 0)
FROM cell JOIN trial ON trial.number = cell.trial
    JOIN attempt ON attempt.trial = trial.number AND attempt.ended IS NULL
    LEFT JOIN step ON step.trial = trial.number
WHERE trial.state = 'RUNNING' GROUP BY trial.number ORDER BY attempt.started
"""
_ROWS = """
SELECT cell.variant, sum(trial.state NOT IN ('PLANNED', 'RUNNING')), count(*), avg((
    SELECT value FROM report WHERE trial.state = 'COMPLETED' AND report.trial = trial.number AND metric = :metric
    ORDER BY step DESC LIMIT 1))
FROM cell JOIN trial ON trial.number = cell.trial JOIN variant ON variant.name = cell.variant
GROUP BY cell.variant ORDER BY variant.number
"""
_MEAN = """
SELECT avg(seconds) FROM (
    SELECT max(step.seconds) AS seconds FROM trial JOIN step ON step.trial = trial.number
    WHERE trial.state = ? GROUP BY trial.number ORDER BY trial.ended DESC LIMIT 50)
"""


def snapshot(ledger: Path, metric: str, now: float) -> Snapshot:
    """Return the study at this moment.

    Args:
        ledger: the file; it may be written to at the same time.
        metric: the metric shown, such as `eval/psnr_db`.
        now: seconds since 1970.
    """
    db = sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)
    try:
        counts = dict.fromkeys(STATES, 0) | dict(db.execute(_COUNTS))
        running = [
            Running(variant, seed, step, steps or 1, value, now - started)
            for variant, seed, step, steps, value, started, _ in db.execute(_RUNNING, {"metric": metric})
        ]
        rows = [Row(*row) for row in db.execute(_ROWS, {"metric": metric})]
        (mean_s,) = db.execute(_MEAN, (COMPLETED,)).fetchone()
    finally:
        db.close()
    return Snapshot(counts, running, rows, mean_s)


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

    A trial takes what the last completed ones took; before the first, what the running ones will at their pace.
    """
    paces = [one.elapsed_s * one.steps / one.step for one in now.running if one.step]
    whole = now.mean_s or (sum(paces) / len(paces) if paces else None)
    if whole is None:
        return None
    running = [max(0.0, whole * (1 - one.step / one.steps)) for one in now.running]
    work = sum(running) + whole * now.counts[PLANNED]
    return max([work / max(1, slots), *running])
