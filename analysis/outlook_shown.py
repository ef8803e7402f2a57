"""What it would take to decide, as text for the page, the Markdown file, LaTeX and the dry run. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import floor, isfinite, log10
from typing import Any

import pandas as pd

from analysis.comparison import LEVEL
from analysis.ledger import Metric
from analysis.outlook import ASSUMED, COMPONENT, ENDS, Effort, Reach, outlook_table
from analysis.schema import COMPLETED, CONFIRM, SEARCH
from analysis.search_shown import Grid
from analysis.stages import Unit
from analysis.tables import Readings, Tables
from analysis.wording import counted, ended, labels, listed, reason, seeds_reached

__all__ = ["Asked", "OutlookPart", "effort", "outlook_of", "outlook_part", "sizes"]

MISSING = "\u2013"
SIGNIFICANT = 2
"""Digits of hours: what is known of them is no better."""


@dataclass(frozen=True)
class Asked:
    """What a study asks, as far as the words depend on it.

    Args:
        metrics: of the study.
        primary: of this metric each comparison has a row; of others there is the most that any takes.
        unit: what one observation is.
        looks: the numbers of seeds at the looks of seeds until decided, else none.
        sample: whether verdicts speak of images like these.
    """

    metrics: Sequence[Metric]
    primary: str = ""
    unit: Unit = "seed"
    looks: Sequence[int] = ()
    sample: bool = False

    @property
    def units(self) -> str:
        """What observations are called."""
        return "seeds" if self.unit == "seed" else "searches"


@dataclass(frozen=True)
class OutlookPart:
    """What the report says of seeds and hours to come.

    Args:
        table: a row for each margin, and for each comparison in the primary metric.
        note: how it is to be read.
    """

    table: Grid
    note: str


def sizes(readings: Readings) -> dict[str, int]:
    """Return for each declared comparison, by variant, how many were declared together with it.

    None of a design that is for screening, which gives no verdicts.
    """
    if readings.effects and readings.effects.resolution == 3:
        return {}
    return {one.variant: len(group) for group in (readings.family, readings.controls) for one in group}


def effort(readings: Readings) -> Effort:
    """Return what one more seed took so far, of all variants; where searches are repeated, one more repeat."""
    if readings.unit == "repeat" and readings.study.search:
        trials = readings.plan[readings.plan["stage"].isin([SEARCH, CONFIRM])].drop_duplicates("trial")
        each, ended = len(trials) / readings.study.search.repeats, trials[trials["ended"].notna()]
    else:
        each, ended = len(readings.variants), readings.trials[readings.trials["state"] == COMPLETED]
    hours = float(ended["seconds"].astype(float).mean()) / 3600
    return Effort(each, hours, readings.records.at_once)


def outlook_of(readings: Readings, tables: Tables) -> tuple[pd.DataFrame, OutlookPart | None]:
    """Return the table of `analysis.outlook.outlook_table` of what was read, and what is told of it."""
    study, taken, effects = readings.study, effort(readings), readings.effects
    asked = Asked(study.metrics, study.primary, readings.unit, study.looks, sample=study.images == "sample")
    table = outlook_table(
        tables.verdicts, study.matters, sizes(readings), taken, looks=study.looks, planned=readings.planned,
        outstanding=readings.outstanding, unknown="it was not measured on images",
        spreads=effects.spreads if effects else {},
    )  # fmt: skip
    names = labels(readings.variants, readings.runs)
    part = outlook_part(table.assign(why=[reason(why, names) for why in table["why"]]), taken, asked)
    if part and readings.interim:  # what is decided so far is not decided yet
        part = replace(part, note=f"{part.note}{ended(readings.interim)}")
    return table, part


def outlook_part(table: pd.DataFrame, effort: Effort, asked: Asked) -> OutlookPart | None:
    """Return what is told of a table of `outlook_table`; None if no margin was declared, or nothing to compare.

    Args:
        table: as `outlook_table` returns it.
        effort: what the table was made with.
        asked: by the study.
    """
    if table.empty:
        return None
    units, by_key = asked.units, {one.key: one for one in asked.metrics}
    primary = table["metric"] == asked.primary
    own = table[primary & (table["kind"] == COMPONENT)]
    if (primary & (table["kind"] == ASSUMED)).any():
        own = own[:0]  # nothing is known of any of them
    whole = table[(table["kind"] != COMPONENT) & (~primary | (len(own) != 1))]
    rows = pd.concat([own, whole]).sort_index().to_dict("records")
    heads = ["Margin", *(["Component"] if len(own) else [])]
    left = len(heads)
    heads += [f"{units.capitalize()} there are", f"{units.capitalize()} to decide", "More trainings"]
    if isfinite(effort.hours):
        heads += ["More hours", *([f"Hours with {effort.at_once} at a time"] if effort.at_once > 1 else [])]
    cells = [
        [_margin(row, by_key[row["metric"]]), *([_thing(row)] if len(own) else []), *_numbers(row, asked.looks)][
            : len(heads)
        ]
        for row in rows
    ]
    return OutlookPart(Grid(heads, cells, left=left), _note(table, effort, asked))


def _margin(row: Mapping[Any, Any], metric: Metric) -> str:
    """Return the margin with its unit, and the standard deviation of one variant's score that is assumed."""
    said = f"{metric.name}, {row['margin']:g} {metric.unit}".rstrip()
    if row["kind"] != ASSUMED:
        return said
    return f"{said}, at an sd of {row['margin'] / row['sds']:.3g} {metric.unit}".rstrip()


def _thing(row: Mapping[Any, Any]) -> str:
    return str(row["component"] or row["variant"]).replace("_", " ") if row["kind"] == COMPONENT else "all of them"


def _numbers(row: Mapping[Any, Any], looks: Sequence[int]) -> list[str]:
    """Return seeds there are and to decide, trainings and hours to come, or why they are not known."""
    there, known = str(row["seeds"]), bool(pd.notna(row["seeds_low"]))
    if row["kind"] == COMPONENT and not known:
        return [there, f"not known: {row['why']}", *[MISSING] * 3]
    if not known:  # all are decided
        return [there, row["why"], *["0"] * 3]
    low, high = (Reach(int(row[f"seeds_{end}"]), bool(row[f"beyond_{end}"])) for end in ENDS)
    spans = [_span(row, what, high) for what in ("trainings", "hours", "wall_hours")]
    if row["kind"] == COMPONENT and row["why"]:  # it is decided, or will be by the seeds that are planned
        return [there, row["why"], *spans]
    seeds = seeds_reached(low, high, "", most=looks[-1] if looks else 0)
    return [there, f"{seeds}; {row['why']}" if row["why"] else seeds, *spans]


def _span(row: Mapping[Any, Any], what: str, high: Reach) -> str:
    """Return a range of trainings or hours to come; beyond what is counted it has no end."""
    few, many = (_rounded(row[f"{what}_{end}"], whole=what == "trainings") for end in ENDS)
    if row["beyond_low"]:
        return f"more than {few}" if row[f"{what}_low"] else MISSING  # no more were declared
    if high.beyond:
        return f"{few} or more" if few == many else f"{few} to more than {many}"
    return few if few == many else f"{few} to {many}"


def _rounded(value: float, *, whole: bool) -> str:
    """Return a count, or hours with two digits that count."""
    if not pd.notna(value):
        return MISSING
    if whole or value == 0:
        return f"{value:,.0f}"
    rounded = float(f"{value:.{SIGNIFICANT - 1}e}")
    return f"{rounded:,.{max(0, SIGNIFICANT - 1 - floor(log10(rounded)))}f}"


def _note(table: pd.DataFrame, effort: Effort, asked: Asked) -> str:
    """Say what the numbers mean, and what they rest on."""
    units, looks = asked.units, asked.looks
    said = [
        f"So many {units} of every variant, all in all, find a difference as large as the margin, and show one of zero "
        f"to be below it, each with a probability of 80 % at the declared level ({100 * LEVEL:g} % over all "
        f"comparisons{', of which each look has its share' if looks else ''}); a true difference between the two may "
        "take more."
    ]
    if asked.sample:
        said.append("For images like these more scenes may be needed, too, which is not counted here.")
    if looks:
        said.append(f"They are counted at the looks, at {listed([str(one) for one in looks])} {units}.")
    measured = table[(table["kind"] != ASSUMED) & (table["why"] == "")]
    if (measured["seeds_low"] != measured["seeds_high"]).any():
        said.append(
            f"Ranges are 90 % intervals, wide because few {units} tell only roughly how much a difference varies "
            "(three leave its variance open by a factor of 0.33 to 19.5)."
        )
    if (table["kind"] == ASSUMED).any():
        assumed = table["metric"].isin(table.loc[table["kind"] == ASSUMED, "metric"])
        whys = list(dict.fromkeys(table.loc[assumed & (table["kind"] == COMPONENT) & (table["why"] != ""), "why"]))
        why = f" ({'no comparison is complete' if len(whys) > 1 else whys[0]})" if whys else ""
        said.append(
            f"How much {units} differ is not known yet{why}, so it is told for a standard deviation (sd) of one "
            f"variant\u2019s score over {units}, if runs of the same seed have nothing in common; if they correlate by "
            "r, about (1 \u2212 r) times as many do."
        )
    each = f", each {_duration(effort.hours)}" if isfinite(effort.hours) else ""
    most = ", at most, since what is decided is trained no more" if looks else ""
    said.append(
        f"Trainings and hours come on top of those so far and are of all variants ({_per(effort, units)}{each}){most}."
    )
    return " ".join(said)


def _duration(hours: float) -> str:
    size, unit = (60 * hours, "min") if hours < 1 else (hours, "h")
    return f"{_rounded(60 * size, whole=False)} s" if size < 1 else f"{_rounded(size, whole=False)} {unit}"


def _per(effort: Effort, units: str) -> str:
    one = {"seeds": "seed", "searches": "repeat"}[units]
    return f"{counted(round(effort.trainings), 'training')} for each {one}"
