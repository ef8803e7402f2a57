"""The searches of a study in its ledger: what they suggested, stopped and chose, and what their trials reported."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from analysis.schema import CONTINUE, FIXED, PLANNED, SEARCH, STOP
from platform.ledger import Ledger, Suggestion
from platform.ledger_file import to_json
from platform.plan import Cell

__all__ = [
    "choices", "choose", "curves", "decisions", "go_on", "later_cells", "reached", "settings", "stopped_under",
    "suggest", "suggestions",
]  # fmt: skip


def suggest(ledger: Ledger, one: Suggestion, cells: Sequence[Cell], now: float) -> None:
    """Record what a search suggests, and its cells."""
    row = (
        one.variant, one.repeat, one.number, now, to_json(one.params), one.trial, one.same_as, one.refused,
        one.left_out,
    )  # fmt: skip
    with ledger.planning(cells, now) as db:
        db.execute("INSERT INTO suggestion VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)


def choose(
    ledger: Ledger, variant: str, repeat: int, number: int | None, why: str, cells: Sequence[Cell], now: float
) -> None:
    """Record what a search found, and the cells that confirm it."""
    with ledger.planning(cells, now) as db:
        db.execute("INSERT OR REPLACE INTO choice VALUES (?, ?, ?, ?, ?)", (variant, repeat, number, why, now))


def suggestions(ledger: Ledger) -> list[Suggestion]:
    """Return everything that searches of this study have ever tried, by variant, repeat and number."""
    columns = "variant, repeat, number, params, trial, same_as, refused, left_out"
    rows = ledger.db.execute(f"SELECT {columns} FROM suggestion ORDER BY variant, repeat, number")
    return [
        Suggestion(variant, repeat, number, json.loads(params), *rest)
        for variant, repeat, number, params, *rest in rows
    ]


def choices(ledger: Ledger) -> dict[tuple[str, int], tuple[int | None, str]]:
    """Return what each search chose and why, by variant and repeat."""
    rows = ledger.db.execute("SELECT variant, repeat, number, why FROM choice")
    return {(variant, repeat): (number, why) for variant, repeat, number, why in rows}


def later_cells(ledger: Ledger) -> list[Cell]:
    """Return the cells of the spec that holds that searches have added, in the order in which they did."""
    query = (
        "SELECT stage, variant, cell.seed, stream, id, settings, data, repeat, cell.number FROM cell "
        "JOIN trial ON trial.number = cell.trial WHERE stage <> ? ORDER BY trial.number"
    )
    rows = ledger.db.execute(query, (FIXED,))
    return [
        Cell(stage, variant, seed, stream, trial, json.loads(settings), *rest)
        for stage, variant, seed, stream, trial, settings, *rest in rows
    ]


def curves(ledger: Ledger, metrics: Sequence[str], trial: str | None = None) -> dict[str, dict[int, Sequence[float]]]:
    """Return what trials reported, of the search's or of one alone: trial -> step -> the values of these metrics.

    NaN where one could not be computed.
    """
    these = f"IN (SELECT trial FROM cell WHERE stage = '{SEARCH}')" if trial is None else "= ?"
    places = ", ".join("?" * len(metrics))
    rows = ledger.db.execute(
        f"SELECT id, step, metric, value FROM report JOIN trial ON trial.number = report.trial "
        f"WHERE report.trial {these} AND metric IN ({places})",
        [*([] if trial is None else [ledger.numbers[trial]]), *metrics],
    )
    found: dict[str, dict[int, list[float]]] = {}
    for identity, step, metric, value in rows:
        points = found.setdefault(identity, {}).setdefault(step, [math.nan] * len(metrics))
        points[metrics.index(metric)] = math.nan if value is None else value
    return {identity: dict(curve) for identity, curve in found.items()}


def decisions(ledger: Ledger) -> dict[tuple[str, int], str]:
    """Return every decision of a scheduler: (trial, step) -> what."""
    query = "SELECT id, rung, what FROM decision JOIN trial ON trial.number = decision.trial"
    return {(trial, rung): what for trial, rung, what in ledger.db.execute(query)}


def stopped_under(ledger: Ledger, trial: str) -> dict[str, Any] | None:
    """Return the spec that held when a trial was stopped; None if it was not."""
    query = (
        "SELECT resolved FROM decision d JOIN spec s ON s.at <= d.at WHERE d.trial = ? AND d.what = ? "
        "ORDER BY d.rung DESC, s.number DESC LIMIT 1"
    )
    row = ledger.db.execute(query, (ledger.numbers[trial], STOP)).fetchone()
    return None if row is None else dict(json.loads(row[0]))


def go_on(ledger: Ledger, trial: str) -> None:
    """Plan a stopped trial again: another search needs it. The decision that stopped it holds no more."""
    number = ledger.numbers[trial]
    with ledger.transaction() as db:
        db.execute("UPDATE decision SET what = ? WHERE trial = ? AND what = ?", (CONTINUE, number, STOP))
        db.execute("UPDATE trial SET state = ? WHERE number = ?", (PLANNED, number))
    ledger.states[trial] = PLANNED


def settings(ledger: Ledger, trial: str) -> dict[str, Any]:
    """Return the whole settings of a trial."""
    (text,) = ledger.db.execute("SELECT settings FROM trial WHERE id = ?", (trial,)).fetchone()
    return dict(json.loads(text))


def reached(ledger: Ledger, trial: str) -> int:
    """Return the last step that a trial reported; 0 if there is none."""
    query = "SELECT coalesce(max(step), 0) FROM step WHERE trial = ?"
    return int(ledger.db.execute(query, (ledger.numbers[trial],)).fetchone()[0])
