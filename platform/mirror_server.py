"""What an MLflow server holds of a ledger. It is found out from the server alone, so that nothing can contradict it."""

from __future__ import annotations

import filecmp
import posixpath
import socket
import sqlite3
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlsplit

from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.store.db import utils as database
from mlflow.store.tracking.rest_store import RestStore
from mlflow.tracking._tracking_service.registry import TrackingStoreRegistry
from mlflow.utils.rest_utils import http_request_safe
from requests.utils import get_environ_proxies

from platform.mirror_content import experiment_tags, ledger_tag, milliseconds
from platform.mirror_ledger import Facts

__all__ = [
    "MAKER", "Held", "Run", "connect", "connections", "file_of", "find_experiment", "find_runs", "histories", "stores",
]  # fmt: skip

CONNECTIONS = 4
"""Requests to a server at once: it spends most of a request waiting for its disk."""
CONNECTION_S = 10.0
"""How long a server's system may take to take a connection; the server itself has longer to answer."""
ARTIFACTS = "mlartifacts"
MAKER = "maker"
"""The tag of a run that says which folder of which machine it was first copied from."""
PAGE = 500
MOST_POINTS = 25_000
"""That a server gives at once."""
MOST_FETCHED_B = 2**20
"""The largest artifact that is fetched from a server to be compared: tables and pictures, no weights."""
HISTORIES = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
"""What MLflow's own pages draw curves of several runs with; its Python client asks for one run at a time."""

Held = tuple[int, int, float]
"""A point as the server has it: step, milliseconds since 1970, value."""


@dataclass
class Run:
    """What the server holds of one run."""

    id: str
    artifacts: str
    """Where its artifacts lie."""
    signature: tuple[str, str, int | None]
    """As in `platform.mirror_content.Wanted`."""
    tags: dict[str, str]
    metrics: dict[str, float]
    """The last value of each."""
    params: dict[str, str] = field(default_factory=dict)
    """Until it has been examined."""
    data_sets: frozenset[str] = frozenset()
    """Digests of its inputs."""
    name: str = ""
    sent: int = -1
    """Up to which step this process has sent its metrics; -1: not even its parameters."""

    @classmethod
    def found(cls, run: Any) -> Run:
        """Return what MLflow's own object says."""
        info, tags = run.info, dict(run.data.tags)
        end = None if info.status == "RUNNING" else info.end_time
        signature = (tags.get("mirrored", ""), info.status, end)
        inputs = run.inputs.dataset_inputs if run.inputs else []
        digests = frozenset(one.dataset.digest for one in inputs)
        metrics, params = dict(run.data.metrics), dict(run.data.params)
        return cls(info.run_id, info.artifact_uri, signature, tags, metrics, params, digests, info.run_name)

    def spoil(self) -> None:
        """Let it be sent whole again, whatever it shows."""
        self.signature = ("", *self.signature[1:])


def connect(uri: str) -> MlflowClient:
    """Return a client of a server or store, or fail soon: where it follows a study, `platform.mirror` tries again.

    By itself MLflow tries a database ten times, over 101 s, and waits for a connection as long as for an answer. It
    also keeps a database's connections as long as the process lives: of a SQLite store that was deleted or replaced,
    those would go on writing to a file that nobody can see. So a store is opened anew, which takes 0.1 s.

    Raises:
        OSError: if nothing takes a connection at the server's address.
        Exception: the database's own, if it cannot be opened.
    """
    database.MAX_RETRY_COUNT = 1
    if _sqlite(uri):
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # loads what a server does not need

        if engine := SqlAlchemyStore._engine_map.pop(uri, None):
            engine.dispose()
        TrackingStoreRegistry._get_store_with_resolved_uri.cache_clear()
    if uri.startswith("http") and not get_environ_proxies(uri):
        at = urlsplit(uri)
        place = at.hostname or "", at.port or (443 if at.scheme == "https" else 80)
        socket.create_connection(place, timeout=CONNECTION_S).close()
    return MlflowClient(uri)


def connections(uri: str) -> int:
    """Return how many requests this server or store serves at once: SQLite takes them one by one."""
    return CONNECTIONS if uri.startswith("http") else 1


def file_of(uri: str) -> tuple[int, int] | None:
    """Return which file a SQLite store is (device, inode); None if it is gone, or if this is a server."""
    path = _sqlite(uri)
    if path is None or not path.exists():
        return None
    found = path.stat()
    return found.st_dev, found.st_ino


def _sqlite(uri: str) -> Path | None:
    """Return the file of a SQLite store; None if it is another store or a server."""
    return Path(unquote(urlsplit(uri).path)[1:]).resolve() if uri.startswith("sqlite:///") else None


def find_experiment(client: MlflowClient, uri: str, *, name: str, facts: Facts) -> str:
    """Return the experiment's id, making it if there is none.

    One that was deleted there is restored; one that was renamed there keeps its new name, and is found by its tag. In a
    SQLite store its artifacts lie in `mlartifacts` beside the store, also when both were moved; a server knows where
    its own lie.

    Raises:
        MlflowException: if the server cannot be reached.
    """
    mark = f"ledger/{milliseconds(facts.started)}"
    known = client.get_experiment_by_name(name)
    if known is None:
        renamed = client.search_experiments(ViewType.ALL, filter_string=f"tags.`{mark}` = {_quoted(name)}")
        known = min(renamed, key=lambda one: one.lifecycle_stage, default=None)  # an active one before a deleted one
    store = _sqlite(uri)
    place = store and str(store.parent / ARTIFACTS)
    if known is None:
        return str(client.create_experiment(name, place, {**experiment_tags(facts), mark: name}))
    if store and place and known.artifact_location != place and Path(known.artifact_location).name == ARTIFACTS:
        _move(store, known.experiment_id, known.artifact_location, place)
    if known.lifecycle_stage != "active":
        client.restore_experiment(known.experiment_id)
    if known.tags.get(mark) != name:
        client.set_experiment_tag(known.experiment_id, mark, name)
    return str(known.experiment_id)


def _move(store: Path, experiment_id: str, old: str, new: str) -> None:
    """Let an experiment and its runs name the folder that their artifacts came along to, beside a store that was moved.

    MLflow has no call for that. If none of them came along, the store was not moved with them: all stays as it is; and
    a run stays whose artifacts lie in the old folder alone.
    """
    with closing(sqlite3.connect(store, timeout=20)) as db, db:
        query = "SELECT run_uuid FROM runs WHERE experiment_id = ? AND substr(artifact_uri, 1, ?) = ?"
        runs = [run for (run,) in db.execute(query, (experiment_id, len(old) + 1, f"{old}/"))]
        came = {run for run in runs if Path(new, run).is_dir()}
        if not came:
            return
        db.execute("UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (new, experiment_id))
        db.executemany(
            "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?) WHERE run_uuid = ?",
            [(new, len(old) + 1, run) for run in runs if run in came or not Path(old, run).is_dir()],
        )


def _quoted(text: str) -> str:
    return f'"{text}"' if "'" in text else f"'{text}'"


def find_runs(
    client: MlflowClient, experiment_id: str, facts: Facts, *, trials: Collection[str], maker: str
) -> dict[str, Run]:
    """Return the runs of this ledger by trial, the study's own under ''.

    Of a trial's several runs only one stays: a slow server can make a run that the mirror had given up on, and so made
    again. A run of none of `trials` is deleted, too, if `maker` made it: the ledger has been put back to an older
    state. One of another maker's belongs to a copy of this ledger that went on by itself. Whatever else is in the
    experiment is not looked at.
    """
    query = f"tags.study = {_quoted(facts.name)} and tags.ledger = '{ledger_tag(facts)}'"
    page = client.search_runs([experiment_id], query, max_results=PAGE)
    runs = list(page)
    while page.token:
        page = client.search_runs([experiment_id], query, max_results=PAGE, page_token=page.token)
        runs += page
    found: dict[str, Run] = {}
    for run in sorted(runs, key=_preference):
        trial = run.data.tags.get("trial", "")
        unknown = trial != "" and trial not in trials
        if unknown and run.data.tags.get(MAKER, maker) != maker:
            continue
        if trial in found or unknown:
            client.delete_run(run.info.run_id)
        else:
            found[trial] = Run.found(run)
    return found


def _preference(run: Any) -> tuple[bool, int, str]:
    """Order the runs of one trial: one that has ended before one that runs, an older one before a newer one."""
    return run.info.status == "RUNNING", run.info.end_time or 0, run.info.run_id


def histories(client: MlflowClient, runs: list[str], metric: str) -> dict[str, set[Held]]:
    """Return every point of one metric of up to 100 runs, by run.

    Raises:
        MlflowException: if the server cannot be reached.
    """
    store = client._tracking_client.store
    if isinstance(store, RestStore):
        asked = {"run_id": runs, "metric_key": metric, "max_results": MOST_POINTS}
        rows = http_request_safe(store.get_host_creds(), HISTORIES, "GET", params=asked).json().get("metrics", [])
    else:
        rows = [row.to_dict() for row in store.get_metric_history_bulk(runs, metric, MOST_POINTS)]
    if len(rows) >= MOST_POINTS and len(runs) > 1:
        middle = len(runs) // 2
        return histories(client, runs[:middle], metric) | histories(client, runs[middle:], metric)
    found: dict[str, set[Held]] = {run: set() for run in runs}
    if len(rows) >= MOST_POINTS:
        found[runs[0]] = {(one.step, one.timestamp, one.value) for one in client.get_metric_history(runs[0], metric)}
        return found
    for row in rows:
        found[row["run_id"]].add((int(row["step"]), int(row["timestamp"]), float(row["value"])))
    return found


def stores(run: Run, uri: str, folder: Path) -> bool:
    """Whether a run has every file below a folder as an artifact, with the same content.

    Of artifacts that have to be fetched, those of more than `MOST_FETCHED_B` count as equal if they are as large.
    """
    repository = get_artifact_repository(run.artifacts, tracking_uri=uri)
    files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    there = {
        one.path: one.file_size
        for parent in {posixpath.dirname(name) for name in files}
        for one in repository.list_artifacts(parent or None)
        if not one.is_dir
    }
    if any(there.get(name) != path.stat().st_size for name, path in files.items()):
        return False
    if isinstance(repository, LocalArtifactRepository):
        return all(filecmp.cmp(path, repository.get_local_path(name), shallow=False) for name, path in files.items())
    with TemporaryDirectory(prefix="mirror-") as fetched:
        return all(
            filecmp.cmp(path, repository.download_artifacts(name, fetched), shallow=False)
            for name, path in files.items()
            if path.stat().st_size <= MOST_FETCHED_B
        )
