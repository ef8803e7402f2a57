"""What the report says of effects that are no verdict, and of how they hang together. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

import pandas as pd

from analysis.comparison import LEVEL
from analysis.effects import ADDED, INTERACTION, LEFT_OUT, MAIN, SHAPLEY, TOGETHER
from analysis.effects_tables import Effects
from analysis.ledger import Study
from analysis.wording import counted, ended, interval, listed, number, sentence

__all__ = ["differing", "method", "said", "spoken", "told", "total"]

OPENINGS = {
    LEFT_OUT: "In the full model, {it} changes",
    ADDED: "Added to the bare model, {it} changes",
    TOGETHER: "All components together change",
}

_RESOLUTIONS = {4: ("IV", "three"), 5: ("V", "four"), 6: ("VI", "five"), 7: ("VII", "six")}
"""Of a fraction: its numeral, and how many components must interact for a main effect to be mistaken."""


def spoken(name: str) -> str:
    """Return a component's or an interaction's name for readers."""
    return name.replace("_", " ").replace(" x ", " \u00d7 ")


def said(row: Mapping[Any, Any], effects: Effects, *, decimals: int, unit: str, over: str = "") -> str:
    """Say what a row of an effect means, with its estimand, and its verdict if it has one.

    Args:
        row: of `Effects.table` or `Effects.judged`.
        effects: of the study.
        decimals: of the metric.
        unit: what one observation is: a `seed`, or a `repeat` of the search.
        over: what else a verdict is limited to, with a comma.
    """
    study, thing = effects.study, spoken(row["component"])
    if row["verdict"]:
        return _judged(row, effects, decimals=decimals, unit=unit, over=over)
    if not isfinite(row["difference"]):
        return f"Nothing can be said of {_called(row)}: {row['why']}.{ended(row['left_out'])}"
    if row["estimand"] == INTERACTION:
        return _interplay(row, study, decimals=decimals)
    opening = OPENINGS.get(row["estimand"], f"With {thing}, {effects.over(row['estimand'])},").format(it=thing)
    changes = f"{_metric(row, study)} {_where(row, study)}"
    verb = "" if row["estimand"] in OPENINGS else " changes"
    change = f"{opening} {changes}{verb} by {_change(row, study, decimals=decimals)}"
    return f"{change}{_caution(row)}.{ended(row['left_out'])}"


def told(table: pd.DataFrame) -> pd.DataFrame:
    """Return the interactions that are told from zero, adjusted for their number, the largest first."""
    found = table[(table["estimand"] == INTERACTION) & (table["p_adjusted"] < LEVEL)]
    return found.loc[found["difference"].abs().sort_values(ascending=False, kind="stable").index]


def differing(table: pd.DataFrame) -> str:
    """Say why what a component is credited with differs from estimand to estimand; nothing with one estimand alone.

    Args:
        table: of `Effects.table`, of one metric.
    """
    shown = [one for one in (LEFT_OUT, ADDED, SHAPLEY, MAIN) if (table["estimand"] == one).any()]
    if len(shown) < 2:
        return ""
    asked = "The columns answer different questions and would agree if no component changed what another one does"
    interactions = table[table["estimand"] == INTERACTION]
    if interactions.empty:
        return f"{asked}."
    found = told(table)
    if found.empty:
        if interactions["p_adjusted"].isna().all():
            return f"{asked}; whether one does cannot be told here."
        return f"{asked}; no interaction of two is told from zero here, so they may differ by chance alone."
    largest = found.iloc[0]
    aliases = f" (or {largest['aliases'].replace(', ', ' or ')}, which it cannot be told from)"
    aliases = spoken(aliases) if largest["aliases"] else ""
    return f"{asked}; here some do, most of all {spoken(largest['component'])}{aliases}."


def total(table: pd.DataFrame, study: Study, *, decimals: int) -> str:
    """Say that the Shapley values add up to the whole, with both numbers; nothing without them."""
    values = table.loc[table["estimand"] == SHAPLEY, "difference"]
    whole = table.loc[table["estimand"] == TOGETHER, "difference"]
    if values.empty or whole.empty or values.isna().any() or whole.isna().any():
        return ""
    unit = study.metric(study.primary).unit
    terms = " ".join(_term(value, decimals, first=place == 0) for place, value in enumerate(values))
    sums = f"{terms} = {number(float(values.sum()), decimals, signed=True)} {unit}".rstrip()
    all_of_it = f"{number(float(whole.iloc[0]), decimals, signed=True)} {unit}".rstrip()
    return (
        f"The Shapley values add up to the whole: {sums}; the full model less the bare one is {all_of_it} "
        "(computed before rounding)."
    )


def method(effects: Effects) -> list[str]:
    """Return how the effects were estimated, and what is taken for granted, in sentences."""
    count = len(effects.runs.columns)
    found = [f"{_combinations(effects)} of {counted(count, 'component')} were trained{_made_of(effects)}."]
    numeral, order = _RESOLUTIONS.get(effects.resolution or 0, ("", ""))
    if effects.resolution == 3:
        found.append(
            "Resolution III is for screening: a main effect cannot be told from an interaction of two, so there are "
            "no verdicts."
        )
    elif order:
        found.append(
            f"Of such a fraction (resolution {numeral}) main effects are right as "
            f"far as no {order} components or more interact"
            + ("; interactions of two stand for each other (aliases)." if effects.resolution == 4 else ".")
        )
    found.append(
        "Every effect is that of a component\u2019s presence: a weighted sum of the variants\u2019 means, each over "
        "its own seeds; seeds that variants share are paired. A training that is missing is left out alone; where "
        "one variant has many fewer seeds than the others, intervals may be too short and p-values too small "
        "(simulated: with 3 of 10 seeds, up to 8 % of them miss at 5 %, and up to 3 % at 1 %, the most if it also "
        "varies more)."
    )
    if effects.drawn and not effects.exact:
        found.append(
            "The intervals of Shapley values carry the error of drawing orders, too (`sampling` in the file). Where a "
            "component matters in few orders alone they are too short (simulated, one order of seven: up to 7 % miss, "
            "and of 20 orders a value of 0 passes for an effect at 1 % in up to 4.6 %)."
        )
    return found


def _combinations(effects: Effects) -> str:
    found = counted(len(effects.runs), "combination")
    whole = effects.exact or effects.drawn
    return found if whole else f"{len(effects.runs)} of the {2 ** len(effects.runs.columns)} combinations"


def _made_of(effects: Effects) -> str:
    if effects.drawn:
        return f" ({counted(len(effects.drawn), 'random order')})"
    return " (all there are)" if effects.exact else ""


def _judged(row: Mapping[Any, Any], effects: Effects, *, decimals: int, unit: str, over: str) -> str:
    """Return a verdict's sentence; what more seeds cannot lessen is named."""
    over, study = f"{over}{effects.over(row['estimand'])}, ", effects.study
    text = sentence(
        {**row, "variant": row["component"], "compared_to": "", "present": True, "partial": 0}, study,
        decimals=decimals, family=len(effects.family), unit=unit, over=over,
    )  # fmt: skip
    if row["verdict"] != "undecided" or not row["sampling"] > 0:
        return text
    drawn = f"{number(row['sampling'], decimals)} {study.metric(study.primary).unit}".rstrip()
    return f"{text} More {unit}s do not lessen the error of drawing so few orders, \u00b1 {drawn}."


def _caution(row: Mapping[Any, Any]) -> str:
    """Return why an effect has no verdict, or no interval, as the end of a sentence."""
    if row["aliases"]:
        return f"; no verdict, since it cannot be told from {_either(row['aliases'])}"
    return f"; {row['why']}" if row["why"] else ""


def _interplay(row: Mapping[Any, Any], study: Study, *, decimals: int) -> str:
    """Say what an interaction means: twice it is what the effect of one changes by when the other is there."""
    one, _, other = row["component"].partition(" x ")
    double = {name: 2 * row[name] for name in ("difference", "low", "high")}
    may = f" (or this is {_either(row['aliases'])})" if row["aliases"] else ""
    change = _change({**row, **double}, study, decimals=decimals)
    return (
        f"Where {spoken(other)} is there, the effect of {spoken(one)} on {_metric(row, study)} {_where(row, study)} "
        f"differs by {change}, twice the interaction{may}."
    )


def _either(aliases: str) -> str:
    """Return aliases as a list in prose."""
    return listed([spoken(one) for one in aliases.split(", ")]).replace(" and ", " or ")


def _called(row: Mapping[Any, Any]) -> str:
    return f"{spoken(row['component'])} ({row['estimand']})"


def _metric(row: Mapping[Any, Any], study: Study) -> str:
    return study.metric(row["metric"]).name


def _where(row: Mapping[Any, Any], study: Study) -> str:
    if study.images == "sample":
        return f"on images like these ({counted(row['scenes'], 'scene')})"
    return "on this image" if row["images"] == 1 else f"on these {counted(row['images'], 'image')}"


def _change(row: Mapping[Any, Any], study: Study, *, decimals: int) -> str:
    unit = study.metric(row["metric"]).unit
    change = f"{number(row['difference'], decimals, signed=True)} {unit}".rstrip()
    if not isfinite(row["low"]):
        return change
    return f"{change} ({interval(row['low'], row['high'], decimals=decimals)})"


def _term(value: float, decimals: int, *, first: bool) -> str:
    """Return a term of a sum with its sign."""
    text = number(value, decimals)
    minus = text.startswith("\u2212")
    sign = ("\u2212" if minus else "") if first else ("\u2212 " if minus else "+ ")
    return sign + text.lstrip("\u2212")
