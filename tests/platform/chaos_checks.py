"""What must hold of a study that was killed again and again, once it has ended."""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path
from typing import Any

from mlflow.tracking import MlflowClient

from tests.platform.simulated import everything, rows

__all__ = ["differences", "ledger_faults", "leftovers", "mlflow_faults"]

TIMES = ("seconds", "started", "ended", "at")
"""Columns of the report's files that may differ, beside those of `time/` and of hours."""
STATUS = {"COMPLETED": "FINISHED", "STOPPED": "FINISHED", "DIVERGED": "FAILED", "FAILED": "FAILED"}
QUERIES = {
    "image": 'SELECT id, step, "set", image, metric, value FROM image JOIN trial ON trial.number = image.trial',
    "event": "SELECT id, step, event.kind, subject, value, text FROM event JOIN trial ON trial.number = event.trial",
    "trial": "SELECT number, id, seed, stream, settings, data, state, kind, message FROM trial",
    "step": "SELECT id, step, pictures FROM step JOIN trial ON trial.number = step.trial",
    "variant": "SELECT * FROM variant",
    "scene": "SELECT * FROM scene",
    "reference": "SELECT * FROM reference",
    "reference_picture": "SELECT * FROM reference_picture",
    "scored": "SELECT * FROM scored",
    "deviation": "SELECT text FROM deviation",
}
SAME_BYTES = ("*.png", "generator.pt", "generator.json")


def differences(harried: Path, undisturbed: Path) -> list[str]:
    """Return in what two studies differ, times apart: tables of the ledger, files, the report's tables."""
    first, second = _tables(undisturbed), _tables(harried)
    found = [f"table {name}: {_first(first[name], second[name])}" for name in first if first[name] != second[name]]
    ours, theirs = _files(harried), _files(undisturbed)
    found += [f"file {name} is not in the undisturbed study" for name in sorted(ours - theirs)]
    found += [f"file {name} is in the undisturbed study alone" for name in sorted(theirs - ours)]
    for name in sorted(ours & theirs):
        if any(Path(name).match(pattern) for pattern in SAME_BYTES):
            if (harried / name).read_bytes() != (undisturbed / name).read_bytes():
                found.append(f"file {name} has other content")
        elif name.endswith(".csv") and _csv(harried / name) != _csv(undisturbed / name):
            found.append(f"{name}: {_first(_csv(undisturbed / name), _csv(harried / name))}")
    return found


def ledger_faults(study: Path, reached: list[tuple[float, dict[str, int]]]) -> list[str]:
    """Return what the ledger says against the study.

    Args:
        study: its folder.
        reached: for each kill its time and, of each trial, the last step that the ledger had then.
    """
    found = []
    if rows(study, "SELECT count(*) FROM trial WHERE state IN ('RUNNING', 'PLANNED')") != [(0,)]:
        found.append("a trial has no result")
    if rows(study, "SELECT count(*) FROM attempt WHERE ended IS NULL") != [(0,)]:
        found.append("an attempt has no end")
    query = "SELECT id FROM trial GROUP BY id HAVING count(*) > 1"
    found += [f"the identity {one} is there twice" for (one,) in rows(study, query)]
    ended = "SELECT id FROM attempt JOIN trial ON trial.number = trial WHERE outcome IN ('COMPLETED', 'STOPPED') "
    found += [
        f"{one} was trained to its end twice" for (one,) in rows(study, f"{ended} GROUP BY 1 HAVING count(*) > 1")
    ]
    attempts = rows(study, "SELECT id, attempt.started, resumed_step FROM attempt JOIN trial ON trial.number = trial")
    for number, (at, steps) in enumerate(reached, start=1):
        for trial, started, step in attempts:
            if started > at and step < steps.get(trial, 0):
                found.append(f"kill {number}: {trial} had reported step {steps[trial]} and went on from step {step}")
    return found


def mlflow_faults(study: Path, uri: str) -> list[str]:
    """Return what a server says against the study: a run for each trial, ended as the ledger says, with its values."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(study.name)
    runs = client.search_runs([experiment.experiment_id], max_results=50_000)
    parents = [run.info.status for run in runs if "mlflow.parentRunId" not in run.data.tags]
    found = [] if parents == ["FINISHED"] else [f"MLflow: runs of the study: {parents}"]
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    trials = {one: (number, state) for number, one, state in rows(study, "SELECT number, id, state FROM trial")}
    counts = Counter(run.data.tags.get("trial", "") for run in children)
    for trial in trials.keys() | counts.keys():
        if counts[trial] != 1 or trial not in trials:
            found.append(f"MLflow: {counts[trial]} runs of {trial}")
    for run in (run for run in children if run.data.tags.get("trial") in trials):
        number, state = trials[run.data.tags["trial"]]
        if run.info.status != STATUS[state] or run.data.tags.get("state") != state:
            found.append(f"MLflow: {run.data.tags['trial']} is {run.info.status}, in the ledger {state}")
        found += [f"MLflow: {run.data.tags['trial']}: {text}" for text in _values(study, number, run)]
    for run in children[:: max(1, len(children) // 4)]:  # a sample: the whole curve, each point once
        number = trials[run.data.tags["trial"]][0]
        history = client.get_metric_history(run.info.run_id, "eval/psnr_db")
        query = "SELECT step, value FROM report WHERE trial = ? AND metric = 'eval/psnr_db' ORDER BY step"
        if sorted((one.step, one.value) for one in history) != rows(study, query, number):
            found.append(f"MLflow: {run.data.tags['trial']}: the curve of eval/psnr_db is another one")
    return found


def leftovers(study: Path) -> list[str]:
    """Return the scratch files that nobody will remove any more."""
    tune = study / ".tune"
    found = [f"{len(list(tune.iterdir()))} folders in .tune"] if tune.exists() and any(tune.iterdir()) else []
    scratch = re.compile(r"\.part$|^\..*\.\d+$")
    return found + [f"scratch file {path.relative_to(study)}" for path in study.rglob("*") if scratch.search(path.name)]


def _tables(study: Path) -> dict[str, list[Any]]:
    found = everything(study) | {name: sorted(rows(study, query), key=repr) for name, query in QUERIES.items()}
    return found | {"report": [row for row in found["report"] if not row[2].startswith("time/")]}


def _files(study: Path) -> set[str]:
    """Return what lies in a study's folder, without what the mirror and SQLite keep, and what `leftovers` looks at.

    Decoded images are a cache, named after the paths of the images; an owner's mark is drawn anew for each ledger.
    """
    paths = (path.relative_to(study) for path in study.rglob("*") if path.is_file())
    names = (str(path) for path in paths if len(path.parts) > 1)
    return {name for name in names if not name.startswith((".tune/", "trials/decoded/", "owner/"))}


def _csv(path: Path) -> list[list[str]]:
    """Return a file of the report without its columns of times."""
    with path.open(newline="") as file:
        head, *body = list(csv.reader(file))
    kept = [
        number for number, name in enumerate(head) if name not in TIMES and "time/" not in name and "hours" not in name
    ]
    return [[row[number] for number in kept] for row in [head, *body]]


def _first(one: list[Any], other: list[Any]) -> str:
    """Return where two tables differ first."""
    pairs = [(a, b) for a, b in zip(one, other, strict=False) if a != b]
    return f"{len(other)} rows for {len(one)}" + (f", {pairs[0][1]} for {pairs[0][0]}"[:300] if pairs else "")


def _values(study: Path, number: int, run: Any) -> list[str]:
    """Return which values a run has otherwise than the ledger, at the trial's last step."""
    query = "SELECT metric, value FROM report WHERE trial = ? AND step = (SELECT max(step) FROM step WHERE trial = ?)"
    wanted = {key: value for key, value in rows(study, query, number, number) if value is not None}
    shown = run.data.metrics
    wrong = [key for key, value in wanted.items() if shown.get(key) != value]
    return [f"{wrong[0]} is {shown.get(wrong[0])}, in the ledger {wanted[wrong[0]]}"] if wrong else []
