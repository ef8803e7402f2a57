"""The ledger's one writer: the driver. Every write is one transaction, idempotent by key, on disk when it returns."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.schema import CONFIRM, FIXED, PLANNED, RUNNING, STOP, STOPPED
from platform import ledger_file
from platform.design import Variant
from platform.errors import LedgerError
from platform.ledger_file import to_json, to_number
from platform.plan import Cell, Looked

__all__ = ["Ledger", "Resume", "Suggestion"]


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
        lacking = [one for one in (folder, *folder.parents) if not one.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._lock = ledger_file.lock(folder / "driver.lock")
        self._new = None if (folder / "ledger.db").exists() else lacking
        """The folders made for a ledger that was not there before, from the innermost."""
        self.db = ledger_file.connect(folder)
        """For reading; what is written is written in a `transaction`."""
        self.numbers: dict[str, int] = {}
        """The number of every trial, by identity; as in the table `trial`, and wherever a row is of a trial."""
        self.states: dict[str, str] = {}
        """The state of every trial, by identity; as in the table `trial`."""
        for number, trial, state in self.db.execute("SELECT number, id, state FROM trial"):
            self.numbers[trial], self.states[trial] = number, state
        odd = [one for one in self.states if one in ("", "..") or Path(one).name != one]  # folders are called so
        if odd:
            raise LedgerError(
                f"{folder / 'ledger.db'} was not written by this program: a trial is called {odd[0][:80]!r}"
            )
        self.driver = 0

    # --- the study -------------------------------------------------------------------------------------------

    def get(self, key: str) -> Any:
        """Return the value of a key of the study, or None."""
        row = self.db.execute("SELECT value FROM study WHERE key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    def put(self, values: Mapping[str, Any]) -> None:
        """Set keys of the study to JSON values."""
        rows = [(key, to_json(value)) for key, value in values.items()]
        with self.transaction() as db:
            db.executemany("INSERT OR REPLACE INTO study VALUES (?, ?)", rows)

    def spec(self) -> dict[str, Any] | None:
        """Return the spec that held last, or None for a new study."""
        row = self.db.execute("SELECT resolved FROM spec ORDER BY number DESC LIMIT 1").fetchone()
        return None if row is None else json.loads(row[0])

    def first_spec(self) -> dict[str, Any] | None:
        """Return the spec that held when the first trial began, by the clock; the first of all if that says none."""
        began = "at <= (SELECT min(started) FROM attempt)"
        row = self.db.execute(
            f"SELECT resolved FROM spec ORDER BY {began} DESC, iif({began}, -number, number) LIMIT 1"
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
        text = to_json(spec)
        changed = self.spec() != json.loads(text)
        with self.planning(cells, now) as db:
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
            db.executemany(
                "UPDATE suggestion SET params = ?, trial = ?, same_as = ?, refused = ?, left_out = ? "
                "WHERE variant = ? AND repeat = ? AND number = ?",
                [
                    (to_json(s.params), s.trial, s.same_as, s.refused, s.left_out, s.variant, s.repeat, s.number)
                    for s in suggestions
                ],
            )

    def transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        """Write all that is written within, or none of it."""
        return ledger_file.transaction(self.db, self.folder)

    @contextmanager
    def planning(self, cells: Sequence[Cell], now: float) -> Iterator[sqlite3.Connection]:
        """Write all that is written within, then cells, and a planned trial for each new identity; or none of it."""
        with self.transaction() as db:
            yield db
            db.executemany(
                "INSERT OR IGNORE INTO trial (id, seed, stream, settings, data, state, planned) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(c.trial, c.seed, c.stream, to_json(c.settings), c.data, PLANNED, now) for c in cells],
            )
            db.executemany(
                "INSERT OR REPLACE INTO cell VALUES (?, ?, ?, ?, ?, (SELECT number FROM trial WHERE id = ?))",
                [(c.stage, c.variant, c.repeat, c.number, c.seed, c.trial) for c in cells],
            )
        for trial in (cell.trial for cell in cells if cell.trial not in self.numbers):
            (self.numbers[trial],) = self.db.execute("SELECT number FROM trial WHERE id = ?", (trial,)).fetchone()
            self.states[trial] = PLANNED

    def show(self, scenes: Iterable[tuple[str, str, str]]) -> None:
        """Record which scene each evaluation image shows: (set, image, scene)."""
        with self.transaction() as db:
            db.execute("DELETE FROM scene")
            db.executemany("INSERT INTO scene VALUES (?, ?, ?)", scenes)

    def cells(self) -> dict[tuple[str, int], str]:
        """Return the trial of every cell of the fixed stage of the spec that holds, by variant and seed."""
        query = "SELECT variant, cell.seed, id FROM cell JOIN trial ON trial.number = cell.trial WHERE stage = ?"
        return {(variant, seed): trial for variant, seed, trial in self.db.execute(query, (FIXED,))}

    def started(self) -> bool:
        """Whether any trial of this study was ever started."""
        return self.db.execute("SELECT 1 FROM attempt LIMIT 1").fetchone() is not None

    def has_checkpoints(self) -> bool:
        """Whether any step of any trial left a checkpoint that was not found to be damaged."""
        return self.db.execute("SELECT 1 FROM step WHERE checkpoint IS NOT NULL LIMIT 1").fetchone() is not None

    # --- looks -----------------------------------------------------------------------------------------------

    def looked(self) -> list[Looked]:
        """Return what the looks have found, where seeds are trained until all is decided."""
        query = "SELECT seeds, variant, difference, p, p_equivalent, verdict FROM look ORDER BY seeds, variant"
        return [Looked(*row) for row in self.db.execute(query)]

    def look(self, found: Sequence[Looked], cells: Sequence[Cell], now: float) -> None:
        """Record what a look found, and the cells that it adds to the plan."""
        rows = [(one.seeds, one.variant, now, one.difference, one.p, one.p_equivalent, one.verdict) for one in found]
        with self.planning(cells, now) as db:
            db.executemany("INSERT OR IGNORE INTO look VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    # --- drivers ---------------------------------------------------------------------------------------------

    def begin_driver(self, record: Mapping[str, Any], now: float) -> None:
        """Record that this process runs the study, and take over what dead drivers left RUNNING."""
        self.recover()
        with self.transaction() as db:
            db.execute("UPDATE driver SET ended = ? WHERE ended IS NULL", (now,))
            db.execute("DELETE FROM study WHERE key = 'reason'")
            row = (now, socket.gethostname(), os.getpid(), to_json(record))
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
        with self.transaction() as db:
            db.execute("UPDATE driver SET ended = ? WHERE number = ?", (now, self.driver))
            if reason:
                db.execute("INSERT OR REPLACE INTO study VALUES ('reason', ?)", (to_json(reason),))

    def _break_off(self, trial: str, outcome: str, now: float) -> None:
        """Plan a running trial again; one that was to be stopped has ended, though its driver could not say so."""
        last = "SELECT max(step) FROM step WHERE trial = :trial"
        query = f"SELECT 1 FROM decision WHERE trial = :trial AND what = '{STOP}' AND rung = ({last})"
        if self.db.execute(query, {"trial": self.numbers[trial]}).fetchone():
            self.end(trial, STOPPED, now)
        else:
            self.release(trial, outcome, now)

    def _last_sign(self, trial: str) -> float:
        """Return when the running attempt at a trial was last heard of."""
        query = (
            "SELECT max(coalesce((SELECT max(at) FROM step WHERE step.trial = attempt.trial), 0), started) "
            "FROM attempt WHERE trial = ? AND ended IS NULL"
        )
        return float(self.db.execute(query, (self.numbers[trial],)).fetchone()[0])

    # --- trials ----------------------------------------------------------------------------------------------

    def resume(self, trial: str) -> Resume | None:
        """Return from where a trial goes on, or None from its start."""
        query = "SELECT step, checkpoint, seconds FROM step WHERE trial = ? AND checkpoint IS NOT NULL"
        row = self.db.execute(f"{query} ORDER BY step DESC LIMIT 1", (self.numbers[trial],)).fetchone()
        return None if row is None else Resume(*row)

    def begin(self, trial: str, record: Mapping[str, Any], now: float) -> None:
        """Record that an attempt at a trial begins, and where. Rows past its last checkpoint go: they come again."""
        number, resume = self.numbers[trial], self.resume(trial)
        step = resume.step if resume else 0
        with self.transaction() as db:
            for table in ("step", "report", "image", "event"):
                db.execute(f"DELETE FROM {table} WHERE trial = ? AND step > ?", (number, step))
            (last,) = db.execute("SELECT coalesce(max(number), 0) FROM attempt WHERE trial = ?", (number,)).fetchone()
            row = (number, last + 1, self.driver, now, step, to_json(record))
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
        number, step = self.numbers[trial], int(result["step"])
        metrics = [(number, step, key, to_number(value)) for key, value in result["metrics"].items()]
        images = [
            (number, step, one["set"], one["image"], key, to_number(value))
            for one in result["images"]
            for key, value in one["metrics"].items()
        ]
        events = [
            (number, int(one["step"]), one["kind"], one["subject"], to_number(one["value"]), one["text"])
            for one in result["events"]
        ]
        row = (number, step, now, result["seconds"], result["checkpoint"], to_json(result["pictures"]))
        with self.transaction() as db:
            db.execute("INSERT OR REPLACE INTO step VALUES (?, ?, ?, ?, ?, ?)", row)
            db.executemany("INSERT OR REPLACE INTO report VALUES (?, ?, ?, ?)", metrics)
            db.executemany("INSERT OR REPLACE INTO image VALUES (?, ?, ?, ?, ?, ?)", images)
            db.executemany("INSERT OR REPLACE INTO event VALUES (?, ?, ?, ?, ?, ?)", events)
            if decision is not None:
                db.execute("INSERT OR IGNORE INTO decision VALUES (?, ?, ?, ?)", (number, step, decision, now))

    def end(self, trial: str, state: str, now: float, *, kind: str | None = None, message: str | None = None) -> None:
        """Record that a trial ended in `state`, one of `analysis.schema.STATES`."""
        number = self.numbers[trial]
        with self.transaction() as db:
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
        number = self.numbers[trial]
        with self.transaction() as db:
            db.execute(
                "UPDATE attempt SET ended = ?, outcome = ? WHERE trial = ? AND ended IS NULL", (now, outcome, number)
            )
            db.execute("UPDATE trial SET state = ? WHERE number = ?", (PLANNED, number))
        self.states[trial] = PLANNED

    def forget_checkpoint(self, trial: str, now: float) -> None:
        """Record that a trial's last checkpoint is damaged: it is planned again, from the one before or anew."""
        resume = self.resume(trial)
        if resume is not None:
            row = (self.numbers[trial], resume.step)
            with self.transaction() as db:
                db.execute("UPDATE step SET checkpoint = NULL WHERE trial = ? AND step = ?", row)
        self.release(trial, "checkpoint", now)

    def retry(self, trials: Iterable[str]) -> None:
        """Plan trials that FAILED again."""
        rows = [(PLANNED, self.numbers[trial]) for trial in trials]
        with self.transaction() as db:
            db.executemany("UPDATE trial SET state = ? WHERE number = ?", rows)
            db.execute("DELETE FROM choice")  # what a search found may be another now
            db.execute("DELETE FROM cell WHERE stage = ?", (CONFIRM,))
        for trial in trials:
            self.states[trial] = PLANNED

    def close(self) -> None:
        """Close the ledger and let another driver have it."""
        if not self._lock.closed:
            ledger_file.close(self.db)
            self._lock.close()

    def discard(self) -> None:
        """Close the ledger of a study that is not to begin, and remove what opening it made; an earlier one stays."""
        if self._new is not None:
            ledger_file.close(self.db)
            ledger_file.remove(self.folder, self._new)
            self._lock.close()
        self.close()


def _variant_rows(variants: Sequence[Variant]) -> list[tuple[Any, ...]]:
    return [
        (one.name, number, one.component, one.compared_to, int(one.present), to_json(dict(one.overrides)))
        for number, one in enumerate(variants)
    ]
