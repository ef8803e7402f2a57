"""Which parameters of a search mattered: those told from noise by shuffling, each with its share of the variance.

The shares are from Optuna's functional analysis of variance (fANOVA, Hutter et al., ICML 2014). Alone they would
mislead: those of a variant sum to 1 also where nothing matters at all.
The one place of the analysis that uses Optuna, which is imported when it is needed.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import nan
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from analysis.ledger import Search
from analysis.statistics import Floats, holm
from analysis.suggestions import PARAMS, Searched

__all__ = ["LEAST", "SEED", "SHUFFLES", "Mattered", "importances"]

LEAST = 10
"""With fewer suggestions nothing is said."""
MOST = 200
"""Of more suggestions of a variant so many are looked at, evenly spaced: the time grows faster than their number."""
SHUFFLES = 499
LEVEL = 0.05  # of the parameters of a variant together: how often one is taken to matter where none does
SEED = 0  # of the shuffles and of the forest that fANOVA fits: the same report from the same ledger
_PLACE = ["variant", "repeat", "number"]


@dataclass(frozen=True)
class Mattered:
    """What can be said of a variant's parameters.

    Args:
        count: the suggestions of different settings that were looked at.
        rung: the step at which their values were compared; None for the end.
        shares: of each parameter that is told from noise, what it explains of the first objective's variance over the
            space, 0 to 1 (NaN if it is the only one that was varied); None of one that is not told from noise. Empty
            with fewer than `LEAST` suggestions.
    """

    count: int
    rung: int | None = None
    shares: Mapping[str, float | None] = field(default_factory=dict)


def importances(searched: Searched, search: Search) -> dict[str, Mattered]:
    """Return for each variant that has something to search which parameters mattered for the first objective.

    Compared are the complete suggestions. Where stopping early has left fewer than `LEAST`, it is all that reached the
    first rung, by their values there. Parameters that exist under some values of others only, or that had one value
    alone, are left out.

    A parameter is told from noise if a curve of the second degree in its ranks (of a choice: the mean of each value)
    fits the ranks of the objective better than it fits all but 5 % of `SHUFFLES` shuffles of these, adjusted for the
    number of parameters (Holm). Where no parameter had any effect, TPE's own adaptive choice of settings included, one
    was found in 3 to 6 % of simulated searches of 12 to 60 trials and three parameters. An effect of two parameters
    together that neither has alone is not found.

    Args:
        searched: what was tried.
        search: its objectives and space.
    """
    objective = next(iter(search.objectives))
    known = searched.suggestions[searched.suggestions["same_as"].isna() & (searched.suggestions["state"] != "left out")]
    known = known.assign(value=known[objective].where(known["state"] == "complete"))
    found: dict[str, Mattered] = {}
    for variant, parameters in search.parameters.items():
        if not parameters:
            continue
        own = known[known["variant"] == variant]
        rung, part = _compared(own, searched.rungs[searched.rungs["metric"] == objective])
        few = part.iloc[sorted({round(place) for place in np.linspace(0, len(part) - 1, MOST)})] if len(part) else part
        columns = [path for path in parameters if f"{PARAMS}{path}" in part and path in search.space]
        varied = [path for path in columns if _varied(part[f"{PARAMS}{path}"])]
        shares = _shares(few, varied, search.space) if len(part) >= LEAST else {}
        found[variant] = Mattered(len(part), rung if shares else None, shares)
    return found


def _compared(own: pd.DataFrame, rungs: pd.DataFrame) -> tuple[int | None, pd.DataFrame]:
    """Return the suggestions that can be compared, with the objective as `value`, and the rung if it is the one there.

    At a rung a suggestion's value is the mean of its trials'.
    """
    complete = own[own["value"].notna()]
    if len(complete) >= LEAST or rungs.empty:
        return None, complete
    first = int(rungs["rung"].min())
    values = rungs[rungs["rung"] == first].groupby(_PLACE)["value"].mean()
    there = own.assign(value=values.reindex(pd.MultiIndex.from_frame(own[_PLACE])).to_numpy(dtype=float))
    there = there[there["value"].notna()]
    return (first, there) if len(there) >= LEAST else (None, complete)


def _varied(values: pd.Series[Any]) -> bool:
    return bool(values.notna().all()) and values.nunique() > 1


def _shares(part: pd.DataFrame, paths: list[str], space: Mapping[str, Any]) -> dict[str, float | None]:
    told = _told(part, paths, space)
    if not any(told.values()):
        return dict.fromkeys(paths)
    shares = _explained(part, paths, space) if len(paths) > 1 else dict.fromkeys(paths, nan)
    return {path: shares[path] if told[path] else None for path in paths}


def _told(part: pd.DataFrame, paths: list[str], space: Mapping[str, Any]) -> dict[str, bool]:
    """Say of each parameter whether its effect by itself is told from noise."""
    if not paths:
        return {}
    ranks = stats.rankdata(part["value"])
    rng = np.random.default_rng(SEED)
    shuffled = np.array([ranks, *(rng.permutation(ranks) for _ in range(SHUFFLES))]) - ranks.mean()
    p = []
    for path in paths:
        fits = ((shuffled @ _basis(part[f"{PARAMS}{path}"], choice="choice" in space[path])) ** 2).sum(axis=1)
        p.append(float((fits >= fits[0] * (1 - 1e-9)).mean()))
    return dict(zip(paths, (holm(p) <= LEVEL).tolist(), strict=True))


def _basis(values: pd.Series[Any], *, choice: bool) -> Floats:
    """Return an orthonormal basis, (n, m), of what a parameter's effect may look like."""
    if choice:
        columns = (values.to_numpy()[:, None] == np.array(list(dict.fromkeys(values)), dtype=object)).astype(float)
    else:
        ranks = stats.rankdata(values.to_numpy(dtype=float))
        centred = (ranks - ranks.mean()) / ranks.std()
        columns = np.column_stack([centred**degree for degree in range(min(3, values.nunique()))])
    basis, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    found: Floats = basis[:, sizes > 1e-9 * sizes[0]]
    return found


def _explained(part: pd.DataFrame, paths: list[str], space: Mapping[str, Any]) -> dict[str, float]:
    """Return the shares of variance over the space; they sum to 1, and noise has its part in each."""
    import optuna

    distributions = {path: _distribution(optuna.distributions, space[path], part, path) for path in paths}
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would tell of a new study
    try:
        study = optuna.create_study()
        for row in part.to_dict("records"):
            params = {path: _value(row[f"{PARAMS}{path}"]) for path in paths}
            study.add_trial(
                optuna.trial.create_trial(params=params, distributions=distributions, value=float(row["value"]))
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
