"""What an MLflow server holds of a ledger. It is found out from the server alone, so that nothing can contradict it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.tracking.rest_store import RestStore
from mlflow.utils.rest_utils import http_request_safe

from platform.mirror_content import experiment_tags, ledger_tag, milliseconds
from platform.mirror_ledger import Facts

__all__ = ["Held", "Run", "connections", "find_experiment", "find_runs", "histories", "stored"]

CONNECTIONS = 4
"""Requests to a server at once: it spends most of a request waiting for its disk."""
PAGE = 500
MOST_POINTS = 25_000
"""That a server gives at once."""
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
        return cls(info.run_id, info.artifact_uri, signature, tags, metrics, params, digests)

    def spoil(self) -> None:
        """Let it be sent whole again, whatever it shows."""
        self.signature = ("", *self.signature[1:])


def connections(uri: str) -> int:
    """Return how many requests this server or store serves at once: SQLite takes them one by one."""
    return CONNECTIONS if uri.startswith("http") else 1


def find_experiment(client: MlflowClient, uri: str, *, name: str, facts: Facts) -> str:
    """Return the experiment's id, making it if there is none.

    One that was deleted there is restored; one that was renamed there keeps its new name, and is found by its tag. In a
    SQLite store its artifacts lie in `mlartifacts` beside the store; a server knows where its own lie.

    Raises:
        MlflowException: if the server cannot be reached.
    """
    mark = f"ledger/{milliseconds(facts.started)}"
    known = client.get_experiment_by_name(name)
    if known is None:
        renamed = client.search_experiments(ViewType.ALL, filter_string=f"tags.`{mark}` = {_quoted(name)}")
        known = min(renamed, key=lambda one: one.lifecycle_stage, default=None)  # an active one before a deleted one
    if known is None:
        place = None
        if uri.startswith("sqlite:///"):
            store = Path(unquote(urlsplit(uri).path)[1:]).resolve()
            place = str(store.parent / "mlartifacts")
        return str(client.create_experiment(name, place, {**experiment_tags(facts), mark: name}))
    if known.lifecycle_stage != "active":
        client.restore_experiment(known.experiment_id)
    if known.tags.get(mark) != name:
        client.set_experiment_tag(known.experiment_id, mark, name)
    return str(known.experiment_id)


def _quoted(text: str) -> str:
    return f'"{text}"' if "'" in text else f"'{text}'"


def find_runs(client: MlflowClient, experiment_id: str, facts: Facts, trials: Collection[str]) -> dict[str, Run]:
    """Return the runs of this ledger by trial, the study's own under ''.

    Of a trial's several runs only one stays: a slow server can make a run that the mirror had given up on, and so made
    again. A run of none of `trials` is deleted, too: the ledger has been put back to an older state. Whatever else is
    in the experiment is not looked at.
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
        if trial in found or (trial and trial not in trials):
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


def stored(repository: ArtifactRepository, folders: Iterable[str]) -> dict[str, int | None]:
    """Return path and size in bytes of a run's artifacts that lie right in one of `folders`; '' is the top."""
    return {
        one.path: one.file_size
        for folder in folders
        for one in repository.list_artifacts(folder or None)
        if not one.is_dir
    }
