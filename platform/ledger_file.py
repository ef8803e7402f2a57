"""The file of a study's ledger: held by one process, brought to the newest version, written in transactions."""

from __future__ import annotations

import fcntl
import json
import math
import os
import socket
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from analysis import schema
from platform.errors import LedgerError, full, unwritable

__all__ = ["close", "connect", "lock", "remove", "to_json", "to_number", "transaction"]

LOOKS, LOOK_S = 10, 0.02
"""How often a lock that is held is tried, and the seconds between."""


def lock(path: Path) -> IO[str]:
    """Return an open file that holds the study's lock; the kernel frees it when the process ends, however it ends.

    Raises:
        LedgerError: if another process holds it.
    """
    for _ in range(LOOKS):  # one that only looks at the lock holds it for microseconds
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file.fileno()).st_nlink:  # else its last holder has removed it
                break
        time.sleep(LOOK_S)
    else:
        file.seek(0)
        holder = file.read().strip() or "another process"
        raise LedgerError(f"{path.parent}: {holder} is running this study; wait for it, or stop it first") from None
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
    return file


def connect(folder: Path) -> sqlite3.Connection:
    """Open the ledger in `folder` for writing, making it if need be.

    Raises:
        LedgerError: if it is none, is damaged, cannot be written, or is of a version that this program does not know.
    """
    try:
        db = sqlite3.connect(folder / "ledger.db", isolation_level=None)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        _widen_cells(db, folder)
        db.executescript(schema.SCHEMA)  # gives a ledger of an earlier version the tables it lacks
        found = db.execute("SELECT value FROM study WHERE key = 'schema'").fetchone()
        version = None if found is None else json.loads(found[0])
    except sqlite3.DatabaseError as error:
        raise _unusable(folder, error) from error
    if version is None or version in schema.EARLIER:
        with transaction(db, folder):
            db.execute("INSERT OR REPLACE INTO study VALUES ('schema', ?)", (to_json(schema.VERSION),))
    elif version != schema.VERSION:
        raise LedgerError(
            f"{folder / 'ledger.db'}: expected a ledger of version {schema.VERSION}, got version {version}; "
            "run it with the program that wrote it, or choose another --results folder"
        )
    return db


def _widen_cells(db: sqlite3.Connection, folder: Path) -> None:
    """Give the table `cell` of an earlier version the columns that a search needs."""
    there = db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'cell'").fetchone()
    if there and not schema.searchable(db):
        with transaction(db, folder):
            db.execute("ALTER TABLE cell RENAME TO cell_before")
            db.execute(f"CREATE TABLE cell {schema.CELL}")
            db.execute("INSERT INTO cell SELECT stage, variant, 0, 0, seed, trial FROM cell_before")
            db.execute("DROP TABLE cell_before")


@contextmanager
def transaction(db: sqlite3.Connection, folder: Path) -> Iterator[sqlite3.Connection]:
    """Write all that is written within, or none of it.

    Raises:
        LedgerError: if the ledger in `folder` cannot be written.
    """
    try:
        db.execute("BEGIN IMMEDIATE")
        yield db
        db.execute("COMMIT")
    except BaseException as error:
        if db.in_transaction:  # else SQLite has rolled it back itself
            db.execute("ROLLBACK")
        if isinstance(error, sqlite3.OperationalError):
            raise _unusable(folder, error) from error
        raise


def close(db: sqlite3.Connection) -> None:
    """Close a ledger, with everything in its one file if there is room."""
    try:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_FULL:  # the file beside it then goes on holding what it lacks
            raise
    db.close()


def remove(folder: Path, made: Iterable[Path]) -> None:
    """Remove a ledger that is closed, its lock, and these folders up to the first that holds something else."""
    for name in ("ledger.db", "ledger.db-wal", "ledger.db-shm", "driver.lock"):
        (folder / name).unlink(missing_ok=True)
    for one in made:
        try:
            one.rmdir()
        except OSError:
            return


def to_json(value: Any) -> str:
    """Return a value as the ledger keeps what is neither text nor number."""
    return json.dumps(value)


def to_number(value: float) -> float | None:
    """Return a value as the ledger keeps it: NaN and infinity are no numbers there."""
    return float(value) if math.isfinite(value) else None


def _unusable(folder: Path, error: sqlite3.DatabaseError) -> LedgerError:
    """Return what to say of a ledger that SQLite cannot read or write."""
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return LedgerError(full(folder, str(error)))
    if not isinstance(error, sqlite3.OperationalError):
        what = "is no ledger, or damaged; put back a copy, or choose another --results folder"
        return LedgerError(f"{folder / 'ledger.db'} {what} ({error})")
    return LedgerError(unwritable(folder / "ledger.db", str(error)))
