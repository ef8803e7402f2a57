"""What a study's trials have come to, as its ledger has it: scores, pictures, attempts, time spent. Reads alone."""

from __future__ import annotations

import hashlib
import json
import math

from analysis.schema import COMPLETED
from platform.ledger import Ledger
from platform.ledger_file import to_json

__all__ = ["change", "completed", "lacked_memory", "losses", "pictures", "spent_s", "value"]


def value(ledger: Ledger, trial: str, metric: str) -> float:
    """Return a metric's value at a trial's last report; NaN if it could not be computed."""
    query = "SELECT value FROM report WHERE trial = ? AND metric = ? ORDER BY step DESC LIMIT 1"
    row = ledger.db.execute(query, (ledger.numbers[trial], metric)).fetchone()
    return math.nan if row is None or row[0] is None else float(row[0])


def completed(ledger: Ledger, metric: str) -> list[tuple[str, float]]:
    """Return every completed trial in the order of their ends, with a metric's value at its last report."""
    query = (
        "SELECT id, (SELECT value FROM report WHERE report.trial = trial.number AND metric = ? "
        "ORDER BY step DESC LIMIT 1) FROM trial WHERE state = ? ORDER BY ended"
    )
    rows = ledger.db.execute(query, (metric, COMPLETED))
    return [(trial, math.nan if value is None else value) for trial, value in rows]


def pictures(ledger: Ledger, *trials: str) -> dict[str, list[str]]:
    """Return the last pictures of these trials, or of every completed one, as paths below the storage."""
    query = (
        "SELECT id, (SELECT pictures FROM step WHERE step.trial = trial.number AND pictures <> '{}' "
        "ORDER BY step DESC LIMIT 1) FROM trial WHERE "
    )
    if trials:
        rows = ledger.db.execute(f"{query} id IN (SELECT value FROM json_each(?))", (to_json(trials),))
    else:
        rows = ledger.db.execute(f"{query} state = ?", (COMPLETED,))
    return {trial: list(json.loads(found or "{}").values()) for trial, found in rows}


def lacked_memory(ledger: Ledger) -> set[str]:
    """Return the trials of which an attempt found the memory too small."""
    query = "SELECT DISTINCT id FROM attempt JOIN trial ON trial.number = attempt.trial WHERE outcome = 'memory'"
    return {trial for (trial,) in ledger.db.execute(query)}


def losses(ledger: Ledger, trial: str) -> int:
    """Return how many attempts of this driver at a trial were lost in a row, with no checkpoint between.

    Those that died with their driver say nothing about the trial.
    """
    query = (
        "SELECT outcome, resumed_step FROM attempt WHERE trial = ? AND driver = ? AND ended IS NOT NULL "
        "ORDER BY number DESC"
    )
    rows = ledger.db.execute(query, (ledger.numbers[trial], ledger.driver)).fetchall()
    count = 0
    for outcome, step in rows:
        if outcome != "lost" or step != rows[0][1]:
            break
        count += 1
    return count


def spent_s(ledger: Ledger, now: float, stage: str | None = None) -> float:
    """Return the seconds of training so far, over all attempts, those running included; of one stage, or of all."""
    these = "" if stage is None else " WHERE trial IN (SELECT trial FROM cell WHERE stage = ?)"
    query = f"SELECT total(coalesce(ended, ?) - started) FROM attempt{these}"
    return float(ledger.db.execute(query, (now, *([] if stage is None else [stage]))).fetchone()[0])


def change(ledger: Ledger) -> str:
    """Return a text that is another one after every change of what a report shows."""
    tables = (
        "step", "event", "attempt", "attempt WHERE ended IS NOT NULL", "deviation", "spec", "suggestion", "choice",
        "cell", "look",
    )  # fmt: skip
    counts = [ledger.db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables]
    shown = [ledger.get(key) for key in ("storage", "metrics", "inert", "search", "confirm", "expected")]
    shown.append(ledger.db.execute("SELECT * FROM scored").fetchall())
    return f"{'-'.join(map(str, counts))}-{hashlib.sha256(to_json(shown).encode()).hexdigest()[:16]}"
