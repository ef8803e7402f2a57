"""One trial whole: what is different in it, its attempts, reports and events, and how it failed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.errors import StudyError
from analysis.ledger import Ledger, open_ledger
from analysis.schema import BASELINE, FIXED
from platform.status_driver import holder, last_driver
from platform.status_study import Place

__all__ = ["Attempt", "Event", "Report", "Trial", "named", "read_trial", "short"]

SHORT = 8
LISTED = 10

_FULL = "SELECT settings FROM cell JOIN trial t ON t.number = trial WHERE stage = ? AND variant = ? LIMIT 1"
_PLACES = """
SELECT stage, variant, repeat, number, seed FROM cell WHERE trial = ?
ORDER BY CASE stage WHEN 'fixed' THEN 0 WHEN 'search' THEN 1 ELSE 2 END, variant, repeat, number, seed
"""
_ATTEMPTS = "SELECT number, driver, started, ended, resumed_step, outcome, record FROM attempt WHERE trial = ?"


@dataclass(frozen=True)
class Attempt:
    """An attempt at a trial; `outcome` is None while it runs, `record` says where and with which versions."""

    number: int
    driver: int
    started: float
    ended: float | None
    resumed_step: int
    outcome: str | None
    record: Mapping[str, Any]


@dataclass(frozen=True)
class Report:
    """A report of a trial: `seconds` spent on it up to here, the checkpoint's path below the storage, the metrics."""

    step: int
    at: float
    seconds: float
    checkpoint: str | None
    metrics: Mapping[str, float | None]


@dataclass(frozen=True)
class Event:
    """What happened in the training, see the ledger's table `event`."""

    step: int
    kind: str
    subject: str
    value: float | None
    text: str


@dataclass(frozen=True)
class Trial:
    """A trial; the docstring of `platform.status` describes the fields."""

    study: str
    trial: str
    places: Sequence[Place]
    state: str
    driver_runs: bool
    kind: str | None
    message: str
    traceback: str
    seed: int
    stream: str
    data: str
    settings: Mapping[str, Any]
    differs: Mapping[str, tuple[Any, Any]]
    planned: float
    started: float | None
    ended: float | None
    steps: int
    primary: str
    attempts: Sequence[Attempt]
    reports: Sequence[Report]
    events: Sequence[Event]
    decisions: Mapping[int, str]


def read_trial(study: str | Path, asked: str) -> Trial:
    """Return a trial whole.

    Args:
        study: the study's folder, or its name under `results`.
        asked: the beginning of its identity, or VARIANT:SEED; of several with that, the one of the fixed stage.

    Raises:
        StudyError: if there is no such study or trial, or several.
    """
    with open_ledger(study) as ledger:
        db, number = ledger.connection, _found(ledger, asked)
        row = db.execute(
            "SELECT id, state, kind, message, seed, stream, data, settings, planned, started, ended "
            "FROM trial WHERE number = ?",
            (number,),
        ).fetchone()
        identity, state, kind, message, seed, stream, data, text, *times = row
        settings = json.loads(text)
        full = db.execute(_FULL, (FIXED, BASELINE)).fetchone()
        driver = last_driver(db, holder(ledger.folder / "driver.lock"))
        sentence, _, traceback = (message or "").partition("\n")
        return Trial(
            study=ledger.study.name,
            trial=identity,
            places=[Place(*place) for place in db.execute(_PLACES, (number,))],
            state=state,
            driver_runs=driver is not None and driver.state == "running",
            kind=kind,
            message=sentence,
            traceback=traceback.strip("\n"),
            seed=seed,
            stream=stream,
            data=data,
            settings=settings,
            differs={} if full is None else dict(_differing(settings, json.loads(full[0]))),
            planned=times[0],
            started=times[1],
            ended=times[2],
            steps=int(settings.get("steps") or 0),
            primary=ledger.study.primary,
            attempts=[Attempt(*(*row[:6], json.loads(row[6] or "{}"))) for row in db.execute(_ATTEMPTS, (number,))],
            reports=_reports(db, number),
            events=[
                Event(*event)
                for event in db.execute(
                    "SELECT step, kind, subject, value, text FROM event WHERE trial = ? ORDER BY step", (number,)
                )
            ],
            decisions=dict(db.execute("SELECT rung, what FROM decision WHERE trial = ? ORDER BY rung", (number,))),
        )


def named(place: Place) -> str:
    """Return a place as people say it: `no_x:3`, `no_x:3 search 5`, `no_x:3 confirm repeat 1`."""
    parts = [f"{place.variant}:{place.seed}"]
    if place.stage != FIXED:
        parts.append(f"{place.stage} {place.number}" if place.stage == "search" else place.stage)
    if place.repeat:
        parts.append(f"repeat {place.repeat}")
    return " ".join(parts)


def short(trial: str) -> str:
    """Return as much of an identity as tells trials apart for people."""
    return trial[:SHORT]


def _found(ledger: Ledger, asked: str) -> int:
    """Return the number of the one trial that is asked for."""
    db = ledger.connection
    variant, colon, seed = asked.rpartition(":")
    if colon:
        rows = db.execute(
            "SELECT DISTINCT stage = ?, t.number, id, state FROM cell JOIN trial t ON t.number = trial "
            "WHERE variant = ? AND cell.seed = ? ORDER BY 1 DESC, 2",
            (FIXED, variant, seed),
        ).fetchall()
        rows = [row for row in rows if row[0]] or rows
    else:
        rows = db.execute(
            "SELECT 0, number, id, state FROM trial WHERE substr(id, 1, length(?1)) = ?1 AND length(?1) > 0",
            (asked.lower(),),
        ).fetchall()
    if len(rows) == 1:
        return int(rows[0][1])
    where = f"{ledger.study.name}: --trial {asked}"
    if rows:
        listed = ", ".join(f"{identity} ({state})" for _, _, identity, state in rows[:LISTED])
        more = f", and {len(rows) - LISTED} more" if len(rows) > LISTED else ""
        raise StudyError(f"{where}: expected one trial, but there are {len(rows)}: {listed}{more}")
    variants = [name for (name,) in db.execute("SELECT name FROM variant ORDER BY number LIMIT ?", (LISTED,))]
    raise StudyError(
        f"{where}: there is no such trial; expected the beginning of an identity, or VARIANT:SEED with a variant such "
        f"as {', '.join(variants)}"
    )


def _reports(db: sqlite3.Connection, trial: int) -> list[Report]:
    metrics: dict[int, dict[str, float | None]] = {}
    for step, metric, value in db.execute(
        "SELECT step, metric, value FROM report WHERE trial = ? ORDER BY step, metric", (trial,)
    ):
        metrics.setdefault(step, {})[metric] = value
    rows = db.execute("SELECT step, at, seconds, checkpoint FROM step WHERE trial = ? ORDER BY step", (trial,))
    return [Report(*(*row[:4], metrics.get(row[0], {}))) for row in rows]


def _differing(settings: Any, full: Any, path: str = "") -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Yield each dotted path whose setting differs from the full model's, with both; None where there is none."""
    if isinstance(settings, dict) and isinstance(full, dict):
        for key in dict.fromkeys([*full, *settings]):
            yield from _differing(settings.get(key), full.get(key), f"{path}.{key}" if path else key)
    elif settings != full:
        yield path, (settings, full)
