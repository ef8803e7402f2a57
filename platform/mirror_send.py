"""Sends runs to an MLflow server: all that is asked of it to bring one run to what the ledger has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan, nan
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import DatasetInput, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from requests import HTTPError

from platform.mirror_check import due, outlived
from platform.mirror_content import SEARCHED, Wanted, milliseconds
from platform.mirror_ledger import Point
from platform.mirror_server import MAKER, Run

__all__ = ["Parcel", "Sender", "news", "refuses"]

MOST = {"metrics": 1000, "params": 100, "tags": 100, "all": 1000}
"""What MLflow's client sends in one request; a server writes it in this order, each kind at once."""


@dataclass(frozen=True)
class Parcel:
    """What is to be sent of one trial."""

    trial: str
    """Its identity."""
    wanted: Wanted
    run: Run | None
    """The run that is there already."""
    anew: bool
    """Whether that run is to be deleted first."""
    points: list[Point]
    folder: TemporaryDirectory[str] | None
    """Where its artifacts are laid out, if it has ended; removed when they are sent."""
    missing: Sequence[str]
    """Files that should be among them."""
    data_set: DatasetInput | None
    settled: int
    """The last step that `points` go up to."""


@dataclass
class Sender:
    """Sends to one experiment of one server. May be used by several threads, each with a trial of its own."""

    client: MlflowClient
    uri: str
    experiment_id: str
    maker: str
    """As in `platform.mirror_server.find_runs`."""
    _data_sets: set[str] = field(default_factory=set)
    """Digests that the server is known to have."""
    _first: Lock = field(default_factory=Lock)

    def send(self, parcel: Parcel) -> Run | None:
        """Send a trial's run; return it, or None if it is not what this process left there: look at it again first.

        Raises:
            MlflowException, HTTPError: if the server cannot be reached or refuses it.
        """
        run = parcel.run
        try:
            if run is not None and parcel.anew:
                self.client.delete_run(run.id)
                run = None
            if run is None:
                run = self.create(parcel.wanted)
            elif self._as_left(run):
                self.reopen(run, parcel.wanted)
            else:
                return None
            if parcel.folder is not None:
                self.store(run, parcel.folder.name)
            if parcel.data_set is not None:
                self._use(run, parcel.data_set)
            self.log(run, parcel.wanted, points=parcel.points, missing=parcel.missing)
            run.sent = parcel.settled
            return run
        finally:
            if parcel.folder is not None:
                parcel.folder.cleanup()

    def create(self, wanted: Wanted) -> Run:
        """Make a run with all its tags at once: one that is cut off here is found again."""
        tags = {**wanted.tags, MAKER: self.maker}
        tags["mirrored"] = wanted.settled  # up to where its curves may go; the whole mark comes last
        return Run.found(self.client.create_run(self.experiment_id, wanted.start, tags, wanted.name))

    def reopen(self, run: Run, wanted: Wanted) -> None:
        """Give the run its name if it has another one, and let it be RUNNING again if it should be."""
        if run.name != wanted.name:
            self.client.update_run(run.id, name=wanted.name)
            run.name = wanted.name
        mark, status, _ = run.signature
        if status != wanted.status == "RUNNING":
            self.client.update_run(run.id, status="RUNNING")
            run.signature = (mark, "RUNNING", None)

    def store(self, run: Run, folder: str) -> None:
        """Store the files in `folder`. The client's own `log_artifacts` reads the whole run first, at 6 ms a trial."""
        get_artifact_repository(run.artifacts, tracking_uri=self.uri).log_artifacts(folder)

    def log(self, run: Run, wanted: Wanted, *, points: Sequence[Point], missing: Sequence[str]) -> None:
        """Send parameters, points, tags, and the status last: only a run that has them all bears the signature."""
        tags = {**wanted.tags, **({"missing": ", ".join(missing)[:5000]} if missing else {}), "mirrored": wanted.mark}
        for key in outlived(run, tags):
            self.client.delete_tag(run.id, key)
        params = {key: value for key, value in wanted.params.items() if run.sent < 0 or key.startswith(SEARCHED)}
        changed = [RunTag(key, value) for key, value in tags.items() if run.tags.get(key) != value]
        batch: dict[str, list[Any]] = {
            "metrics": [*(_metric(point) for point in points), *news(run, wanted)],
            "params": [Param(key, value) for key, value in params.items()],  # a trial can be the search's later
            "tags": changed,
        }
        if not _fits(batch):  # cut up by the client, the mark would arrive with the first piece
            batch["tags"] = [tag for tag in changed if tag.key != "mirrored"]
        self.client.log_batch(run.id, **batch)
        if len(batch["tags"]) < len(changed):
            self.client.set_tag(run.id, "mirrored", wanted.mark)
        if wanted.ended:
            self.client.set_terminated(run.id, wanted.status, wanted.end)
        run.tags, run.signature, run.metrics = tags, wanted.signature, wanted.metrics

    def _as_left(self, run: Run) -> bool:
        """Whether the run is what this process left there, if it has sent some of it already.

        A store that was put back to an older state has lost what came after; the run then becomes what it is now, and
        all of it is to be sent again.
        """
        if run.sent < 0:
            return True
        now = Run.found(self.client.get_run(run.id))
        if now.signature == run.signature:
            return True
        run.name, run.signature, run.tags, run.metrics, run.sent = now.name, now.signature, now.tags, now.metrics, -1
        return False

    def _use(self, run: Run, data_set: DatasetInput) -> None:
        """Note a run's data set, a new one by one thread alone: MLflow looks, then inserts."""
        digest = data_set.dataset.digest
        if digest in self._data_sets:
            self.client.log_inputs(run.id, [data_set])
            return
        with self._first:
            self.client.log_inputs(run.id, [data_set])
            self._data_sets.add(digest)


def refuses(error: Exception) -> bool:
    """Whether it is this run that a server will not take, rather than any."""
    if isinstance(error, MlflowException):
        return bool(error.get_http_status_code() < 500)
    return isinstance(error, HTTPError) and error.response is not None and error.response.status_code < 500


def news(run: Run, wanted: Wanted) -> list[Metric]:
    """Return the metrics of the study's run that are news; one that is true no more becomes NaN: MLflow keeps them all.

    The last one in time holds, so each has the time of the ledger's last sign.
    """
    gone = {key: nan for key, value in run.metrics.items() if key.startswith(SEARCHED) and not isnan(value)}
    now: Mapping[str, float] = {**gone, **wanted.metrics}
    return [
        Metric(key, value, wanted.end, 0)
        for key, value in now.items()
        if key not in run.metrics or due(key, 0, 0, run.metrics[key]) != due(key, 0, 0, value)
    ]


def _metric(point: Point) -> Metric:
    return Metric(
        point.metric, float("nan") if point.value is None else point.value, milliseconds(point.at), point.step
    )


def _fits(batch: Mapping[str, Sequence[Any]]) -> bool:
    """Whether MLflow's client sends this in one request."""
    return sum(map(len, batch.values())) <= MOST["all"] and all(len(batch[key]) <= MOST[key] for key in batch)
