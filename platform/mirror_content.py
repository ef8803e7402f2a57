"""What MLflow should hold of a study: pure functions from the ledger's rows to runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from analysis.schema import COMPLETED, DIVERGED, FAILED, PLANNED, RUNNING, STATES, STOPPED
from platform.mirror_ledger import ENDED, Begun, Facts, Trial

__all__ = ["Wanted", "experiment_tags", "flat", "ledger_tag", "milliseconds", "status", "study_run", "trial_run"]

FIRST_STAGE = "fixed"
UNPLANNED = "unplanned"
_STATUS = {COMPLETED: "FINISHED", STOPPED: "FINISHED", DIVERGED: "FAILED", FAILED: "FAILED"}


@dataclass(frozen=True)
class Wanted:
    """A run as MLflow should hold it; times in milliseconds since 1970."""

    name: str
    status: str
    """RUNNING, FINISHED, FAILED or KILLED."""
    start: int
    end: int
    settled: str
    """The last step that it holds and when that was reported, `step@time`."""
    tags: dict[str, str]
    params: dict[str, str]

    @property
    def mark(self) -> str:
        """The tag `mirrored` of a run that holds all this: the last step, then a digest."""
        text = json.dumps([self.name, self.status, self.end if self.ended else None, self.tags], sort_keys=True)
        return f"{self.settled} {hashlib.sha256(text.encode()).hexdigest()[:16]}"

    @property
    def signature(self) -> tuple[str, str, int | None]:
        """What a run shows that holds all this: mark, status and, if it is over, end."""
        return self.mark, self.status, self.end if self.ended else None

    @property
    def ended(self) -> bool:
        """Whether the run is over, if perhaps only for now."""
        return self.status != "RUNNING"


def milliseconds(seconds: float) -> int:
    """Return a time as MLflow counts it. Equal times give equal numbers, so that a copy made twice is one copy."""
    return round(seconds * 1000)


def ledger_tag(facts: Facts) -> str:
    """Return the tag `ledger` of every run of this study: its beginning, to the millisecond."""
    return datetime.fromtimestamp(milliseconds(facts.started) / 1000, UTC).isoformat(timespec="milliseconds")


def status(begun: Begun, driver: int | None) -> str:
    """Return the status of a trial's run; `driver` is the driver that is alive, if any."""
    if begun.state in ENDED:
        return _STATUS[begun.state]
    at_work = begun.state == RUNNING and begun.attempt_ended is None and driver is not None
    return "RUNNING" if at_work and begun.driver in (driver, None) else "KILLED"


def trial_run(trial: Trial, facts: Facts, parent: str) -> Wanted:
    """Return the run of a trial; `parent` is the id of the study's run."""
    stage, variant = (_joined(names) for names in zip(*trial.begun.cells or ((UNPLANNED, UNPLANNED),), strict=True))
    name = f"{variant} · seed {trial.seed}" + ("" if stage == FIRST_STAGE else f" · {stage}")
    settled_at = trial.settled_at or 0
    tags = {
        "mlflow.parentRunId": parent,
        "variant": variant,
        "seed": str(trial.seed),
        "stream": trial.stream,
        "stage": stage,
        "state": trial.begun.state,
        "kind": trial.kind or "",
        "message": (trial.message or "").partition("\n")[0][:500],
        "attempts": str(trial.begun.attempt),
        "events": _shown(trial.events),
        "study": facts.name,
        "ledger": ledger_tag(facts),
        "trial": trial.id,
        **_source(trial.driver_record),
        **{key: _shown(trial.attempt_record.get(key)) for key in ("node", "device")},
        "versions": _shown(
            {**(trial.driver_record.get("versions") or {}), **(trial.attempt_record.get("versions") or {})}
        ),
    }
    return Wanted(
        name=name,
        status=status(trial.begun, facts.driver),
        start=milliseconds(trial.started),
        end=milliseconds(trial.left_off),
        settled=f"{trial.begun.settled}@{milliseconds(settled_at)}",
        tags={key: value for key, value in tags.items() if value},
        params=flat(trial.settings),
    )


def study_run(facts: Facts, report: str) -> Wanted:
    """Return the study's own run, the parent of its trials' runs; `report` is a digest of the report, '' if none."""
    counts = {f"trials_{state.lower()}": str(facts.states.get(state, 0)) for state in STATES}
    complete = bool(facts.states) and not facts.states.keys() & {PLANNED, RUNNING}
    tags = {
        "study": facts.name,
        "ledger": ledger_tag(facts),
        "spec": str(facts.spec_number),
        "trials": str(sum(facts.states.values())),
        **counts,
        "caution": facts.data.get("caution") or "",
        "references": ", ".join(f"{name} (SHA-256 {digest})" for name, digest in facts.models.items()),
        **_source(facts.driver_record),
        "versions": _shown(facts.driver_record.get("versions")),
        "report": report,
    }
    return Wanted(
        name=facts.name,
        status="RUNNING" if facts.driver is not None else "FINISHED" if complete else "KILLED",
        start=milliseconds(facts.started),
        end=milliseconds(facts.left_off),
        settled="0@0",
        tags={key: value for key, value in tags.items() if value},
        params={},
    )


def experiment_tags(facts: Facts) -> dict[str, str]:
    """Return the tags with which MLflow opens the experiment on its table of runs and charts the primary metric."""
    primary = (facts.spec.get("analysis") or {}).get("primary")
    tags = {"mlflow.experimentKind": "custom_model_development"}
    return tags | ({"mlflow.experiment.primaryMetric.name": primary} if primary else {})


def flat(settings: Mapping[str, Any], path: str = "") -> dict[str, str]:
    """Return nested settings as dotted paths and text: strings as they are, everything else as JSON."""
    found: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{path}{key}.")
        else:
            found[f"{path}{key}"] = value if isinstance(value, str) else json.dumps(value)
    return found


def _source(record: Mapping[str, Any]) -> dict[str, str]:
    """Return where the results came from, under MLflow's own names where it has one."""
    command = record.get("command")
    return {
        "mlflow.source.name": "platform.sweep",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": record.get("git_commit") or "",
        "git_dirty": _shown(record.get("git_dirty")),
        "command": " ".join(command) if isinstance(command, list) else command or "",
    }


def _joined(names: tuple[str, ...]) -> str:
    return ", ".join(sorted(set(names)))


def _shown(value: Any) -> str:
    """Return a record's value as a tag: one line, '' for nothing."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item}" for key, item in sorted(value.items()))
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)
