"""What MLflow should hold of a study: pure functions from the ledger's rows to runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import fmean
from typing import Any

from analysis.schema import (
    COMPLETED,
    CONFIRM,
    DIVERGED,
    FAILED,
    FIXED,
    PLANNED,
    RUNNING,
    SEARCH,
    STAGES,
    STATES,
    STOPPED,
)
from platform.mirror_ledger import ENDED, Begun, Facts, Place, Trial
from platform.standing import Asked, Chosen, Standing

__all__ = [
    "SEARCHED", "Wanted", "experiment_tags", "flat", "ledger_tag", "milliseconds", "status", "study_run", "trial_run",
]  # fmt: skip

UNPLANNED = "unplanned"
SEARCHED = "search/"
"""What the parameters' names begin with that hold the searched values, and of the study's run the tags and metrics of
its search.

MLflow draws axes and table columns of parameters and metrics, never of tags, and finds them by their names. A searched
value is among the whole settings already, but there it is one of a hundred, and under settings that do without it it
stands at a value that plays no part. Under this prefix the table and the parallel coordinates have just what the search
varied, for trials of the search and for those that confirm.
"""
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
    metrics: dict[str, float] = field(default_factory=dict)
    """Of the study's run; those of a trial are the ledger's points."""

    @property
    def mark(self) -> str:
        """The tag `mirrored` of a run that holds all this: the last step, then a digest."""
        shown = [self.name, self.status, self.end if self.ended else None, self.tags]
        text = json.dumps([*shown, self.metrics] if self.metrics else shown, sort_keys=True)
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
    cells = trial.begun.cells
    several = facts.search is not None and facts.search.repeats > 1
    stages = [stage for stage in STAGES if any(place.stage == stage for place in cells)] or [UNPLANNED]
    first = [place for place in cells if place.stage == stages[0]]
    tuned = [place for place in cells if place.stage in (SEARCH, CONFIRM)]
    chosen = [place for place in cells if place.chosen]
    settled_at = trial.settled_at or 0
    tags = {
        "mlflow.parentRunId": parent,
        "variant": _variants(cells),
        "seed": str(trial.seed),
        "stream": trial.stream,
        "stage": ", ".join(stages),
        "suggestion": _numbers(place.number for place in tuned if place.number >= 0),
        "repeat": _numbers(place.repeat for place in tuned) if several else "",
        "rung": _shown(trial.rung),
        "chosen": _variants(chosen) if chosen else "",
        "left_out": trial.begun.left_out,
        "scored_on": _scored_on(trial, facts),
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
        name=_name(trial.seed, first, several=several),
        status=status(trial.begun, facts.driver),
        start=milliseconds(trial.started),
        end=milliseconds(trial.left_off),
        settled=f"{trial.begun.settled}@{milliseconds(settled_at)}",
        tags={key: value for key, value in tags.items() if value},
        params=flat(trial.settings) | {f"{SEARCHED}{path}": _plain(value) for path, value in trial.searched.items()},
    )


def _name(seed: int, places: Sequence[Place], *, several: bool) -> str:
    """Return the name of a trial's run, from the places that it fills in its first stage.

    Of several in a search it is the first, since a run keeps its name when the same settings are suggested again.
    """
    if not places:
        return f"{UNPLANNED} · seed {seed} · {UNPLANNED}"
    stage, variant, repeat, number, _ = places[0]
    if stage == FIXED:
        return f"{_variants(places)} · seed {seed}"
    what = f"search {number}" if stage == SEARCH else CONFIRM
    return f"{variant} · {what} · seed {seed}" + (f" · repeat {repeat}" if several else "")


def study_run(facts: Facts, report: str) -> Wanted:
    """Return the study's own run, the parent of its trials' runs; `report` is a digest of the report, '' if none."""
    counts = {f"trials_{state.lower()}": str(facts.states.get(state, 0)) for state in STATES}
    complete = bool(facts.states) and not facts.states.keys() & {PLANNED, RUNNING} and _searched_out(facts)
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
        "plan_sha256": facts.lock,
        "plan_changed": "; ".join(
            f"{who}: {text}" if who else text for who, said in facts.exploratory.items() for text in said
        ),
        "decided": "; ".join(f"{name} {verdict} (look at {seeds} seeds)" for name, verdict, seeds in facts.decided),
        "trials_at_most": "" if facts.most is None else str(facts.most),
        **_search_tags(facts),
    }
    return Wanted(
        name=facts.name,
        status="RUNNING" if facts.driver is not None else "FINISHED" if complete else "KILLED",
        start=milliseconds(facts.started),
        end=milliseconds(facts.left_off),
        settled="0@0",
        tags={key: value for key, value in tags.items() if value},
        params={},
        metrics=_search_metrics(facts),
    )


def _scored_on(trial: Trial, facts: Facts) -> str:
    """Say what the metrics of a trial are over that confirms on images of its own; nothing of any other."""
    if facts.search is None or not trial.sets:
        return ""
    seen = [name for name in trial.sets if name not in facts.search.sets]
    new = [name for name in trial.sets if name in facts.search.sets]
    parts = [f"{', '.join(seen)} (seen by the search)" if seen else "", f"{', '.join(new)} (new)" if new else ""]
    return (
        f"{' and '.join(filter(None, parts))}: a plain metric is the mean over all these images, one with the name of "
        "a set before it over those of the set"
    )


def _search_metrics(facts: Facts) -> dict[str, float]:
    """Return for each variant and objective what was untuned, promised and confirmed: numbers, which MLflow sorts by.

    Of several repeats they are the mean over those that have chosen. Untuned is on the images of the search, confirmed
    on those that the search never saw, where there are such.
    """
    found: dict[str, float] = {}
    for one in facts.standings if facts.search is not None else ():
        promised = [two.promised for two in one.chosen if two.promised]
        values = {
            "untuned": facts.untuned.get(one.variant, {}),
            "promised": {name: fmean(two[name] for two in promised) for name in (promised[0] if promised else ())},
            "confirmed": one.confirmed.values,
        }
        for what, numbers in values.items():
            found |= {f"{SEARCHED}{one.variant}/{what}/{name}": value for name, value in numbers.items()}
    return found


def _searched_out(facts: Facts) -> bool:
    """Whether every search has chosen, and every choice has its confirming trials, or there is no search."""
    return facts.search is None or all(
        len(one.chosen) >= facts.search.repeats and one.confirmed.ended >= one.confirmed.planned
        for one in facts.standings
    )


def _search_tags(facts: Facts) -> dict[str, str]:
    """Return where the search of each variant stands: spent, best so far, what was chosen, promised and confirmed."""
    if facts.search is None:
        return {}
    tags = {}
    for one in facts.standings:
        for key, value in _standing(one, facts.search).items():
            tags[f"{SEARCHED}{one.variant}/{key}"] = value
    return tags


def _standing(one: Standing, asked: Asked) -> dict[str, str]:
    front = f" (front of {one.front})" if one.best and len(asked.objectives) > 1 else ""
    several = asked.repeats > 1
    return {
        "spent": f"{one.spent} of {one.budget} {asked.unit}" if one.budget else "nothing to search",
        "stopped": _shown(one.states.get(STOPPED) or None),
        "diverged": _shown(one.states.get(DIVERGED) or None),
        "failed": _shown(one.states.get(FAILED) or None),
        "best": _values(one.best) + front,
        "ended": one.ended,
        "chosen": "; ".join(_repeat(two, _choice(two), several) for two in one.chosen),
        "promised": "; ".join(_repeat(two, _values(two.promised), several) for two in one.chosen if two.promised),
        "confirmed": "; ".join(
            _repeat(two, f"{_values(two.confirmed.values)} ({two.confirmed.ended} of {two.confirmed.planned} "
                    f"seeds{', on ' if asked.sets else ''}{', '.join(asked.sets)})", several)
            for two in one.chosen if two.confirmed.values
        ),
    }  # fmt: skip


def _repeat(one: Chosen, text: str, several: bool) -> str:
    return f"repeat {one.repeat}: {text}" if several else text


def _choice(one: Chosen) -> str:
    """Return what was chosen: the suggestion's number, its settings and why."""
    if one.number is None:
        return f"nothing, {one.why}"
    if one.number < 0:
        return one.why
    settings = ", ".join(f"{path} {_plain(value)}" for path, value in one.params.items())
    return f"{one.number}: {settings} ({one.why})"


def _values(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.6g}" for name, value in values.items())


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
            found[f"{path}{key}"] = _plain(value)
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


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _variants(places: Sequence[Place]) -> str:
    return ", ".join(sorted({place.variant for place in places})) or UNPLANNED


def _numbers(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(set(numbers))))


def _shown(value: Any) -> str:
    """Return a record's value as a tag: one line, '' for nothing."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item}" for key, item in sorted(value.items()))
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)
