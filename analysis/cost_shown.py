"""What each component costs and buys, as text for the page, the Markdown file and LaTeX. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import floor, isfinite, log10
from typing import Any

import pandas as pd

from analysis import wording
from analysis.cost import Cost, costs
from analysis.search_shown import Grid
from analysis.shown import tag
from analysis.tables import Readings, metric_digits

__all__ = ["CostPart", "amount", "cost_part"]

SIGNIFICANT = 3
MISSING = "\u2013"


@dataclass(frozen=True)
class CostPart:
    """What the report says of costs.

    Args:
        table: a row for each component.
        sentences: on each of them.
        note: how the table is to be read.
    """

    table: Grid
    sentences: list[str]
    note: str


def cost_part(readings: Readings, table: pd.DataFrame) -> CostPart | None:
    """Return what is told of a table of `analysis.cost.cost_table`; None if there is nothing to tell."""
    known, unit = costs(readings), readings.study.metric(readings.study.primary).unit
    if table.empty or not known:
        return None
    rows = table.to_dict("records")
    heads = ["Component", "Verdict", f"Buys{_in(unit)}"]
    for one in known:
        heads += [f"{one.name}{_in(one.unit)}", f"{unit} per {_single(one)}".strip()]
    decimals = metric_digits(readings, readings.study.primary)
    cells = [
        [
            _thing(row),
            tag(row, readings),
            wording.estimate(_prefixed(row, "benefit"), decimals),
            *(text for one in known for text in (_more(row, one.key), _per(row, one.key))),
        ]
        for row in rows
    ]
    sentences = [_sentence(row, known, readings, decimals) for row in rows]
    return CostPart(Grid(heads, cells, left=2), sentences, _note(readings))


def amount(value: float, *, signed: bool = False) -> str:
    """Return a number with three significant digits and a true minus sign; an en dash for one that is missing."""
    if not isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    rounded = float(f"{value:.{SIGNIFICANT - 1}e}")
    places = SIGNIFICANT - 1 - floor(log10(abs(rounded)))
    text = f"{rounded:{'+' if signed else ''},.{max(0, places)}f}"
    return text.replace("-", "\u2212")


def _in(unit: str) -> str:
    return f" ({unit})" if unit else ""


def _thing(row: Mapping[Any, Any]) -> str:
    return str(row["component"] or row["variant"]).replace("_", " ")


def _prefixed(row: Mapping[Any, Any], name: str) -> dict[str, float]:
    return {"difference": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]}


def _more(row: Mapping[Any, Any], key: str) -> str:
    """Return how much more is taken with the component, with its interval unless it is exact."""
    cost, low, high = (row[f"{key}{end}"] for end in ("", "_low", "_high"))
    if not isfinite(low) or low == high:
        return amount(cost, signed=True)
    return f"{amount(cost, signed=True)} [{amount(low, signed=True)}, {amount(high, signed=True)}]"


def _per(row: Mapping[Any, Any], key: str) -> str:
    """Return what is bought for one unit, or why that is not said."""
    per, low, high = (row[f"{key}_per{end}"] for end in ("", "_low", "_high"))
    if row[f"{key}_why"]:
        return f"none: {row[f'{key}_why']}"
    return f"{amount(per)} [{amount(low)}, {amount(high)}]"


def _sentence(row: Mapping[Any, Any], known: list[Cost], readings: Readings, decimals: int) -> str:
    """Say what a component costs, and what it buys for that."""
    costs: list[str] = []
    saves: list[str] = []
    unknown: list[str] = []
    nothing: list[str] = []
    for one in known:
        cost, low, high = (row[f"{one.key}{end}"] for end in ("", "_low", "_high"))
        if not isfinite(cost):
            unknown.append(f"what it takes of {_of(one)} is not known: {row[f'{one.key}_why']}")
        elif not isfinite(low):
            few = f"{wording.counted(row[f'{one.key}_seeds'], readings.unit)}, so no interval"
            unknown.append(f"in {_of(one)} it makes a difference of {amount(cost, signed=True)} {one.unit} ({few})")
        elif low == high == 0:
            nothing.append(_of(one))
        elif low <= 0 <= high:
            reach = f"{amount(low, signed=True)} to {amount(high, signed=True)} {one.unit}"
            unknown.append(f"in {_of(one)} its cost is not told from noise ({reach})")
        else:
            near, far = sorted((abs(low), abs(high)))
            reach = "" if low == high else f" ({amount(near)} to {amount(far)})"
            of = "" if one.unit == "M" else "of "  # millions of the things that the name counts
            size = f"{amount(abs(cost))} {one.unit}"
            if one.unit == "M" and abs(cost) < 1e-3 and not reach:
                size = f"{1e6 * abs(cost):,.0f}"
            (costs if low > 0 else saves).append(f"{size}{reach} {of}{_of(one)}")
    parts = [f"costs {wording.listed(costs)}"] if costs else []
    parts += [f"saves {wording.listed(saves)}"] if saves else []
    none = f"costs nothing in {wording.listed(nothing)}" if nothing else ""
    if none and parts:
        unknown.append(f"it {none}")
    elif none:
        parts = [none]
    thing = _thing(row)
    opening = thing[0].upper() + thing[1:]
    said = f"{opening} {' and '.join(parts)}" if parts else f"{opening} has no cost that is told from zero"
    return f"{said}; {_bought(row, known, readings, decimals)}{''.join(f'; {one}' for one in unknown)}."


def _single(one: Cost) -> str:
    return one.unit.removesuffix("s") if one.unit.endswith("-hours") else one.unit


def _of(one: Cost) -> str:
    """Return a cost as a noun in prose: what stands behind a comma in its name is its size."""
    return (one.name[0].lower() + one.name[1:]).replace(", ", " of ")


def _bought(row: Mapping[Any, Any], known: list[Cost], readings: Readings, decimals: int) -> str:
    """Say what a component buys; the quotients where there are any."""
    metric = readings.study.metric(readings.study.primary)
    if not row["verdict"]:
        return "there is no verdict on what it buys"
    size = f"{wording.number(abs(row['benefit']), decimals)} {metric.unit}".rstrip()
    reach = wording.interval(row["benefit_low"], row["benefit_high"], decimals=decimals)
    if row["verdict"] == "undecided":
        return f"what it buys is undecided ({reach} {metric.unit}".rstrip() + "), so nothing is divided by its cost"
    if row["verdict"] == "equivalent":
        return f"it buys nothing that matters ({reach} {metric.unit}".rstrip() + f" of {metric.name})"
    near, far = sorted((abs(row["benefit_low"]), abs(row["benefit_high"])))
    reach = wording.interval(near, far, decimals=decimals, signed=False)
    if row["verdict"] == "hurts":
        return f"it buys nothing: with it {metric.name} is worse by {size} ({reach})"
    per = [
        f"{amount(row[f'{one.key}_per'])} {metric.unit} per {_single(one)}".replace("  ", " ")
        for one in known
        if not row[f"{one.key}_why"]
    ]
    return f"it buys {size} of {metric.name} ({reach})" + (f", that is {wording.listed(per)}" if per else "")


def _note(readings: Readings) -> str:
    device, count = readings.study.device
    held = f"{count:g} {device}{'' if count <= 1 else 's'}"
    return (
        f"What is taken with the component, less what is taken without it, paired by {readings.unit}, and in brackets "
        f"95 % intervals, each for itself. {device}-hours are those of one training with its evaluations, on {held}, "
        "as long as it took with what else ran on the machine. An effect is divided by a cost only where both are told "
        "from zero; the interval of a quotient is that of the effect over the mean cost. What is bought is positive "
        f"where the metric is better with the component.{wording.ended(readings.interim)}"
    )
