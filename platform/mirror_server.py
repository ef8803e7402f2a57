"""What an MLflow server holds of a ledger. It is found out from the server alone, so that nothing can contradict it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from platform.mirror_content import experiment_tags, ledger_tag
from platform.mirror_ledger import Facts

__all__ = ["Run", "find_experiment", "find_runs"]

PAGE = 500


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
    sent: int = -1
    """Up to which step this process has sent its metrics; -1: not even its parameters."""

    @classmethod
    def found(cls, run: Any) -> Run:
        """Return what MLflow's own object says."""
        info, tags = run.info, dict(run.data.tags)
        end = None if info.status == "RUNNING" else info.end_time
        signature = (tags.get("mirrored", ""), info.status, end)
        return cls(info.run_id, info.artifact_uri, signature, tags, dict(run.data.metrics))


def find_experiment(client: MlflowClient, uri: str, *, name: str, facts: Facts) -> str:
    """Return the experiment's id, making it if there is none.

    In a SQLite store its artifacts lie in `mlartifacts` beside the store; a server knows where its own lie.

    Raises:
        MlflowException: if the server cannot be reached, or the experiment was deleted there.
    """
    known = client.get_experiment_by_name(name)
    if known is None:
        place = None
        if uri.startswith("sqlite:///"):
            store = Path(unquote(urlsplit(uri).path)[1:]).resolve()
            place = str(store.parent / "mlartifacts")
        return str(client.create_experiment(name, place, experiment_tags(facts)))
    if known.lifecycle_stage != "active":
        raise MlflowException(
            f"the experiment {name!r} was deleted there; restore it with `mlflow experiments restore "
            f"-x {known.experiment_id}`, or name another with --experiment"
        )
    return str(known.experiment_id)


def find_runs(client: MlflowClient, experiment_id: str, facts: Facts) -> dict[str, Run]:
    """Return the runs of this ledger by trial, the study's own under ''; of a trial's several runs only one stays.

    A slow server can make a run that the mirror had given up on, and so made again.
    """
    query = f"tags.study = '{facts.name}' and tags.ledger = '{ledger_tag(facts)}'"
    page = client.search_runs([experiment_id], query, max_results=PAGE)
    runs = list(page)
    while page.token:
        page = client.search_runs([experiment_id], query, max_results=PAGE, page_token=page.token)
        runs += page
    found: dict[str, Run] = {}
    for run in sorted(runs, key=_preference):
        trial = run.data.tags.get("trial", "")
        if trial in found:
            client.delete_run(run.info.run_id)
        else:
            found[trial] = Run.found(run)
    return found


def _preference(run: Any) -> tuple[bool, int, str]:
    """Order the runs of one trial: one that has ended before one that runs, an older one before a newer one."""
    return run.info.status == "RUNNING", run.info.end_time or 0, run.info.run_id
