"""The searches of a ledger as Optuna's studies and trials. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from analysis.schema import COMPLETED, PLANNED, RUNNING, STOPPED
from platform.export_ledger import Search, Searches, Tried
from platform.search_space import Parameter, contains, to_optuna

__all__ = ["MARK", "Exported", "exported", "trial"]

MARK = "ledger"
"""The user attribute of a study that tells which ledger it was exported from."""
_STATES = {
    COMPLETED: TrialState.COMPLETE,
    STOPPED: TrialState.PRUNED,
    RUNNING: TrialState.RUNNING,
    PLANNED: TrialState.RUNNING,
}


@dataclass(frozen=True)
class Exported:
    """An Optuna study to be.

    Args:
        name: of the study.
        directions: `max` or `min` of each objective.
        metrics: the objectives' names.
        attributes: the user attributes, `MARK` among them.
        trials: in the order of their numbers.
    """

    name: str
    directions: Sequence[str]
    metrics: Sequence[str]
    attributes: Mapping[str, Any]
    trials: Sequence[FrozenTrial]


def exported(found: Searches) -> list[Exported]:
    """Return a study's searches as Optuna studies, in the order of the plan."""
    distributions = {one.path: (one, to_optuna(one)) for one in found.space}
    objectives = found.asked.objectives
    return [
        Exported(
            name=" · ".join([found.study, search.variant, *_repeat(found, search)]),
            directions=list(objectives.values()),
            metrics=list(objectives),
            attributes=_attributes(found, search),
            trials=[trial(one, search, list(objectives), distributions) for one in search.tried],
        )
        for search in found.each
    ]


def _repeat(found: Searches, search: Search) -> list[str]:
    return [f"repeat {search.repeat}"] if found.asked.repeats > 1 else []


def _attributes(found: Searches, search: Search) -> dict[str, Any]:
    """Return the user attributes of a study; the dashboard shows them in this order."""
    asked, begun = found.asked, datetime.fromtimestamp(found.begun, UTC).isoformat()
    rules = ", ".join(f"{key} {value}" for key, value in asked.rules.items() if value is not None)
    chosen = {"chosen": "none" if search.chosen is None else search.chosen, "why": search.why} if search.why else {}
    ended = {"ended": asked.ended[search.variant]} if search.variant in asked.ended else {}
    left_out = asked.left_out.get(search.variant, {})
    return {
        **chosen,
        "budget": ", ".join(f"{amount} {unit}" for unit, amount in asked.budget.items()),
        **ended,
        "sampler": asked.sampler,
        "scheduler": f"{asked.scheduler} ({rules})" if rules else asked.scheduler,
        **{f"not searched: {path}": reason for path, reason in left_out.items()},
        "seeds": ", ".join(map(str, asked.seeds)),
        "spec": found.spec,
        "study": found.study,
        "variant": search.variant,
        "repeat": search.repeat,
        MARK: f"{found.study}, begun {begun}",
    }


def trial(
    one: Tried,
    search: Search,
    objectives: Sequence[str],
    distributions: Mapping[str, tuple[Parameter, BaseDistribution]],
) -> FrozenTrial:
    """Return a suggestion as Optuna's trial.

    As where Optuna itself runs a search: a trial that was stopped has the value at its rung with one objective, and
    none with several; so have curves, which are Optuna's intermediate values. With several objectives the values at the
    rung are user attributes. What is not finite is no value: a trial whose result is not is a failed one.

    Args:
        one: the suggestion.
        search: which it is of.
        objectives: keys.
        distributions: of all variants' parameters, by path; a value outside of them becomes a user attribute.
    """
    state, values = _STATES.get(one.state, TrialState.FAIL), one.values
    if state == TrialState.COMPLETE and not (values and all(map(math.isfinite, values))):
        state, values = TrialState.FAIL, None
    single = len(objectives) == 1
    curve = {step: at[0] for step, at in one.curve.items() if math.isfinite(at[0])} if single else {}
    if state == TrialState.PRUNED and max(one.curve, default=None) in curve:
        values = [curve[max(curve)]]
    params: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for path, value in one.params.items():
        inside = path in distributions and contains(distributions[path][0], value)
        (params if inside else others)[path] = value
    found = create_trial(
        state=state,
        values=values,
        params=params,
        distributions={path: distributions[path][1] for path in params},
        user_attrs={**_told(one, search, objectives), **others},
        intermediate_values=curve,
    )
    begun = max(one.at, one.started or one.at)  # a repeat's trial is older than it
    found.datetime_start = datetime.fromtimestamp(begun)  # Optuna's times are local
    found.datetime_complete = datetime.fromtimestamp(max(begun, one.ended or begun)) if state.is_finished() else None
    return found


def _told(one: Tried, search: Search, objectives: Sequence[str]) -> dict[str, Any]:
    """Return a trial's user attributes: what Optuna has no place for."""
    told: dict[str, Any] = {
        "number": one.number,
        "state": one.state,
        "seeds": ", ".join(map(str, one.seeds)) or None,
        "identity": one.identity,
        "same_as": one.same_as,
        "message": one.message,
    }
    if one.state == COMPLETED and not (one.values and all(map(math.isfinite, one.values))):
        told["message"] = "an objective is no finite number at the last evaluations"
    if one.state == STOPPED and one.curve:
        told["rung"] = max(one.curve)
        if len(objectives) > 1:
            there = zip(objectives, one.curve[told["rung"]], strict=True)
            told |= {f"{key} at the rung": value for key, value in there}
    if search.chosen == one.number:
        done, planned = search.confirmations
        told |= {"chosen": True, "why": search.why}
        told |= {f"{key} confirmed": value for key, value in search.confirmed.items()}
        told["confirmed by"] = f"{done} of {planned} trials" if planned else None
    return {key: value for key, value in told.items() if value is not None and _sayable(value)}


def _sayable(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)
