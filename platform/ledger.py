"""The ledger's one writer: the driver. Every write is one transaction, idempotent by key, on disk when it returns."""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import socket
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from analysis import schema
from analysis.schema import COMPLETED, CONFIRM, CONTINUE, FIXED, PLANNED, RUNNING, SEARCH, STOP, STOPPED
from platform.design import Variant
from platform.errors import LedgerError, full, unwritable
from platform.plan import Cell, Looked

__all__ = ["Ledger", "Resume", "Suggestion"]

LOOKS, LOOK_S = 10, 0.02
"""How often a lock that is held is tried, and the seconds between."""


@dataclass(frozen=True)
class Resume:
    """From where a trial goes on: the last step that left a checkpoint, and that checkpoint's path in the storage."""

    step: int
    checkpoint: str
    seconds: float


@dataclass(frozen=True)
class Suggestion:
    """A row of the table `suggestion`: settings that a search tried; see `analysis.schema`."""

    variant: str
    repeat: int
    number: int
    params: Mapping[str, Any]
    trial: str | None
    same_as: int | None = None
    refused: str | None = None
    left_out: str | None = None


class Ledger:
    """A study's ledger, open for writing. Only one process can hold it; see `analysis.schema` for the tables."""

    def __init__(self, folder: Path) -> None:
        """Open the ledger of the study in `folder`, making both if need be.

        Raises:
            LedgerError: if another driver holds it, or it was written by another version of this program.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._lock = _locked(folder / "driver.lock")
        try:
            self._db = sqlite3.connect(folder / "ledger.db", isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._widen_cells()
            self._db.executescript(schema.SCHEMA)  # gives a ledger of an earlier version the tables it lacks
        except sqlite3.DatabaseError as error:
            raise _unusable(folder, error) from error
        version = self.get("schema")
        if version is None or version in schema.EARLIER:
            self.put({"schema": schema.VERSION})
        elif version != schema.VERSION:
            raise LedgerError(
                f"{folder / 'ledger.db'}: expected a ledger of version {schema.VERSION}, got version {version}; "
                "run it with the program that wrote it, or choose another --results folder"
            )
        self._numbers: dict[str, int] = {}
        self.states: dict[str, str] = {}
        """The state of every trial, by identity; as in the table `trial`."""
        for number, trial, state in self._db.execute("SELECT number, id, state FROM trial"):
            self._numbers[trial], self.states[trial] = number, state
        odd = [one for one in self.states if one in ("", "..") or Path(one).name != one]  # folders are called so
        if odd:
            raise LedgerError(
                f"{folder / 'ledger.db'} was not written by this program: a trial is called {odd[0][:80]!r}"
            )
        self.driver = 0

    def _widen_cells(self) -> None:
        """Give the table `cell` of an earlier version the columns that a search needs."""
        there = self._db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'cell'").fetchone()
        if there and not schema.searchable(self._db):
            with self._transaction() as db:
                db.execute("ALTER TABLE cell RENAME TO cell_before")
                db.execute(f"CREATE TABLE cell {schema.CELL}")
                db.execute("INSERT INTO cell SELECT stage, variant, 0, 0, seed, trial FROM cell_before")
                db.execute("DROP TABLE cell_before")

    # --- the study -------------------------------------------------------------------------------------------

    def get(self, key: str) -> Any:
        """Return the value of a key of the study, or None."""
        row = self._db.execute("SELECT value FROM study WHERE key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    def put(self, values: Mapping[str, Any]) -> None:
        """Set keys of the study to JSON values."""
        rows = [(key, _json(value)) for key, value in values.items()]
        with self._transaction() as db:
            db.executemany("INSERT OR REPLACE INTO study VALUES (?, ?)", rows)

    def spec(self) -> dict[str, Any] | None:
        """Return the spec that held last, or None for a new study."""
        row = self._db.execute("SELECT resolved FROM spec ORDER BY number DESC LIMIT 1").fetchone()
        return None if row is None else json.loads(row[0])

    def first_spec(self) -> dict[str, Any] | None:
        """Return the spec that held when the first trial began, or None if none has begun."""
        first = "SELECT min(started) FROM attempt"
        row = self._db.execute(
            f"SELECT resolved FROM spec WHERE at <= ({first}) ORDER BY number DESC LIMIT 1"
        ).fetchone()
        return None if row is None else json.loads(row[0])

    def accept(
        self,
        spec: Mapping[str, Any],
        variants: Sequence[Variant],
        cells: Sequence[Cell],
        *,
        now: float,
        suggestions: Sequence[Suggestion] = (),
        changes: Iterable[str] = (),
        looks_hold: bool = True,
    ) -> None:
        """Make `spec` the one that holds: its variants, its cells and a planned trial for each new identity.

        Args:
            spec: resolved.
            variants: of its design.
            cells: of the plan so far. What searches have chosen is forgotten; they choose again.
            now: seconds since 1970.
            suggestions: what searches have tried, as it looks under this spec.
            changes: what is changed after the first trial, in sentences; recorded with the spec.
            looks_hold: whether what was found so far, where seeds are trained until all is decided, holds under it.
        """
        text = _json(spec)
        changed = self.spec() != json.loads(text)
        with self._transaction() as db:
            if changed:
                db.execute("INSERT INTO spec (at, resolved) VALUES (?, ?)", (now, text))
            db.execute("DELETE FROM variant")
            db.executemany("INSERT INTO variant VALUES (?, ?, ?, ?, ?, ?)", _variant_rows(variants))
            if not looks_hold:
                db.execute("DELETE FROM look")
            db.execute("DELETE FROM taken_out")
            db.executemany(
                "INSERT INTO taken_out VALUES (?, ?)", [(one.name, name) for one in variants for name in one.out]
            )
            (number,) = db.execute("SELECT max(number) FROM spec").fetchone()
            rows = [(now, number, text) for text in changes]
            db.executemany("INSERT INTO deviation (at, spec, text) VALUES (?, ?, ?)", rows)
            db.execute("DELETE FROM cell")
            db.execute("DELETE FROM choice")
            self._plan(db, cells, now)
            db.executemany(
                "UPDATE suggestion SET params = ?, trial = ?, same_as = ?, refused = ?, left_out = ? "
                "WHERE variant = ? AND repeat = ? AND number = ?",
                [
                    (_json(s.params), s.trial, s.same_as, s.refused, s.left_out, s.variant, s.repeat, s.number)
                    for s in suggestions
                ],
            )
        self._planned(cells)

    def _plan(self, db: sqlite3.Connection, cells: Sequence[Cell], now: float) -> None:
        """Write cells, and a planned trial for each new identity."""
        db.executemany(
            "INSERT OR IGNORE INTO trial (id, seed, stream, settings, data, state, planned) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(c.trial, c.seed, c.stream, _json(c.settings), c.data, PLANNED, now) for c in cells],
        )
        db.executemany(
            "INSERT OR REPLACE INTO cell VALUES (?, ?, ?, ?, ?, (SELECT number FROM trial WHERE id = ?))",
            [(c.stage, c.variant, c.repeat, c.number, c.seed, c.trial) for c in cells],
        )

    def _planned(self, cells: Sequence[Cell]) -> None:
        """Learn the numbers of the cells' trials."""
        for trial in (cell.trial for cell in cells if cell.trial not in self._numbers):
            (self._numbers[trial],) = self._db.execute("SELECT number FROM trial WHERE id = ?", (trial,)).fetchone()
            self.states[trial] = PLANNED

    # --- looks -----------------------------------------------------------------------------------------------

    def looked(self) -> list[Looked]:
        """Return what the looks have found, where seeds are trained until all is decided."""
        query = "SELECT seeds, variant, difference, p, p_equivalent, verdict FROM look ORDER BY seeds, variant"
        return [Looked(*row) for row in self._db.execute(query)]

    def look(self, found: Sequence[Looked], cells: Sequence[Cell], now: float) -> None:
        """Record what a look found, and the cells that it adds to the plan."""
        rows = [(one.seeds, one.variant, now, one.difference, one.p, one.p_equivalent, one.verdict) for one in found]
        with self._transaction() as db:
            db.executemany("INSERT OR IGNORE INTO look VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            self._plan(db, cells, now)
        self._planned(cells)

    # --- searches --------------------------------------------------------------------------------------------

    def suggest(self, one: Suggestion, cells: Sequence[Cell], now: float) -> None:
        """Record what a search suggests, and its cells."""
        row = (
            one.variant, one.repeat, one.number, now, _json(one.params), one.trial, one.same_as, one.refused,
            one.left_out,
        )  # fmt: skip
        with self._transaction() as db:
            db.execute("INSERT INTO suggestion VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            self._plan(db, cells, now)
        self._planned(cells)

    def choose(
        self, variant: str, repeat: int, number: int | None, why: str, cells: Sequence[Cell], now: float
    ) -> None:
        """Record what a search found, and the cells that confirm it."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO choice VALUES (?, ?, ?, ?, ?)", (variant, repeat, number, why, now))
            self._plan(db, cells, now)
        self._planned(cells)

    def suggestions(self) -> list[Suggestion]:
        """Return everything that searches of this study have ever tried, by variant, repeat and number."""
        columns = "variant, repeat, number, params, trial, same_as, refused, left_out"
        rows = self._db.execute(f"SELECT {columns} FROM suggestion ORDER BY variant, repeat, number")
        return [
            Suggestion(variant, repeat, number, json.loads(params), *rest)
            for variant, repeat, number, params, *rest in rows
        ]

    def choices(self) -> dict[tuple[str, int], tuple[int | None, str]]:
        """Return what each search chose and why, by variant and repeat."""
        rows = self._db.execute("SELECT variant, repeat, number, why FROM choice")
        return {(variant, repeat): (number, why) for variant, repeat, number, why in rows}

    def later_cells(self) -> list[Cell]:
        """Return the cells of the spec that holds that searches have added, in the order in which they did."""
        query = (
            "SELECT stage, variant, cell.seed, stream, id, settings, data, repeat, cell.number FROM cell "
            "JOIN trial ON trial.number = cell.trial WHERE stage <> ? ORDER BY trial.number"
        )
        rows = self._db.execute(query, (FIXED,))
        return [
            Cell(stage, variant, seed, stream, trial, json.loads(settings), *rest)
            for stage, variant, seed, stream, trial, settings, *rest in rows
        ]

    def curves(self, metrics: Sequence[str], trial: str | None = None) -> dict[str, dict[int, Sequence[float]]]:
        """Return what trials reported, of the search's or of one alone: trial -> step -> the values of these metrics.

        NaN where one could not be computed.
        """
        these = f"IN (SELECT trial FROM cell WHERE stage = '{SEARCH}')" if trial is None else "= ?"
        places = ", ".join("?" * len(metrics))
        rows = self._db.execute(
            f"SELECT id, step, metric, value FROM report JOIN trial ON trial.number = report.trial "
            f"WHERE report.trial {these} AND metric IN ({places})",
            [*([] if trial is None else [self._numbers[trial]]), *metrics],
        )
        found: dict[str, dict[int, list[float]]] = {}
        for identity, step, metric, value in rows:
            points = found.setdefault(identity, {}).setdefault(step, [math.nan] * len(metrics))
            points[metrics.index(metric)] = math.nan if value is None else value
        return {identity: dict(curve) for identity, curve in found.items()}

    def decisions(self) -> dict[tuple[str, int], str]:
        """Return every decision of a scheduler: (trial, step) -> what."""
        query = "SELECT id, rung, what FROM decision JOIN trial ON trial.number = decision.trial"
        return {(trial, rung): what for trial, rung, what in self._db.execute(query)}

    def stopped_under(self, trial: str) -> dict[str, Any] | None:
        """Return the spec that held when a trial was stopped; None if it was not."""
        query = (
            "SELECT resolved FROM decision d JOIN spec s ON s.at <= d.at WHERE d.trial = ? AND d.what = ? "
            "ORDER BY d.rung DESC, s.number DESC LIMIT 1"
        )
        row = self._db.execute(query, (self._numbers[trial], STOP)).fetchone()
        return None if row is None else dict(json.loads(row[0]))

    def go_on(self, trial: str) -> None:
        """Plan a stopped trial again: another search needs it. The decision that stopped it holds no more."""
        number = self._numbers[trial]
        with self._transaction() as db:
            db.execute("UPDATE decision SET what = ? WHERE trial = ? AND what = ?", (CONTINUE, number, STOP))
            db.execute("UPDATE trial SET state = ? WHERE number = ?", (PLANNED, number))
        self.states[trial] = PLANNED

    def settings(self, trial: str) -> dict[str, Any]:
        """Return the whole settings of a trial."""
        (text,) = self._db.execute("SELECT settings FROM trial WHERE id = ?", (trial,)).fetchone()
        return dict(json.loads(text))

    def reached(self, trial: str) -> int:
        """Return the last step that a trial reported; 0 if there is none."""
        query = "SELECT coalesce(max(step), 0) FROM step WHERE trial = ?"
        return int(self._db.execute(query, (self._numbers[trial],)).fetchone()[0])

    def scored(self, data: str, version: str) -> dict[str, str | None]:
        """Return the methods beside the trials that were scored on these images by this version of the trainer.

        The value is the SHA-256 of a trained model's file, or None for a method that learns nothing.
        """
        query = "SELECT method, weights FROM scored WHERE data = ? AND version = ?"
        return dict(self._db.execute(query, (data, version)))

    def keep_models(self, weights: Mapping[str, str]) -> None:
        """Forget the scores of every trained model but these: name -> SHA-256 of its file."""
        with self._transaction() as db:
            known = db.execute("SELECT method, data, weights FROM scored WHERE weights IS NOT NULL").fetchall()
            gone = [(method, data) for method, data, digest in known if weights.get(method) != digest]
            _forget(db, gone)

    def refer(
        self, data: str, reports: Mapping[str, Any], *, version: str, weights: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """Record the scores and pictures of methods that stand beside the trials, in place of what they had.

        Args:
            data: digest of the images.
            reports: for each method a report; its pictures are paths in the storage.
            version: the trainer's results version.
            weights: for each method that is a trained model, the SHA-256 of its file.
        """
        images = [(method, one) for method, report in reports.items() for one in report.images]
        scores = [
            (method, data, one.set, one.image, metric, _number(value))
            for method, one in images
            for metric, value in one.metrics.items()
        ]
        pictures = [
            (method, data, name, str(path))
            for method, report in reports.items()
            for name, path in report.pictures.items()
        ]
        made = [(method, data, version, weights.get(method)) for method in reports]
        with self._transaction() as db:
            _forget(db, [(method, data) for method in reports])
            db.executemany("INSERT INTO reference VALUES (?, ?, ?, ?, ?, ?)", scores)
            db.executemany("INSERT INTO reference_picture VALUES (?, ?, ?, ?)", pictures)
            db.executemany("INSERT INTO scored VALUES (?, ?, ?, ?)", made)

    def show(self, scenes: Iterable[tuple[str, str, str]]) -> None:
        """Record which scene each evaluation image shows: (set, image, scene)."""
        with self._transaction() as db:
            db.execute("DELETE FROM scene")
            db.executemany("INSERT INTO scene VALUES (?, ?, ?)", scenes)

    def cells(self) -> dict[tuple[str, int], str]:
        """Return the trial of every cell of the fixed stage of the spec that holds, by variant and seed."""
        query = "SELECT variant, cell.seed, id FROM cell JOIN trial ON trial.number = cell.trial WHERE stage = ?"
        return {(variant, seed): trial for variant, seed, trial in self._db.execute(query, (FIXED,))}

    def started(self) -> bool:
        """Whether any trial of this study was ever started."""
        return self._db.execute("SELECT 1 FROM attempt LIMIT 1").fetchone() is not None

    def change(self) -> str:
        """Return a text that is another one after every change of what a report shows."""
        tables = (
            "step", "event", "attempt", "attempt WHERE ended IS NOT NULL", "deviation", "spec", "suggestion", "choice",
            "cell", "look",
        )  # fmt: skip
        counts = [self._db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables]
        shown = [self.get(key) for key in ("storage", "metrics", "inert", "search", "confirm", "expected")]
        shown.append(self._db.execute("SELECT * FROM scored").fetchall())
        return f"{'-'.join(map(str, counts))}-{hashlib.sha256(_json(shown).encode()).hexdigest()[:16]}"

    # --- drivers ---------------------------------------------------------------------------------------------

    def begin_driver(self, record: Mapping[str, Any], now: float) -> None:
        """Record that this process runs the study, and take over what dead drivers left RUNNING."""
        self.recover()
        with self._transaction() as db:
            db.execute("UPDATE driver SET ended = ? WHERE ended IS NULL", (now,))
            db.execute("DELETE FROM study WHERE key = 'reason'")
            row = (now, socket.gethostname(), os.getpid(), _json(record))
            self.driver = int(
                db.execute("INSERT INTO driver (started, host, pid, record) VALUES (?, ?, ?, ?)", row).lastrowid or 0
            )

    def recover(self) -> None:
        """End the attempts that dead drivers left, when they were last heard of: what comes after was not training."""
        for trial in [trial for trial, state in self.states.items() if state == RUNNING]:
            self._break_off(trial, "lost", self._last_sign(trial))

    def end_driver(self, now: float, reason: str = "") -> None:
        """Record that this process runs the study no more, and why trials are left; what still runs is interrupted."""
        for trial in [trial for trial, state in self.states.items() if state == RUNNING]:
            self._break_off(trial, "interrupted", now)
        with self._transaction() as db:
            db.execute("UPDATE driver SET ended = ? WHERE number = ?", (now, self.driver))
            if reason:
                db.execute("INSERT OR REPLACE INTO study VALUES ('reason', ?)", (_json(reason),))

    def _break_off(self, trial: str, outcome: str, now: float) -> None:
        """Plan a running trial again; one that was to be stopped has ended, though its driver could not say so."""
        last = "SELECT max(step) FROM step WHERE trial = :trial"
        query = f"SELECT 1 FROM decision WHERE trial = :trial AND what = '{STOP}' AND rung = ({last})"
        if self._db.execute(query, {"trial": self._numbers[trial]}).fetchone():
            self.end(trial, STOPPED, now)
        else:
            self.release(trial, outcome, now)

    # --- trials ----------------------------------------------------------------------------------------------

    def resume(self, trial: str) -> Resume | None:
        """Return from where a trial goes on, or None from its start."""
        query = "SELECT step, checkpoint, seconds FROM step WHERE trial = ? AND checkpoint IS NOT NULL"
        row = self._db.execute(f"{query} ORDER BY step DESC LIMIT 1", (self._numbers[trial],)).fetchone()
        return None if row is None else Resume(*row)

    def begin(self, trial: str, record: Mapping[str, Any], now: float) -> None:
        """Record that an attempt at a trial begins, and where. Rows past its last checkpoint go: they come again."""
        number, resume = self._numbers[trial], self.resume(trial)
        step = resume.step if resume else 0
        with self._transaction() as db:
            for table in ("step", "report", "image", "event"):
                db.execute(f"DELETE FROM {table} WHERE trial = ? AND step > ?", (number, step))
            (last,) = db.execute("SELECT coalesce(max(number), 0) FROM attempt WHERE trial = ?", (number,)).fetchone()
            row = (number, last + 1, self.driver, now, step, _json(record))
            columns = "(trial, number, driver, started, resumed_step, record)"
            db.execute(f"INSERT INTO attempt {columns} VALUES (?, ?, ?, ?, ?, ?)", row)
            db.execute(
                "UPDATE trial SET state = ?, kind = NULL, message = NULL, ended = NULL, "
                "started = coalesce(started, ?) WHERE number = ?",
                (RUNNING, now, number),
            )
        self.states[trial] = RUNNING

    def report(self, trial: str, result: Mapping[str, Any], now: float, decision: str | None = None) -> None:
        """Record one report of a trial: its step, metrics, image scores, checkpoint, pictures and events.

        Args:
            trial: the identity.
            result: what the worker sent, see `trials.trainable`.
            now: when it came, in seconds since 1970.
            decision: what a scheduler decided on it, if anything.
        """
        number, step = self._numbers[trial], int(result["step"])
        metrics = [(number, step, key, _number(value)) for key, value in result["metrics"].items()]
        images = [
            (number, step, one["set"], one["image"], key, _number(value))
            for one in result["images"]
            for key, value in one["metrics"].items()
        ]
        events = [
            (number, int(one["step"]), one["kind"], one["subject"], _number(one["value"]), one["text"])
            for one in result["events"]
        ]
        row = (
            number,
            step,
            now,
            result["seconds"],
            result["checkpoint"],
            _json(result["pictures"]),
        )
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO step VALUES (?, ?, ?, ?, ?, ?)", row)
            db.executemany("INSERT OR REPLACE INTO report VALUES (?, ?, ?, ?)", metrics)
            db.executemany("INSERT OR REPLACE INTO image VALUES (?, ?, ?, ?, ?, ?)", images)
            db.executemany("INSERT OR REPLACE INTO event VALUES (?, ?, ?, ?, ?, ?)", events)
            if decision is not None:
                db.execute("INSERT OR IGNORE INTO decision VALUES (?, ?, ?, ?)", (number, step, decision, now))

    def end(self, trial: str, state: str, now: float, *, kind: str | None = None, message: str | None = None) -> None:
        """Record that a trial ended in `state`, one of `analysis.schema.STATES`."""
        number = self._numbers[trial]
        with self._transaction() as db:
            db.execute(
                "UPDATE attempt SET ended = ?, outcome = ? WHERE trial = ? AND ended IS NULL", (now, state, number)
            )
            db.execute(
                "UPDATE trial SET state = ?, kind = ?, message = ?, ended = ? WHERE number = ?",
                (state, kind, message, now, number),
            )
        self.states[trial] = state

    def release(self, trial: str, outcome: str, now: float) -> None:
        """Record that an attempt was lost, interrupted, or found the disk full, no storage, the memory too small.

        The trial is planned again, from its last checkpoint.
        """
        number = self._numbers[trial]
        with self._transaction() as db:
            db.execute(
                "UPDATE attempt SET ended = ?, outcome = ? WHERE trial = ? AND ended IS NULL", (now, outcome, number)
            )
            db.execute("UPDATE trial SET state = ? WHERE number = ?", (PLANNED, number))
        self.states[trial] = PLANNED

    def forget_checkpoint(self, trial: str, now: float) -> None:
        """Record that a trial's last checkpoint is damaged: it is planned again, from the one before or anew."""
        resume = self.resume(trial)
        if resume is not None:
            row = (self._numbers[trial], resume.step)
            with self._transaction() as db:
                db.execute("UPDATE step SET checkpoint = NULL WHERE trial = ? AND step = ?", row)
        self.release(trial, "checkpoint", now)

    def retry(self, trials: Iterable[str]) -> None:
        """Plan trials that FAILED again."""
        rows = [(PLANNED, self._numbers[trial]) for trial in trials]
        with self._transaction() as db:
            db.executemany("UPDATE trial SET state = ? WHERE number = ?", rows)
            db.execute("DELETE FROM choice")  # what a search found may be another now
            db.execute("DELETE FROM cell WHERE stage = ?", (CONFIRM,))
        for trial in trials:
            self.states[trial] = PLANNED

    def value(self, trial: str, metric: str) -> float:
        """Return a metric's value at a trial's last report; NaN if it could not be computed."""
        query = "SELECT value FROM report WHERE trial = ? AND metric = ? ORDER BY step DESC LIMIT 1"
        row = self._db.execute(query, (self._numbers[trial], metric)).fetchone()
        return math.nan if row is None or row[0] is None else float(row[0])

    def completed(self, metric: str) -> list[tuple[str, float]]:
        """Return every completed trial in the order of their ends, with a metric's value at its last report."""
        query = (
            "SELECT id, (SELECT value FROM report WHERE report.trial = trial.number AND metric = ? "
            "ORDER BY step DESC LIMIT 1) FROM trial WHERE state = ? ORDER BY ended"
        )
        rows = self._db.execute(query, (metric, COMPLETED))
        return [(trial, math.nan if value is None else value) for trial, value in rows]

    def pictures(self, *trials: str) -> dict[str, list[str]]:
        """Return the last pictures of these trials, or of every completed one, as paths below the storage."""
        query = (
            "SELECT id, (SELECT pictures FROM step WHERE step.trial = trial.number AND pictures <> '{}' "
            "ORDER BY step DESC LIMIT 1) FROM trial WHERE "
        )
        if trials:
            rows = self._db.execute(f"{query} id IN (SELECT value FROM json_each(?))", (_json(trials),))
        else:
            rows = self._db.execute(f"{query} state = ?", (COMPLETED,))
        return {trial: list(json.loads(found or "{}").values()) for trial, found in rows}

    def lacked_memory(self) -> set[str]:
        """Return the trials of which an attempt found the memory too small."""
        query = "SELECT DISTINCT id FROM attempt JOIN trial ON trial.number = attempt.trial WHERE outcome = 'memory'"
        return {trial for (trial,) in self._db.execute(query)}

    def _last_sign(self, trial: str) -> float:
        """Return when the running attempt at a trial was last heard of."""
        query = (
            "SELECT max(coalesce((SELECT max(at) FROM step WHERE step.trial = attempt.trial), 0), started) "
            "FROM attempt WHERE trial = ? AND ended IS NULL"
        )
        return float(self._db.execute(query, (self._numbers[trial],)).fetchone()[0])

    def losses(self, trial: str) -> int:
        """Return how many attempts of this driver at a trial were lost in a row, with no checkpoint between.

        Those that died with their driver say nothing about the trial.
        """
        query = (
            "SELECT outcome, resumed_step FROM attempt WHERE trial = ? AND driver = ? AND ended IS NOT NULL "
            "ORDER BY number DESC"
        )
        rows = self._db.execute(query, (self._numbers[trial], self.driver)).fetchall()
        count = 0
        for outcome, step in rows:
            if outcome != "lost" or step != rows[0][1]:
                break
            count += 1
        return count

    def spent_s(self, now: float, stage: str | None = None) -> float:
        """Return the seconds of training so far, over all attempts, those running included; of one stage, or of all."""
        these = "" if stage is None else " WHERE trial IN (SELECT trial FROM cell WHERE stage = ?)"
        query = f"SELECT total(coalesce(ended, ?) - started) FROM attempt{these}"
        return float(self._db.execute(query, (now, *([] if stage is None else [stage]))).fetchone()[0])

    def span(self) -> tuple[float, float]:
        """Return when the first attempt began and the last one ended, in seconds since 1970."""
        first, last = self._db.execute("SELECT min(started), max(ended) FROM attempt").fetchone()
        return float(first), float(last)

    def close(self) -> None:
        """Close the ledger, with everything in its one file if there is room, and let another driver have it."""
        if self._lock.closed:
            return
        try:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL:  # the file beside it then goes on holding what it lacks
                raise
        self._db.close()
        self._lock.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db
            self._db.execute("COMMIT")
        except BaseException as error:
            if self._db.in_transaction:  # else SQLite has rolled it back itself
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError):
                raise _unusable(self.folder, error) from error
            raise


def _unusable(folder: Path, error: sqlite3.DatabaseError) -> LedgerError:
    """Return what to say of a ledger that SQLite cannot read or write."""
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return LedgerError(full(folder, str(error)))
    if not isinstance(error, sqlite3.OperationalError):
        what = "is no ledger, or damaged; put back a copy, or choose another --results folder"
        return LedgerError(f"{folder / 'ledger.db'} {what} ({error})")
    return LedgerError(unwritable(folder / "ledger.db", str(error)))


def _locked(path: Path) -> Any:
    """Return an open file that holds the study's lock; the kernel frees it when the process ends, however it ends."""
    file = path.open("a+")
    for _ in range(LOOKS):  # one that only looks at the lock holds it for microseconds
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError:
            time.sleep(LOOK_S)
    else:
        file.seek(0)
        holder = file.read().strip() or "another process"
        raise LedgerError(f"{path.parent}: {holder} is running this study; wait for it, or stop it first") from None
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
    return file


def _forget(db: sqlite3.Connection, methods: Sequence[tuple[str, str]]) -> None:
    """Remove what these methods, (name, digest of the images) each, were scored."""
    for table in ("reference", "reference_picture", "scored"):
        db.executemany(f"DELETE FROM {table} WHERE method = ? AND data = ?", methods)


def _variant_rows(variants: Sequence[Variant]) -> list[tuple[Any, ...]]:
    return [
        (one.name, number, one.component, one.compared_to, int(one.present), _json(dict(one.overrides)))
        for number, one in enumerate(variants)
    ]


def _json(value: Any) -> str:
    return json.dumps(value)


def _number(value: float) -> float | None:
    """Return a value as the ledger keeps it: NaN and infinity are no numbers there."""
    return float(value) if math.isfinite(value) else None
