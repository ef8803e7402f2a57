"""A study read back from an MLflow server: its ledger is made again, and everything else reads that.

The mirror (`platform.mirror`) leaves in the study's run every table of the ledger, and in each ended trial's run its
curves, image scores and events. So what is computed from a server equals what is computed from the study's folder, by
construction. What a server lacks is said: an ended trial without a whole run is an error, never left out.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow
from pyarrow import parquet

from analysis import schema
from analysis.errors import StudyError

__all__ = ["Fetched", "fetch_study"]

PAGE = 500
CONNECTIONS = 4
"""Requests to a server at once."""
KNOWN = 20
"""The most names that a message lists."""
SETTINGS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
ENDED = (schema.COMPLETED, schema.STOPPED, schema.DIVERGED, schema.FAILED)
CURVES = ("trial", "step", "at", "metric", "value")
_TYPES = {"TEXT": pyarrow.string(), "INTEGER": pyarrow.int64(), "REAL": pyarrow.float64()}

Rows = list[tuple[Any, ...]]
_Listings = dict[tuple[str, str], set[str]]
"""Run and folder -> the artifacts in it."""


@dataclass(frozen=True)
class Fetched:
    """A study that was read back.

    Args:
        folder: with its ledger, to be read as any study's folder; its storage is there, too.
        parent: the study's run on the server.
        runs: identity of each ended trial -> its run.
    """

    folder: Path
    parent: _Run
    runs: Mapping[str, _Run]

    def bring(self, trials: Iterable[str]) -> None:
        """Fetch the last pictures of some trials, and those of the methods beside them; what is there stays.

        A picture that the server lacks stays missing.

        Args:
            trials: identities.

        Raises:
            StudyError: if the server does not answer.
        """
        storage, there = (self.folder / STORAGE).resolve(), _Listings()
        with closing(sqlite3.connect(self.folder / "ledger.db")) as db, TemporaryDirectory(prefix="pictures-") as place:
            wanted = [(self.parent, name, path) for name, path in db.execute(_BESIDE)]
            for trial in trials:
                last = db.execute(_PICTURES, [trial]).fetchone()
                known = json.loads(last[0]) if last and trial in self.runs else {}
                wanted += [(self.runs[trial], name, path) for name, path in known.items()]
            with self.parent.answering():
                for run, name, path in wanted:
                    _bring(run, name, storage, path, Path(place), there)


STORAGE = "storage"
_OF_STUDIES = "tags.trials LIKE '%' AND tags.ledger LIKE '%'"
_ENDED = f"SELECT number, id, state, ended FROM trial WHERE state IN ({', '.join('?' * len(ENDED))}) ORDER BY number"
_PICTURES = """
SELECT s.pictures FROM step s JOIN trial t ON t.number = s.trial WHERE t.id = ? AND s.pictures <> '{}'
ORDER BY s.step DESC LIMIT 1
"""
# Of two with one name the server has that of the images which the spec names.
_BESIDE = """
SELECT method || '/' || picture, path FROM (SELECT *, row_number() OVER (PARTITION BY method, picture
    ORDER BY data = (SELECT json_extract(value, '$') FROM study WHERE key = 'digest'), data) AS place,
    count(*) OVER (PARTITION BY method, picture) AS places FROM reference_picture)
WHERE place = places ORDER BY method, picture
"""


def fetch_study(uri: str, folder: str | Path, *, experiment: str, study: str | None = None) -> Fetched:
    """Read a study back from an MLflow server or store into a folder: its ledger whole, its pictures when asked for.

        load_trials(fetch_study("http://127.0.0.1:5000", "copy", experiment="components").folder)

    Args:
        uri: of the server or store, such as `sqlite:///results/mlflow.db`.
        folder: a new one.
        experiment: its name there.
        study: the study's name, or the id of its run; needed where the experiment holds several.

    Raises:
        StudyError: if the server does not answer, has no such study, or has not all of it.
    """
    folder = Path(folder)
    if (folder / "ledger.db").exists():
        raise StudyError(f"{folder}: expected a new folder to read a study into, but it holds a ledger")
    server = _Server(uri)
    with server.answering():
        parent = _parent(server, experiment, study)
        runs = _children(server, parent)
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix="mlflow-") as place, closing(sqlite3.connect(folder / "ledger.db")) as db:
            db.executescript(f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; {schema.SCHEMA}")
            try:
                _fill(db, parent, runs, Path(place))
                storage = json.dumps(str((folder / STORAGE).resolve()))
                db.execute("UPDATE study SET value = ? WHERE key = 'storage'", [storage])
                db.commit()
            except BaseException:
                (folder / "ledger.db").unlink()
                raise
    return Fetched(folder, parent, runs)


@dataclass(frozen=True)
class _Server:
    """An MLflow server or store."""

    uri: str

    @property
    def shown(self) -> str:
        """The address without a password."""
        return re.sub(r"(://[^:/@\s]+):[^@/\s]*@", r"\1:***@", self.uri)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Say in a sentence that the server does not answer, or refuses.

        Raises:
            StudyError: in place of whatever MLflow raises.
        """
        if urlsplit(self.uri).scheme.partition("+")[0] == "sqlite":
            _require_store(self.uri)
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        from mlflow.exceptions import MlflowException  # MLflow takes seconds to import
        from requests import RequestException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (MlflowException, RequestException, SQLAlchemyError, OSError) as error:
            reason = " ".join(str(error).split())[:300].replace(self.uri, self.shown)
            raise StudyError(f"MLflow at {self.shown} cannot be read: {reason}") from error

    def client(self) -> Any:
        """Return MLflow's client."""
        from mlflow import MlflowClient

        return MlflowClient(self.uri)

    def runs(self, experiment: str, query: str) -> list[Any]:
        """Return all runs of an experiment that a query finds."""
        client, token, found = self.client(), None, []
        while token != "":
            page = client.search_runs([experiment], query, max_results=PAGE, page_token=token)
            found += page
            token = page.token or ""
        return found


def _require_store(uri: str) -> None:
    """Require a file in which MLflow has made a store: of any other, and of none, it would make one by itself."""
    store = Path(unquote(urlsplit(uri).path)[1:])
    if not store.is_file():
        raise StudyError(f"{uri}: expected an MLflow store, but there is no file {store}")
    try:
        with closing(sqlite3.connect(f"{store.resolve().as_uri()}?mode=ro", uri=True)) as db:
            found = db.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'experiments'").fetchone()
    except sqlite3.DatabaseError as error:
        raise StudyError(f"{uri}: expected an MLflow store, but {store} cannot be read: {error}") from error
    if not found:
        raise StudyError(f"{uri}: expected an MLflow store, but {store} is none: it has no table of experiments")


@dataclass(frozen=True)
class _Run:
    """A run on the server."""

    server: _Server
    id: str
    experiment: str
    artifacts: str
    tags: Mapping[str, str]
    status: str
    end: int

    def answering(self) -> Any:
        """As of its server."""
        return self.server.answering()

    def files(self, below: str | None = None) -> set[str]:
        """Return the paths of the artifacts that lie right in a folder."""
        return {one.path for one in self._repository().list_artifacts(below) if not one.is_dir}

    def fetch(self, path: str, place: Path) -> Path:
        """Return an artifact as a file: where it lies, if this machine has it, else below `place`."""
        repository = self._repository()
        local = getattr(repository, "artifact_dir", None)
        return Path(repository.download_artifacts(path) if local else repository.download_artifacts(path, str(place)))

    def _repository(self) -> Any:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        return get_artifact_repository(self.artifacts, tracking_uri=self.server.uri)


def _run(server: _Server, run: Any) -> _Run:
    info = run.info
    return _Run(
        server, info.run_id, info.experiment_id, info.artifact_uri, dict(run.data.tags), info.status, info.end_time or 0
    )


def _parent(server: _Server, experiment: str, study: str | None) -> _Run:
    """Return the run of the one study that is meant."""
    client, where = server.client(), f"MLflow at {server.shown}"
    known = client.get_experiment_by_name(experiment)
    if known is None or known.lifecycle_stage != "active":
        names = [one.name for one in client.search_experiments(max_results=KNOWN)]
        raise StudyError(f"{where}: no experiment {experiment!r}; there are {', '.join(names) or 'none'}")
    every = [_run(server, one) for one in server.runs(known.experiment_id, _OF_STUDIES)]
    found = [one for one in every if study in (None, one.tags.get("study"), one.id)]
    if len(found) != 1:
        there = "; ".join(f"{one.tags.get('study')} of {one.tags['ledger']}, run {one.id}" for one in every[:KNOWN])
        asked = "one study" if study is None else f"one study {study!r}"
        raise StudyError(
            f"{where}: expected {asked} in the experiment {experiment!r}, got {len(found)}; there are "
            f"{there or 'none'}: name one, by its name or the id of its run"
        )
    (parent,) = found
    if parent.status == "RUNNING" or " " not in parent.tags.get("mirrored", ""):
        raise StudyError(
            f"{where}: {parent.tags.get('study')} is still being trained or copied; its tables come at the end: wait, "
            "or read the study's folder"
        )
    return parent


def _children(server: _Server, parent: _Run) -> dict[str, _Run]:
    """Return the runs of a study's trials by identity; of several of one trial the one that has ended first."""
    name, quote = parent.tags["study"], '"' if "'" in parent.tags["study"] else "'"
    query = f"tags.study = {quote}{name}{quote} AND tags.ledger = '{parent.tags['ledger']}'"
    found: dict[str, _Run] = {}
    for one in sorted((_run(server, one) for one in server.runs(parent.experiment, query)), key=_preference):
        if "trial" in one.tags:
            found.setdefault(one.tags["trial"], one)
    return found


def _preference(run: _Run) -> tuple[bool, int, str]:
    return run.status == "RUNNING", run.end, run.id


def _fill(db: sqlite3.Connection, parent: _Run, runs: Mapping[str, _Run], place: Path) -> None:
    """Put every row that the server has into an empty ledger."""
    there = parent.files("ledger")
    missing = [table for table in schema.TABLES if f"ledger/{table}.parquet" not in there]
    if missing:
        what = f"it lacks the tables {', '.join(missing)}, as runs of earlier versions do"
        raise StudyError(_unwhole(parent, what))
    for table in schema.TABLES:
        columns = _columns(db, table)
        _insert(db, table, _rows(parent, f"ledger/{table}.parquet", columns, place))
    ended = db.execute(_ENDED, ENDED).fetchall()
    for _, identity, state, end in ended:
        run = runs.get(identity)
        if run is None:
            raise StudyError(_unwhole(parent, f"the trial {identity} has no run"))
        if (run.tags.get("state"), run.end) != (state, round(end * 1000)):
            raise StudyError(_unwhole(parent, f"the run of the trial {identity} is of another moment"))
    known = {table: _columns(db, table) for table in ("image", "event")}
    known["curves"] = dict(zip(CURVES, ("INTEGER", "INTEGER", "REAL", "TEXT", "REAL"), strict=True))

    def read(trial: tuple[int, str, str, float]) -> tuple[tuple[int, str, str, float], _Scores]:
        return trial, _scores(runs[trial[1]], known, place)

    for (number, identity, *_), scores in _each(read, ended, at_once=CONNECTIONS if "://" in parent.artifacts else 1):
        steps = db.execute("SELECT step, at FROM step WHERE trial = ? ORDER BY step", [number]).fetchall()
        curved = sorted({(row[1], row[2]) for row in scores.curves})
        numbers = {row[0] for rows in (scores.curves, scores.images, scores.events) for row in rows}
        if steps != curved or not numbers <= {number}:
            raise StudyError(_unwhole(parent, f"the curves of the trial {identity} are of another moment"))
        _insert(db, "report", [(row[0], row[1], *row[3:]) for row in scores.curves if row[3] is not None])
        _insert(db, "image", scores.images)
        _insert(db, "event", scores.events)


@dataclass(frozen=True)
class _Scores:
    """What an ended trial's run holds: rows of the columns of `CURVES`, and of the tables `image` and `event`."""

    curves: Rows
    images: Rows
    events: Rows


def _scores(run: _Run, columns: Mapping[str, Mapping[str, str]], place: Path) -> _Scores:
    there, own = run.files(), place / run.id
    own.mkdir(exist_ok=True)
    events = "events.parquet" in there  # a calm training has none
    found = _Scores(
        curves=_rows(run, "curves.parquet", columns["curves"], own),
        images=_rows(run, "image_scores.parquet", columns["image"], own),
        events=_rows(run, "events.parquet", columns["event"], own) if events else [],
    )
    shutil.rmtree(own)
    return found


def _each(read: Callable[[Any], Any], trials: Sequence[Any], *, at_once: int) -> Iterator[Any]:
    """Read each trial, in their order; from a server several at once, but never many more than are asked for."""
    if at_once == 1:
        yield from map(read, trials)
        return
    with ThreadPoolExecutor(at_once) as pool:
        for first in range(0, len(trials), 8 * at_once):
            yield from pool.map(read, trials[first : first + 8 * at_once])


def _rows(run: _Run, path: str, columns: Mapping[str, str], place: Path) -> Rows:
    """Return the rows of an artifact, a Parquet file with these columns and SQLite's types."""
    from mlflow.exceptions import MlflowException

    try:
        file = run.fetch(path, place)
        table = parquet.ParquetFile(file).read(list(columns))
        fields = pyarrow.schema([pyarrow.field(name, _TYPES[kind]) for name, kind in columns.items()])
        table = table.select(list(columns)).cast(fields)
    except (pyarrow.ArrowException, KeyError) as error:
        raise StudyError(_unwhole(run, f"{path} cannot be read ({' '.join(str(error).split())[:200]})")) from error
    except (FileNotFoundError, MlflowException) as error:
        if path in run.files(path.rpartition("/")[0] or None):
            raise
        raise StudyError(_unwhole(run, f"{path} is missing")) from error
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def _unwhole(run: _Run, what: str) -> str:
    """Return what is not whole, where, and what mends it."""
    who = f"run {run.id} of {run.tags.get('study')}"
    return f"MLflow at {run.server.shown}, {who}: {what}; `python -m platform.mirror STUDY` copies it again"


def _columns(db: sqlite3.Connection, table: str) -> dict[str, str]:
    return {row[1]: row[2] for row in db.execute(f"PRAGMA table_info({table})")}


def _insert(db: sqlite3.Connection, table: str, rows: Rows) -> None:
    try:
        if rows:
            db.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)
    except sqlite3.IntegrityError as error:
        raise StudyError(f"the table {table} on the server is no ledger's: {error}") from error


def _bring(run: _Run, name: str, storage: Path, path: str, place: Path, there: _Listings) -> None:
    """Fetch a picture to where the ledger says it lies, if that is inside the storage and the server has it."""
    artifact = f"pictures/{name}" if name.endswith(".png") else f"pictures/{name}.png"
    to = Path(os.path.normpath(storage / path))
    if os.path.normpath(artifact) != artifact or not to.is_relative_to(storage) or to.is_file():
        return
    below = artifact.rpartition("/")[0]
    if (run.id, below) not in there:
        there[run.id, below] = run.files(below)
    if artifact in there[run.id, below]:
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run.fetch(artifact, place), to)
