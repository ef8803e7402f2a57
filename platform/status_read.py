"""Reads where a study stands: from its ledger alone, at one moment, whether a driver writes to it or not."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from analysis.ledger import Ledger, open_ledger
from analysis.schema import COMPLETED, DIVERGED, FAILED, FIXED, PLANNED, RUNNING, SEARCH, STAGES, STATES, STOPPED
from platform import status_driver
from platform.snapshot import Progress, Snapshot, time_left_s
from platform.snapshot import Running as Training
from platform.standing import Asked, Standing, asked, expected, standings
from platform.status_disk import kept, mirror
from platform.status_driver import Driver, holder, last_driver
from platform.status_study import Brief, Ended, Lost, Place, Running, Search, State, Status, Time, Variant
from trials.storage import is_address

__all__ = ["brief", "read"]

_CELLS = """
SELECT c.stage, c.variant, c.repeat, c.number, c.seed, t.number, t.id, t.state, t.kind,
    substr(t.message, 1, instr(t.message || char(10), char(10)) - 1)
FROM cell c JOIN trial t ON t.number = c.trial LEFT JOIN variant v ON v.name = c.variant
ORDER BY CASE c.stage WHEN 'fixed' THEN 0 WHEN 'search' THEN 1 ELSE 2 END, v.number, c.variant, c.repeat, c.number,
    c.seed
"""
_RUNNING = """
SELECT t.number, coalesce(s.step, 0), coalesce(json_extract(t.settings, '$.steps'), 0), s.seconds,
    max(a.started, coalesce(s.at, 0)), (
        SELECT value FROM report WHERE report.trial = t.number AND metric = ? ORDER BY step DESC LIMIT 1),
    a.number, a.started, a.record
FROM trial t JOIN attempt a ON a.trial = t.number AND a.ended IS NULL
LEFT JOIN step s ON s.trial = t.number AND s.step = (SELECT max(step) FROM step WHERE trial = t.number)
WHERE t.state = 'RUNNING' ORDER BY a.started, t.number
"""
_VALUES = """
SELECT t.number, (
    SELECT CASE WHEN count(r.value) = count(*) THEN avg(r.value) END
    FROM (SELECT step FROM step WHERE trial = t.number ORDER BY step DESC LIMIT :at) s
    LEFT JOIN report r ON r.trial = t.number AND r.step = s.step AND r.metric = :metric)
FROM trial t WHERE t.state = 'COMPLETED' AND t.number IN (SELECT trial FROM cell WHERE stage = 'fixed')
"""
_PACE = """
SELECT avg(seconds), sum(seconds) / sum(step) FROM (
    SELECT max(seconds) AS seconds, max(step) AS step FROM step WHERE trial IN (
        SELECT number FROM trial WHERE state IN (SELECT value FROM json_each(:states))
        AND number IN (SELECT trial FROM cell WHERE stage = coalesce(:stage, stage)) ORDER BY ended DESC LIMIT 50)
    GROUP BY trial)
"""
_BROKEN_OFF = """
SELECT outcome, trial, count(*), max(ended), json_group_array(DISTINCT json_extract(record, '$.node')) FROM attempt
WHERE ended IS NOT NULL AND outcome NOT IN (SELECT value FROM json_each(?)) GROUP BY outcome, trial ORDER BY max(ended)
"""
_ALL_CHOSEN = "SELECT (SELECT count(*) FROM choice) >= ? * (SELECT count(*) FROM variant)"
_REASON = "SELECT value FROM study WHERE key = 'reason'"
_OVER = "SELECT count(*) FROM trial WHERE state NOT IN ('PLANNED', 'RUNNING')"
_ELSEWHERE = "SELECT count(*) FROM trial WHERE state <> 'PLANNED' AND number NOT IN (SELECT trial FROM cell)"


class _Cell(NamedTuple):
    place: Place
    trial: int
    id: str
    state: str
    kind: str | None
    message: str | None


def read(study: str | Path, now: float) -> Status:
    """Return where a study stands.

    Args:
        study: its folder, or its name under `results`.
        now: seconds since 1970.

    Raises:
        StudyError: if there is no such study, or its ledger cannot be read.
    """
    with open_ledger(study) as ledger:
        found, ended = _status(ledger, now)
        checkpoints = [path for (path,) in ledger.connection.execute("SELECT checkpoint FROM step") if path]
        storage, address = _storage(ledger), _address(ledger)
    # The ledger is closed: nobody waits for us while files are counted.
    disk = kept(ledger.folder.resolve(), storage, checkpoints, address=address)
    return replace(found, mirror=mirror(ledger.folder, ended), disk=disk)


def brief(study: str | Path) -> Brief:
    """Return where a study stands in short; arguments and errors as of `read`."""
    with open_ledger(study) as ledger:
        db = ledger.connection
        driver, cells, search = last_driver(db, holder(ledger.folder / "driver.lock")), _cells(db), asked(db)
        spent = _spent(db, [])  # what a dead driver left open is a trifle here
        state, why = _state(db, cells, driver, search, budget_s=_budget_s(db), spent_s=spent)
        return Brief(ledger.folder.resolve().name, state, why, driver, _by_state(cells))


def _status(ledger: Ledger, now: float) -> tuple[Status, int]:
    """Return all but what lies beside the ledger, and how many of its trials have ended, unplanned ones too."""
    db, study = ledger.connection, ledger.study
    held_by = holder(ledger.folder / "driver.lock")
    driver, cells, search = last_driver(db, held_by), _cells(db), asked(db)
    runs = driver is not None and driver.state == status_driver.RUNNING
    places = _places(cells)
    running = _running(db, study.primary, places, now if runs else None)
    found = standings(db, search, dict.fromkeys([*search.objectives, study.primary])) if search else []
    budget, spent = _budget_s(db), _spent(db, running, now if runs else None)
    state, why = _state(db, cells, driver, search, budget_s=budget, spent_s=spent)
    pace = _snapshot(db, cells, running, search, found)
    at_a_time = max(1, len(running)) if runs else 1
    left = 0.0 if state in ("done", "failed") else time_left_s(pace, at_a_time)
    outcomes, lost = _broken_off(db, places)
    return Status(
        study=study.name,
        folder=str(ledger.folder.resolve()),
        at=now,
        state=state,
        why=why,
        driver=driver,
        held_by=held_by,
        primary=study.primary,
        trials=_by_state(cells),
        to_come=max(0, pace.trials - len(cells)) if search else 0,
        unplanned=db.execute(_ELSEWHERE).fetchone()[0],
        variants=_variants(cells, dict(db.execute(_VALUES, {"at": study.at, "metric": study.primary}).fetchall())),
        running=running,
        time=Time(spent, left, at_a_time, budget),
        failed=_ended(cells, places, FAILED),
        diverged=_ended(cells, places, DIVERGED),
        lost=lost,
        outcomes=outcomes,
        search=Search(search.unit, search.objectives, found) if search else None,
        mirror=None,
        disk=(),
        go_on=driver.command if driver else "",
    ), db.execute(_OVER).fetchone()[0]


def _cells(db: sqlite3.Connection) -> list[_Cell]:
    return [_Cell(Place(*row[:5]), *row[5:]) for row in db.execute(_CELLS)]


def _places(cells: Iterable[_Cell]) -> dict[int, list[Place]]:
    """Return the places that each trial fills, the first stage's first."""
    found: dict[int, list[Place]] = defaultdict(list)
    for cell in cells:
        found[cell.trial].append(cell.place)
    return found


def _by_state(cells: Iterable[_Cell]) -> dict[str, int]:
    """Return how many trials of the plan are in each state; one that fills several places counts once."""
    return dict.fromkeys(STATES, 0) | Counter({cell.trial: cell.state for cell in cells}.values())


def _variants(cells: Iterable[_Cell], values: Mapping[int, float | None]) -> list[Variant]:
    groups: dict[tuple[str, str], list[_Cell]] = defaultdict(list)
    for cell in cells:
        groups[cell.place.stage, cell.place.variant].append(cell)
    found = []
    for (stage, variant), group in groups.items():
        scores = [values.get(cell.trial) for cell in group if stage == FIXED and cell.state == COMPLETED]
        numbers = [value for value in scores if value is not None]
        mean = sum(numbers) / len(numbers) if numbers and len(numbers) == len(scores) else None
        states = dict.fromkeys(STATES, 0) | Counter(cell.state for cell in group)
        found.append(Variant(stage, variant, states, mean))
    return found


def _running(
    db: sqlite3.Connection, metric: str, places: Mapping[int, Sequence[Place]], now: float | None
) -> list[Running]:
    """Return the trials that are RUNNING; `now` is None if nobody trains them any more."""
    rows = db.execute(_RUNNING, (metric,)).fetchall()
    ids = dict(db.execute("SELECT number, id FROM trial WHERE state = 'RUNNING'"))
    found = []
    for trial, step, steps, seconds, sign, value, attempt, _, record in rows:
        made: dict[str, Any] = json.loads(record or "{}")
        spent = (seconds or 0.0) + (0.0 if now is None else max(0.0, now - sign))
        where = (made.get("node"), made.get("device"))
        found.append(Running(ids[trial], places.get(trial, ()), step, steps, value, spent, attempt, *where, sign))
    return found


def _ended(cells: Iterable[_Cell], places: Mapping[int, Sequence[Place]], state: str) -> list[Ended]:
    those = {cell.trial: cell for cell in cells if cell.state == state}
    return [Ended(one.id, places[one.trial], one.kind, one.message or "") for one in those.values()]


def _broken_off(db: sqlite3.Connection, places: Mapping[int, Sequence[Place]]) -> tuple[dict[str, int], list[Lost]]:
    """Return how many attempts came to no end of their trial, by outcome, and the trials whose attempts were lost."""
    counts: Counter[str] = Counter()
    lost = []
    for outcome, trial, count, last, nodes in db.execute(_BROKEN_OFF, (json.dumps(STATES),)).fetchall():
        counts[outcome] += count
        if outcome == "lost" and trial in places:
            (identity,) = db.execute("SELECT id FROM trial WHERE number = ?", (trial,)).fetchone()
            lost.append(Lost(identity, places[trial], count, [node for node in json.loads(nodes) if node], last))
    return dict(counts), lost


def _state(
    db: sqlite3.Connection,
    cells: Iterable[_Cell],
    driver: Driver | None,
    search: Asked | None,
    *,
    budget_s: float | None,
    spent_s: float,
) -> tuple[State, str]:
    """Return the state of the study, and why it is not going on; '' if there is no reason."""
    if driver is not None and driver.state == status_driver.RUNNING:
        return "running", ""
    chosen = search is None or db.execute(_ALL_CHOSEN, (search.repeats,)).fetchone()[0]
    if chosen and not any(_left(cell) for cell in cells):
        failed = any(cell.state == FAILED for cell in cells)
        return ("failed", "trials have FAILED") if failed else ("done", "")
    if budget_s is not None and spent_s >= budget_s:
        return "budget", f"the budget of {budget_s / 3600:g} hours is spent; raise budget.hours to go on"
    if driver is None:
        return "unfinished", "no driver has run yet"
    if driver.state == status_driver.ENDED and (row := db.execute(_REASON).fetchone()):
        return "unfinished", str(json.loads(row[0]))
    query = "SELECT count(*) FROM attempt WHERE driver = ? AND outcome = 'disk'"
    if db.execute(query, (driver.number,)).fetchone()[0]:
        return "unfinished", "a full disk ended it; make room"
    whys = {
        status_driver.DEAD: "its driver ended without a word",
        status_driver.INTERRUPTED: "it was interrupted",
        status_driver.ENDED: "its driver ended before everything was trained",
    }
    return "unfinished", whys[driver.state]


def _left(cell: _Cell) -> bool:
    """Whether a place has still to get a result: what a search stopped, another stage trains to its end."""
    return cell.state in (PLANNED, RUNNING) or (cell.state == STOPPED and cell.place.stage != SEARCH)


def _spent(db: sqlite3.Connection, running: Iterable[Running], now: float | None = None) -> float:
    """Return the seconds of training so far, over all attempts; open ones until `now` or their last sign."""
    (over,) = db.execute("SELECT total(ended - started) FROM attempt WHERE ended IS NOT NULL").fetchone()
    begun = dict(
        db.execute("SELECT id, a.started FROM attempt a JOIN trial t ON t.number = a.trial WHERE a.ended IS NULL")
    )
    signs = {one.trial: one.last_sign if now is None else now for one in running}
    open_s = [max(0.0, signs[trial] - started) for trial, started in begun.items() if trial in signs]
    return float(over + sum(open_s))


def _budget_s(db: sqlite3.Connection) -> float | None:
    row = db.execute(
        "SELECT json_extract(resolved, '$.budget.hours') FROM spec ORDER BY number DESC LIMIT 1"
    ).fetchone()
    return row[0] * 3600 if row and row[0] else None


def _snapshot(
    db: sqlite3.Connection,
    cells: Sequence[_Cell],
    running: Iterable[Running],
    search: Asked | None,
    found: Sequence[Standing],
) -> Snapshot:
    """Return the study as the terminal's view sees it while it runs, which knows how to tell the time left."""
    training = [
        Training(place.variant, place.seed, one.step, one.steps or 1, one.value, one.seconds, place.stage)
        for one in running
        for place in one.places[:1]
    ]
    mean_s, _ = _pace(db, [COMPLETED])
    if search is None:
        return Snapshot(_by_state(cells), training, [], mean_s)
    states = {stage: Counter(cell.state for cell in cells if cell.place.stage == stage) for stage in STAGES}
    planned = expected(search, {stage: those.total() for stage, those in states.items()}, found)
    ended_s, step_s = _pace(db, [COMPLETED, STOPPED, DIVERGED], SEARCH)
    progress = Progress(search, {}, found, planned, states, ended_s, step_s)
    return Snapshot(dict.fromkeys(STATES, 0) | sum(states.values(), Counter()), training, [], mean_s, progress)


def _pace(db: sqlite3.Connection, states: Sequence[str], stage: str | None = None) -> tuple[float | None, float | None]:
    """Return what the last 50 trials in these states took, on average, and each of their steps; in seconds."""
    row: tuple[float | None, float | None] = db.execute(
        _PACE, {"states": json.dumps(states), "stage": stage}
    ).fetchone()
    return row


def _storage(ledger: Ledger) -> Path:
    """Return the folder of checkpoints and pictures; the study's own may have been moved since it was recorded."""
    row = ledger.connection.execute("SELECT value FROM study WHERE key = 'folder'").fetchone()
    recorded = Path(json.loads(row[0])) if row else None
    return ledger.folder.resolve() if ledger.study.storage == recorded else ledger.study.storage.resolve()


def _address(ledger: Ledger) -> str:
    """Return the address of the storage; '' if it is a folder."""
    recorded = str(json.loads(ledger.connection.execute("SELECT value FROM study WHERE key = 'storage'").fetchone()[0]))
    return recorded if is_address(recorded) else ""
