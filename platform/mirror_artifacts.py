"""The files that runs keep, laid out in a folder as MLflow will show them. Large files are linked, not copied."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import pyarrow
from pyarrow import parquet

from analysis.kept import kept
from analysis.schema import COMPLETED, TABLES
from platform.mirror_ledger import ENDED, Facts, Ledger, Trial

__all__ = ["digest", "lay_out_spec", "lay_out_study", "lay_out_trial"]

OPEN_TABLES = ("report", "image", "event")
"""Of these the study's run has the rows of trials that have not ended, since an ended one's run has its own; of every
other table it has all. So a server holds the whole ledger, which `analysis.mlflow_source` reads back."""
_STATES = ", ".join("?" * len(ENDED))
_OPEN = f"SELECT * FROM {{}} WHERE trial IN (SELECT number FROM trial WHERE state NOT IN ({_STATES}))"
# Of two with one name the later one stays: that of the images which the spec names now.
_PICTURES = """
SELECT method, picture, path FROM reference_picture
ORDER BY data = (SELECT json_extract(value, '$') FROM study WHERE key = 'digest'), data
"""
GENERATOR = "generator.pt"
_TYPES = {"TEXT": pyarrow.string(), "INTEGER": pyarrow.int64(), "REAL": pyarrow.float64()}


def lay_out_trial(folder: Path, ledger: Ledger, trial: Trial, storage: Path) -> list[str]:
    """Lay out what an ended trial leaves: curves, image scores, events, last pictures, the generator, a message.

    Returns:
        The files that the ledger names but the storage folder lacks.
    """
    number = trial.begun.number
    image = ledger.columns("image")
    _write(folder / "image_scores.parquet", image, ledger.rows("SELECT * FROM image WHERE trial = ?", number))
    events = ledger.rows("SELECT * FROM event WHERE trial = ?", number)
    if events:
        _write(folder / "events.parquet", ledger.columns("event"), events)
    curves = {"trial": "INTEGER", "step": "INTEGER", "at": "REAL", "seconds": "REAL", "metric": "TEXT", "value": "REAL"}
    _write(folder / "curves.parquet", curves, ledger.rows(
        "SELECT trial, step, at, seconds, metric, value FROM step LEFT JOIN report USING (trial, step) WHERE trial = ?",
        number,
    ))  # fmt: skip
    if trial.message:
        (folder / "message.txt").write_text(trial.message)
    missing = []
    for row in ledger.rows(
        "SELECT pictures FROM step WHERE trial = ? AND pictures <> '{}' ORDER BY step DESC LIMIT 1", number
    ):  # the last report of a training that broke down has none
        for picture, path in json.loads(row["pictures"]).items():
            missing += _keep(folder / "pictures", picture, storage, path, ".png")
    for row in ledger.rows(
        "SELECT checkpoint FROM step WHERE trial = ? AND checkpoint IS NOT NULL ORDER BY step", number
    )[-1:]:
        generator = str(PurePath(row["checkpoint"]).parent / GENERATOR)
        if trial.begun.state == COMPLETED or (storage / generator).is_file():  # a training cut short leaves none
            missing += _keep(folder / "checkpoint", "generator", storage, generator, ".pt")
    return missing


def lay_out_spec(folder: Path, facts: Facts) -> None:
    """Lay out the resolved spec."""
    (folder / "spec.json").write_text(json.dumps(facts.spec, indent=2, sort_keys=True) + "\n")


def lay_out_study(folder: Path, ledger: Ledger, facts: Facts, report: Path) -> list[str]:
    """Lay out what belongs to the study as a whole: spec, report, tables, pictures of what learns nothing.

    Returns:
        The files that the ledger names but the storage folder lacks.
    """
    lay_out_spec(folder, facts)
    for file in _files(report):
        _keep(folder / "report", str(file.relative_to(report)), report, str(file.relative_to(report)), file.suffix)
    (folder / "ledger").mkdir()
    for table in TABLES:
        of_open = table in OPEN_TABLES
        rows = ledger.rows(_OPEN.format(table), *ENDED) if of_open else ledger.rows(f'SELECT * FROM "{table}"')
        _write(folder / "ledger" / f"{table}.parquet", ledger.columns(table), rows)
    missing = []
    for row in ledger.rows(_PICTURES):
        name = f"{row['method']}/{row['picture']}"
        missing += _keep(folder / "pictures", name, facts.storage, row["path"], ".png")
    return missing


def digest(folder: Path) -> str:
    """Return a digest of every file below `folder`, by name and content; '' if there is none."""
    found = hashlib.sha256()
    files = _files(folder)
    for path in files:
        found.update(f"{path.relative_to(folder)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\0".encode())
    return found.hexdigest()[:16] if files else ""


def _files(folder: Path) -> list[Path]:
    """Return every file below a folder, but for hidden ones, which are being written or never were to their end."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


def _write(path: Path, columns: dict[str, str], rows: Sequence[Any]) -> None:
    """Write rows as Parquet; `columns` are their names and SQLite's types, so that a column of NULLs has one too."""
    fields = [pyarrow.field(name, _TYPES[kind]) for name, kind in columns.items()]
    values = list(zip(*rows, strict=True)) or [()] * len(fields)
    arrays = [pyarrow.array(column, field.type) for column, field in zip(values, fields, strict=True)]
    parquet.write_table(pyarrow.Table.from_arrays(arrays, schema=pyarrow.schema(fields)), path)


def _keep(folder: Path, name: str, source: Path, file: str, suffix: str) -> list[str]:
    """Link a file of the folder `source` into `folder` under `name`, with its suffix; return it if it is missing.

    What the ledger names elsewhere counts as missing: it may come from anybody, and what is linked is uploaded.
    """
    found = kept(source, file, suffix)
    place = Path(os.path.normpath(folder / (name if name.endswith(suffix) else name + suffix)))
    if found is None or not place.is_relative_to(folder):
        return [str(source / file)]
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    place.symlink_to(found)
    return []
