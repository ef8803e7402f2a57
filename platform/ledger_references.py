"""The methods beside the trials in a study's ledger, such as the untouched input or published weights."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from platform.ledger import Ledger
from platform.ledger_file import to_number

__all__ = ["keep_models", "refer", "scored"]


def scored(ledger: Ledger, data: str, version: str) -> dict[str, str | None]:
    """Return the methods beside the trials that were scored on these images by this version of the trainer.

    The value is the SHA-256 of a trained model's file, or None for a method that learns nothing.
    """
    query = "SELECT method, weights FROM scored WHERE data = ? AND version = ?"
    return dict(ledger.db.execute(query, (data, version)))


def keep_models(ledger: Ledger, weights: Mapping[str, str]) -> None:
    """Forget the scores of every trained model but these: name -> SHA-256 of its file."""
    with ledger.transaction() as db:
        known = db.execute("SELECT method, data, weights FROM scored WHERE weights IS NOT NULL").fetchall()
        gone = [(method, data) for method, data, digest in known if weights.get(method) != digest]
        _forget(db, gone)


def refer(
    ledger: Ledger,
    data: str,
    reports: Mapping[str, Any],
    *,
    version: str,
    weights: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Record the scores and pictures of methods that stand beside the trials, in place of what they had.

    Args:
        ledger: open for writing.
        data: digest of the images.
        reports: for each method a report; its pictures are paths in the storage.
        version: the trainer's results version.
        weights: for each method that is a trained model, the SHA-256 of its file.
    """
    images = [(method, one) for method, report in reports.items() for one in report.images]
    scores = [
        (method, data, one.set, one.image, metric, to_number(value))
        for method, one in images
        for metric, value in one.metrics.items()
    ]
    pictures = [
        (method, data, name, str(path)) for method, report in reports.items() for name, path in report.pictures.items()
    ]
    made = [(method, data, version, weights.get(method)) for method in reports]
    with ledger.transaction() as db:
        _forget(db, [(method, data) for method in reports])
        db.executemany("INSERT INTO reference VALUES (?, ?, ?, ?, ?, ?)", scores)
        db.executemany("INSERT INTO reference_picture VALUES (?, ?, ?, ?)", pictures)
        db.executemany("INSERT INTO scored VALUES (?, ?, ?, ?)", made)


def _forget(db: sqlite3.Connection, methods: Sequence[tuple[str, str]]) -> None:
    """Remove what these methods, (name, digest of the images) each, were scored."""
    for table in ("reference", "reference_picture", "scored"):
        db.executemany(f"DELETE FROM {table} WHERE method = ? AND data = ?", methods)
