"""Which parameters of a search mattered: Optuna's functional analysis of variance (fANOVA, Hutter et al., ICML 2014).

The one place of the analysis that uses Optuna, which is imported when it is needed.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.ledger import Search
from analysis.suggestions import PARAMS

__all__ = ["LEAST", "importances"]

LEAST = 10
"""With fewer complete suggestions nothing is said."""
MOST = 200
"""Of more complete suggestions of a variant so many are looked at, evenly spaced: the time grows faster than their
number."""
SEED = 0  # of the forest that fANOVA fits: the same report from the same ledger


def importances(suggestions: pd.DataFrame, search: Search) -> dict[str, dict[str, float] | int]:
    """Return for each variant the share of the first objective's variance that each parameter explains, 0 to 1.

    The shares of a variant sum to 1. Parameters that exist under some values of others only, or that had one value
    alone, are left out. A variant with fewer than `LEAST` complete suggestions of different settings has their number
    instead.

    Args:
        suggestions: from `analysis.load_suggestions`.
        search: its objectives and space.
    """
    objective = next(iter(search.objectives))
    complete = suggestions[(suggestions["state"] == "complete") & suggestions["same_as"].isna()]
    complete = complete[complete[objective].notna()]
    found: dict[str, dict[str, float] | int] = {}
    for variant, parameters in search.parameters.items():
        part = complete[complete["variant"] == variant]
        columns = [path for path in parameters if f"{PARAMS}{path}" in part and path in search.space]
        varied = [path for path in columns if _varied(part[f"{PARAMS}{path}"])]
        if not parameters:
            continue
        few = part.iloc[sorted({round(place) for place in np.linspace(0, len(part) - 1, MOST)})] if len(part) else part
        found[variant] = len(part) if len(part) < LEAST else _shares(few, varied, search.space, objective)
    return found


def _varied(values: pd.Series[Any]) -> bool:
    return bool(values.notna().all()) and values.nunique() > 1


def _shares(part: pd.DataFrame, paths: list[str], space: Mapping[str, Any], objective: str) -> dict[str, float]:
    if len(paths) < 2 or part[objective].nunique() < 2:
        return dict.fromkeys(paths, 1.0)
    import optuna

    distributions = {path: _distribution(optuna.distributions, space[path], part, path) for path in paths}
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would tell of a new study
    try:
        study = optuna.create_study()
        for row in part.to_dict("records"):
            params = {path: _value(row[f"{PARAMS}{path}"]) for path in paths}
            study.add_trial(
                optuna.trial.create_trial(params=params, distributions=distributions, value=float(row[objective]))
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of parameters that explain nothing
            shares = optuna.importance.get_param_importances(
                study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=SEED)
            )
    finally:
        optuna.logging.set_verbosity(level)
    return {path: float(shares.get(path, 0.0)) for path in paths}


def _distribution(kinds: Any, one: Mapping[str, Any], part: pd.DataFrame, path: str) -> Any:
    """Return a parameter's range in Optuna's words, widened to what was tried before the spec's range was changed."""
    values = part[f"{PARAMS}{path}"]
    if "choice" in one:
        tried = [_value(value) for value in values]
        return kinds.CategoricalDistribution(list(dict.fromkeys([*one["choice"], *tried])))
    low, high = one.get("float") or one["int"]
    low, high, log = min(low, values.min()), max(high, values.max()), bool(one.get("log", False))
    if "int" in one:
        return kinds.IntDistribution(int(low), int(high), log=log)
    return kinds.FloatDistribution(float(low), float(high), log=log)


def _value(value: Any) -> Any:
    """Return a number as Python's own."""
    return value.item() if hasattr(value, "item") else value
