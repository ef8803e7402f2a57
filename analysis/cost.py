"""What each component costs, and what it buys for that: parameters, time of inference, time of training. Pure.

A cost is the difference that a component makes in what a trial took, paired by seed as its effect is. An effect is
divided by a cost only where both are told from zero: the quotient of two differences of unknown sign has no meaning,
and no interval that ends. The interval of a quotient is that of the effect, over the mean cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, nan
from typing import Any

import numpy as np
import pandas as pd

from analysis.comparison import LEVEL, SEEDS
from analysis.ledger import COST
from analysis.schema import COMPLETED
from analysis.statistics import paired
from analysis.tables import Readings, Tables

__all__ = ["TRAINING", "Cost", "arms", "cost_table", "costs"]

TRAINING = "time/train_hours"
"""The column of the hours that a training, its evaluations with it, held its device, times how much of it it held."""
NUMBERS = ("", "_low", "_high", "_seeds", "_per", "_per_low", "_per_high", "_why")
"""What follows a cost's key in the names of its columns."""


@dataclass(frozen=True)
class Cost:
    """A cost that trials have.

    Args:
        key: the column of `analysis.load_trials`, or `TRAINING`. Those of a clock begin with `time/`.
        name: as a head shows it.
        unit: of it.
    """

    key: str
    name: str
    unit: str


def costs(readings: Readings) -> list[Cost]:
    """Return the costs of which some completed trial has a value: the trainer's metrics of cost, then the training."""
    found = [Cost(one.key, one.name, one.unit) for one in readings.study.metrics if one.about == COST]
    table = _taken(readings)
    found.append(Cost(TRAINING, "Training", f"{readings.study.device[0]}-hours"))
    return [one for one in found if one.key in table and table[one.key].notna().any()]


def cost_table(readings: Readings, tables: Tables) -> pd.DataFrame:
    """Return a row for each comparison that the study declared: what the component costs, buys, and buys for its cost.

    Columns: `component`, `variant`, `compared_to` as in the table of verdicts; `verdict`; `benefit` with `benefit_low`
    and `benefit_high`: how much better the primary metric is with the component than without it, in its unit, 95 %;
    and for each cost its key (how much more is taken with the component), followed by `_low`, `_high` (Student, 95 %,
    over seeds), `_seeds`, `_per` (benefit for one unit of the cost) with `_per_low`, `_per_high`, and `_why`: what
    explains a missing quotient. Where the table speaks of a variant and no component, the variant stands for it.

    Args:
        readings: of the ledger, one stage.
        tables: computed from them.
    """
    taken, known = _taken(readings), costs(readings)
    higher = readings.study.metric(readings.study.primary).higher_is_better
    rows = []
    for verdict in tables.verdicts[tables.verdicts["role"] == "primary"].to_dict("records"):
        row = {name: verdict[name] for name in ("component", "variant", "compared_to", "verdict")}
        row |= _benefit(verdict, higher)
        weights = arms(verdict, readings.runs)
        for one in known:
            row |= _cost(one.key, taken, weights, row)
        rows.append(row)
    numbers = [f"{one.key}{number}" for one in known for number in NUMBERS]
    heads = ["component", "variant", "compared_to", "verdict", "benefit", "benefit_low", "benefit_high"]
    return pd.DataFrame(rows, columns=[*heads, *numbers])


def arms(verdict: Mapping[Any, Any], runs: pd.DataFrame) -> dict[str, float]:
    """Return the variants whose costs, weighted, add up to what a component costs; none if no design tells.

    Of a comparison of two variants these two. Of an effect in a design of combinations all pairs that differ by this
    component alone, alike; in a fraction without such pairs, those with it against those without, where the other
    components are there in half of either.

    Args:
        verdict: a row of the table of verdicts.
        runs: as from `analysis.load_runs`.
    """
    if verdict["compared_to"]:
        sign = 1.0 if verdict["present"] else -1.0
        return {verdict["variant"]: sign, verdict["compared_to"]: -sign}
    name = verdict["component"]
    if name not in runs:
        return {}
    there, rest = runs[name].astype(bool).to_dict(), runs.drop(columns=name)
    others = dict(zip(map(str, runs.index), rest.itertuples(index=False, name=None), strict=True))
    without = {others[one]: one for one in others if not there[one]}
    pairs = [(one, without[others[one]]) for one in others if there[one] and others[one] in without]
    if pairs:
        return {variant: sign / len(pairs) for pair in pairs for variant, sign in zip(pair, (1.0, -1.0), strict=True)}
    arms = [[one for one in others if there[one] == side] for side in (True, False)]
    if not all(arms) or not np.allclose(*(rest.loc[arm].mean() for arm in arms)):
        return {}
    return {one: sign / len(arm) for arm, sign in zip(arms, (1.0, -1.0), strict=True) for one in arm}


def _taken(readings: Readings) -> pd.DataFrame:
    """Return what completed trials took: a row for each variant and seed (or repeat), a column for each cost."""
    keys = [one.key for one in readings.study.metrics if one.about == COST and one.key in readings.trials]
    trials = readings.trials[readings.trials["state"] == COMPLETED]
    hours = trials["seconds"].astype(float) / 3600 * readings.study.device[1]
    table = trials[["variant", "seed", "repeat", *keys]].astype(dict.fromkeys(keys, float)).assign(**{TRAINING: hours})
    by = ["variant", "repeat" if readings.unit == "repeat" else "seed"]
    return table.groupby(by)[[*keys, TRAINING]].mean()


def _benefit(verdict: Mapping[Any, Any], higher_is_better: bool | None) -> dict[str, float]:
    """Return how much better the metric is with the component, with its interval; NaN without a direction."""
    sign = (1 if higher_is_better else -1) * (1 if verdict["present"] else -1)
    if higher_is_better is None:
        return dict.fromkeys(("benefit", "benefit_low", "benefit_high"), nan)
    low, high = sorted((sign * verdict["low"], sign * verdict["high"]))
    return {"benefit": sign * verdict["difference"], "benefit_low": low, "benefit_high": high}


def _cost(key: str, taken: pd.DataFrame, weights: Mapping[str, float], row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of one cost."""
    by_seed = taken[key].unstack("variant").reindex(columns=list(weights))
    d = (by_seed * pd.Series(weights, dtype=float)).sum(axis=1, skipna=False).dropna().to_numpy(dtype=float)
    cost, low, high = _interval(d, exact=not key.startswith("time/"))
    found: dict[str, Any] = {"": cost, "_low": low, "_high": high, "_seeds": len(d)}
    why = _undivided(row, weights, found)
    quotients = [row[name] / cost if not why else nan for name in ("benefit", "benefit_low", "benefit_high")]
    found |= {"_per": quotients[0], "_per_low": quotients[1], "_per_high": quotients[2], "_why": why}
    return {f"{key}{name}": value for name, value in found.items()}


def _interval(d: np.ndarray[Any, np.dtype[np.float64]], *, exact: bool) -> tuple[float, float, float]:
    """Return the mean of a cost over seeds and its interval, of 3 seeds or more.

    With `exact`, as parameters are counted, one seed tells it: it is known exactly if every seed has the same.
    """
    if not d.size:
        return nan, nan, nan
    mean = float(d.mean())
    if exact and np.ptp(d) <= 1e-9 * np.abs(d).max():
        return mean, mean, mean
    if len(d) < SEEDS:
        return mean, nan, nan
    return mean, *paired(d[:, None]).interval(LEVEL)


def _undivided(row: Mapping[str, Any], weights: Mapping[str, float], cost: Mapping[str, Any]) -> str:
    """Return why an effect is not divided by a cost; nothing if it is."""
    if not weights:
        return "no variants differ by this component alone"
    if not isfinite(cost[""]):
        return "no seed has this cost in every variant that is compared"
    if not row["verdict"]:
        return "there is no verdict on what it buys"
    if row["verdict"] in ("undecided", "equivalent"):
        return {"undecided": "what it buys is undecided", "equivalent": "it buys nothing that matters"}[row["verdict"]]
    if row["verdict"] == "hurts":
        return "it buys nothing: without it the result is better"
    if not isfinite(cost["_low"]):
        return f"the cost has no interval: {cost['_seeds']} complete seeds, {SEEDS} are needed"
    if cost["_low"] <= 0 <= cost["_high"]:
        return "it costs nothing" if cost["_low"] == cost["_high"] else "its cost is not told from noise"
    return "it saves rather than costs" if cost["_high"] < 0 else ""
