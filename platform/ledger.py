"""The ledger's one writer: the driver. Every write is one transaction, idempotent by key, on disk when it returns."""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import socket
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from analysis import schema
from analysis.schema import PLANNED, RUNNING
from platform.design import Variant
from platform.errors import LedgerError, full
from platform.plan import Cell

__all__ = ["Ledger", "Resume"]


@dataclass(frozen=True)
class Resume:
    """From where a trial goes on: the last step that left a checkpoint, and that checkpoint's path in the storage."""

    step: int
    checkpoint: str
    seconds: float


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
        self._db = sqlite3.connect(folder / "ledger.db", isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(schema.SCHEMA)  # gives a ledger of an earlier version the tables it lacks
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
        self.driver = 0

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

    def accept(
        self, spec: Mapping[str, Any], variants: Sequence[Variant], cells: Sequence[Cell], *, data: str, now: float
    ) -> None:
        """Make `spec` the one that holds: its variants, its cells and a planned trial for each new identity."""
        text = _json(spec)
        changed = self.spec() != json.loads(text)
        with self._transaction() as db:
            if changed:
                db.execute("INSERT INTO spec (at, resolved) VALUES (?, ?)", (now, text))
            db.execute("DELETE FROM variant")
            db.executemany("INSERT INTO variant VALUES (?, ?, ?, ?, ?, ?)", _variant_rows(variants))
            db.executemany(
                "INSERT OR IGNORE INTO trial (id, seed, stream, settings, data, state, planned) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(c.trial, c.seed, c.stream, _json(c.settings), data, PLANNED, now) for c in cells],
            )
            numbers = dict(db.execute("SELECT id, number FROM trial"))
            db.execute("DELETE FROM cell")
            db.executemany(
                "INSERT INTO cell VALUES (?, ?, ?, ?)", [(c.stage, c.variant, c.seed, numbers[c.trial]) for c in cells]
            )
        self._numbers = numbers
        for cell in cells:
            self.states.setdefault(cell.trial, PLANNED)

    def deviate(self, texts: Iterable[str], now: float) -> None:
        """Record what was changed after the first trial; belongs to the spec that holds."""
        with self._transaction() as db:
            (spec,) = db.execute("SELECT max(number) FROM spec").fetchone()
            db.executemany("INSERT INTO deviation (at, spec, text) VALUES (?, ?, ?)", [(now, spec, t) for t in texts])

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

    def cells(self) -> dict[tuple[str, str, int], str]:
        """Return the trial of every cell of the spec that holds, by stage, variant and seed."""
        query = "SELECT stage, variant, cell.seed, id FROM cell JOIN trial ON trial.number = cell.trial"
        return {(stage, variant, seed): trial for stage, variant, seed, trial in self._db.execute(query)}

    def started(self) -> bool:
        """Whether any trial of this study was ever started."""
        return self._db.execute("SELECT 1 FROM attempt LIMIT 1").fetchone() is not None

    def change(self) -> str:
        """Return a text that is another one after every change of what a report shows."""
        tables = ("step", "event", "attempt", "attempt WHERE ended IS NOT NULL", "deviation", "spec")
        counts = [self._db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables]
        shown = [self.get("metrics"), self.get("inert"), self._db.execute("SELECT * FROM scored").fetchall()]
        return f"{'-'.join(map(str, counts))}-{hashlib.sha256(_json(shown).encode()).hexdigest()[:16]}"

    # --- drivers ---------------------------------------------------------------------------------------------

    def begin_driver(self, record: Mapping[str, Any], now: float) -> None:
        """Record that this process runs the study, and take over what dead drivers left RUNNING."""
        with self._transaction() as db:
            db.execute("UPDATE driver SET ended = ? WHERE ended IS NULL", (now,))
            row = (now, socket.gethostname(), os.getpid(), _json(record))
            self.driver = int(
                db.execute("INSERT INTO driver (started, host, pid, record) VALUES (?, ?, ?, ?)", row).lastrowid or 0
            )
        for trial in [trial for trial, state in self.states.items() if state == RUNNING]:
            self.release(trial, "lost", self._last_sign(trial))

    def end_driver(self, now: float) -> None:
        """Record that this process runs the study no more; what still runs is interrupted."""
        for trial in [trial for trial, state in self.states.items() if state == RUNNING]:
            self.release(trial, "interrupted", now)
        with self._transaction() as db:
            db.execute("UPDATE driver SET ended = ? WHERE number = ?", (now, self.driver))

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

    def report(self, trial: str, result: Mapping[str, Any], now: float) -> None:
        """Record one report of a trial: its step, metrics, image scores, checkpoint, pictures and events.

        Args:
            trial: the identity.
            result: what the worker sent, see `trials.trainable`.
            now: when it came, in seconds since 1970.
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
        """Record that an attempt was lost, interrupted, or found the disk full.

        The trial is planned again, from its last checkpoint.
        """
        number = self._numbers[trial]
        with self._transaction() as db:
            db.execute(
                "UPDATE attempt SET ended = ?, outcome = ? WHERE trial = ? AND ended IS NULL", (now, outcome, number)
            )
            db.execute("UPDATE trial SET state = ? WHERE number = ?", (PLANNED, number))
        self.states[trial] = PLANNED

    def _last_sign(self, trial: str) -> float:
        """Return when the running attempt at a trial was last heard of."""
        query = (
            "SELECT max(coalesce((SELECT max(at) FROM step WHERE step.trial = attempt.trial), 0), started) "
            "FROM attempt WHERE trial = ? AND ended IS NULL"
        )
        return float(self._db.execute(query, (self._numbers[trial],)).fetchone()[0])

    def losses(self, trial: str) -> int:
        """Return how many attempts at a trial were lost in a row, with no checkpoint between."""
        query = "SELECT outcome, resumed_step FROM attempt WHERE trial = ? AND ended IS NOT NULL ORDER BY number DESC"
        rows = self._db.execute(query, (self._numbers[trial],)).fetchall()
        count = 0
        for outcome, step in rows:
            if outcome != "lost" or step != rows[0][1]:
                break
            count += 1
        return count

    def spent_s(self, now: float) -> float:
        """Return the seconds of training so far, over all attempts, those running included."""
        return float(self._db.execute("SELECT total(coalesce(ended, ?) - started) FROM attempt", (now,)).fetchone()[0])

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
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
            self._db.execute("COMMIT")
        except BaseException as error:
            if self._db.in_transaction:  # else SQLite has rolled it back itself
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise LedgerError(full(self.folder, str(error))) from error
            raise


def _locked(path: Path) -> Any:
    """Return an open file that holds the study's lock; the kernel frees it when the process ends, however it ends."""
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
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
    return json.dumps(value, sort_keys=True)


def _number(value: float) -> float | None:
    """Return a value as the ledger keeps it: NaN and infinity are no numbers there."""
    return float(value) if math.isfinite(value) else None
