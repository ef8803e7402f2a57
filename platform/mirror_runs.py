"""Makes an MLflow server equal to a ledger, run by run."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import isnan, nan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from platform import mirror_artifacts as artifacts
from platform.mirror_content import SEARCHED, Wanted, milliseconds, study_run, trial_run
from platform.mirror_ledger import ENDED, Begun, Facts, Ledger, Point, Trial
from platform.mirror_server import Run, find_experiment, find_runs

__all__ = ["Mirror"]

DIGEST_LENGTH = 36  # MLflow's limit for a data set
PASSING_TAGS = frozenset((
    "kind", "message", "report", "missing", "caution", "events", "references",
    "suggestion", "repeat", "rung", "chosen", "left_out", "scored_on",
))  # fmt: skip
"""Tags that a run can lose again; so can those of the search."""


@dataclass
class Mirror:
    """The copy of one ledger on one MLflow server.

    Args:
        ledger: the ledger, which is only read.
        folder: the study's folder.
        uri: of the server or store.
        experiment: its name; made if there is none.
        progress: called now and then with the number of ended trials copied, and of all ended trials.
        stopping: asked between calls whether to leave off.
    """

    ledger: Ledger
    folder: Path
    uri: str
    experiment: str
    progress: Callable[[int, int], None]
    stopping: Callable[[], bool]
    experiment_id: str = field(default="", init=False)
    look_s: float = field(default=0.0, init=False)
    """How long the last look through the ledger took: 0.1 s for 10,000 trials."""
    _client: Any = field(default=None, init=False)
    _runs: dict[str, Run] | None = field(default=None, init=False)
    _copied: int = field(default=0, init=False)
    _done: dict[int, tuple[Begun, int | None]] = field(default_factory=dict, init=False)

    def forget(self) -> None:
        """Find out anew, at the next copy, what the server holds."""
        self._runs = None
        self._done.clear()

    def copy(self) -> None:
        """Bring the server to the ledger's state.

        Raises:
            MlflowException: if the server cannot be reached or refuses a run. Each trial that it takes is copied.
            OSError: if files cannot be read or stored.
        """
        looked = time.monotonic()
        facts, begun = self.ledger.facts(), self.ledger.begun()
        self.look_s = time.monotonic() - looked
        self.progress(self._copied, sum(one.state in ENDED for one in begun))
        self._client = self._client or MlflowClient(self.uri)
        if self._runs is None:
            self.experiment_id = find_experiment(self._client, self.uri, name=self.experiment, facts=facts)
            self._runs = find_runs(self._client, self.experiment_id, facts)
        parent = self._open_study(facts)
        refused = self._copy_trials(begun, facts, parent)
        if not self.stopping():
            self._copy_study(facts, parent)
        if refused:
            raise refused[0]

    def _copy_trials(self, begun: list[Begun], facts: Facts, parent: Run) -> list[MlflowException]:
        """Copy every trial that has changed; return why some were refused."""
        refused = []
        ended = sum(one.state in ENDED for one in begun)
        held = sum(self._done.get(one.number) == (one, None) for one in begun)
        for one in begun:
            state = (one, None if one.state in ENDED else facts.driver)
            if self.stopping() or self._done.get(one.number) == state:
                continue
            try:
                self._copy_trial(one, facts, parent)
            except MlflowException as error:
                if error.get_http_status_code() >= 500:
                    raise
                refused.append(error)
                continue
            self._done[one.number] = state
            held += one.state in ENDED
            self._copied = min(max(self._copied, held), ended)  # what was known before an outage still counts
            self.progress(self._copied, ended)
        return refused

    def _copy_trial(self, begun: Begun, facts: Facts, parent: Run) -> None:
        trial = self.ledger.trial(begun)
        wanted = trial_run(trial, facts, parent.id)
        run = self._run(trial.id)
        if run is not None and run.signature == wanted.signature:
            return
        if run is not None and self._retrained(run, begun.number):
            self._client.delete_run(run.id)
            run = None
        run = self._create(trial.id, wanted) if run is None else self._reopened(run, wanted)
        missing: list[str] = []
        if begun.state in ENDED:
            with TemporaryDirectory(prefix="mirror-") as folder:
                missing = artifacts.lay_out_trial(Path(folder), self.ledger, trial, facts.storage)
                self._store(run, folder)
            self._client.log_inputs(run.id, [_data_set(trial, facts)])
        points = self.ledger.points(begun.number, after=run.sent, up_to=begun.settled, of_sets=bool(trial.sets))
        self._log(run, wanted, points=points, missing=missing)
        run.sent = begun.settled

    def _retrained(self, run: Run, number: int) -> bool:
        """Whether the ledger no longer has a step that the run shows: its curves would be those of two trainings."""
        step, _, at = run.tags.get("mirrored", "").partition(" ")[0].partition("@")
        now = self.ledger.at(number, int(step or 0))
        return (milliseconds(now) if now is not None else 0) != int(at or 0)

    def _open_study(self, facts: Facts) -> Run:
        """Return the study's run, made or opened again if it has to be, with the spec that holds."""
        wanted = study_run(facts, "")
        run = self._run("")
        shown = run.tags.get("spec") if run is not None else None
        run = self._create("", wanted) if run is None else self._reopened(run, wanted)
        if shown != wanted.tags["spec"]:
            with TemporaryDirectory(prefix="mirror-") as folder:
                artifacts.lay_out_spec(Path(folder), facts)
                self._store(run, folder)
        return run

    def _copy_study(self, facts: Facts, run: Run) -> None:
        """Bring the study's run up to date; when no driver runs, with its tables, pictures and report."""
        report = self.folder / "report"
        wanted = study_run(facts, "" if facts.driver is not None else artifacts.digest(report))
        if run.signature == wanted.signature:
            return
        missing: list[str] = []
        if wanted.ended:
            with TemporaryDirectory(prefix="mirror-") as folder:
                missing = artifacts.lay_out_study(Path(folder), self.ledger, facts, report)
                self._store(run, folder)
        self._log(run, wanted, points=[], missing=missing)

    def _run(self, trial: str) -> Run | None:
        return (self._runs or {}).get(trial)

    def _create(self, trial: str, wanted: Wanted) -> Run:
        """Make a run with all its tags at once: one that is cut off here is found again."""
        tags = {**wanted.tags, "mirrored": wanted.mark}
        run = Run.found(self._client.create_run(self.experiment_id, wanted.start, tags, wanted.name))
        if self._runs is not None:
            self._runs[trial] = run
        return run

    def _reopened(self, run: Run, wanted: Wanted) -> Run:
        """Return the run, RUNNING again if it should be."""
        mark, status, _ = run.signature
        if status != wanted.status == "RUNNING":
            self._client.update_run(run.id, status="RUNNING")
            run.signature = (mark, "RUNNING", None)
        return run

    def _store(self, run: Run, folder: str) -> None:
        """Store the files in `folder`. The client's own `log_artifacts` reads the whole run first, at 6 ms a trial."""
        get_artifact_repository(run.artifacts, tracking_uri=self.uri).log_artifacts(folder)

    def _log(self, run: Run, wanted: Wanted, *, points: list[Point], missing: list[str]) -> None:
        """Send parameters, points, tags, and the status last: only a run that has them all bears the signature."""
        tags = {**wanted.tags, "mirrored": wanted.mark, **({"missing": ", ".join(missing)[:5000]} if missing else {})}
        for key in run.tags.keys() - tags.keys():
            if key in PASSING_TAGS or key.startswith(SEARCHED):
                self._client.delete_tag(run.id, key)
        params = {key: value for key, value in wanted.params.items() if run.sent < 0 or key.startswith(SEARCHED)}
        self._client.log_batch(
            run.id,
            metrics=[*(_metric(point) for point in points), *_standing(run, wanted)],
            params=[Param(key, value) for key, value in params.items()],  # a trial can become one of the search later
            tags=[RunTag(key, value) for key, value in tags.items() if run.tags.get(key) != value],
        )
        if wanted.ended:
            self._client.set_terminated(run.id, wanted.status, wanted.end)
        run.tags, run.signature, run.metrics = tags, wanted.signature, wanted.metrics


def _metric(point: Point) -> Metric:
    return Metric(
        point.metric, float("nan") if point.value is None else point.value, milliseconds(point.at), point.step
    )


def _standing(run: Run, wanted: Wanted) -> list[Metric]:
    """Return the metrics of the study's run that are news; one that is true no more becomes NaN: MLflow keeps them all.

    The last one in time holds, so each has the time of the ledger's last sign.
    """
    gone = {key: nan for key, value in run.metrics.items() if key.startswith(SEARCHED) and not isnan(value)}
    now = {**gone, **wanted.metrics}
    return [Metric(key, value, wanted.end, 0) for key, value in now.items() if run.metrics.get(key) != value]


def _data_set(trial: Trial, facts: Facts) -> DatasetInput:
    """Return the images of a trial as MLflow's input; those of a confirming trial are others."""
    what: dict[str, Any] = {key: facts.data[key] for key in ("training", "sets") if key in facts.data}
    if facts.search is not None and facts.search.sets and trial.data == facts.search.digest:
        what["confirm"] = list(facts.search.sets)
    source = {key: facts.data[key] for key in ("source", "caution") if facts.data.get(key)}
    data_set = Dataset(
        name=str(facts.data.get("source", "data")),
        digest=trial.data[:DIGEST_LENGTH],
        source_type="local",
        source=json.dumps(source),
        profile=json.dumps(what),
    )
    return DatasetInput(data_set, [InputTag("mlflow.data.context", "training")])
