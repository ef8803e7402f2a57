"""What is told of the effects of components: as a frame, and as text for the page, Markdown and the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import pandas as pd

from analysis.effects import ADDED, ESTIMANDS, INTERACTION, LACKING, LEFT_OUT, MAIN, SHAPLEY, TOGETHER
from analysis.effects_figures import Together
from analysis.effects_tables import COLUMNS, Effects
from analysis.effects_wording import differing, method, said, spoken, told, total
from analysis.ledger import StudyLike, open_ledger
from analysis.search_shown import Grid
from analysis.shown import tag
from analysis.stages import verdict_stage
from analysis.tables import Readings, families, marked, metric_digits, read
from analysis.wording import counted, ended, estimate, number, p_value

__all__ = ["EffectsPart", "effects_part", "effects_table", "load_effects"]

CREDITS = {MAIN: "Main effect", SHAPLEY: "Shapley value", LEFT_OUT: "Leave-one-out", ADDED: "Add-one-in"}
"""What a component is credited with, in the order of the columns."""
DRAWN = 3
"""So many interactions are drawn."""
MOST = 40
"""So many interactions are listed where people read; the file has all."""


@dataclass(frozen=True)
class EffectsPart:
    """What the report says of effects.

    Args:
        note: of which metric they are, and whether they are interim.
        method: how they were estimated, sentences.
        estimands: what each column of `credits` means: (head, words).
        credits: what each component is credited with, side by side.
        why: why these differ, a sentence or nothing.
        total: that Shapley values add up, a sentence or nothing.
        interactions: the largest first; no rows where the design has none.
        pairs: the means behind the largest ones, to be drawn.
        each: how many variants each of these means is over.
        findings: a sentence on each interaction that is told from zero, or one that says none is.
        cut: how many interactions are not listed.
        declared: the estimand that has the verdicts.
        over: what it is an average over.
    """

    note: str
    method: list[str]
    estimands: list[tuple[str, str]]
    credits: Grid
    why: str
    total: str
    interactions: Grid
    pairs: list[Together]
    each: int
    findings: list[str]
    cut: int
    declared: str
    over: str


def load_effects(study: StudyLike) -> pd.DataFrame:
    """Return what a study's design says of its components, in the primary metric, with intervals and sentences.

    Main effects and interactions of a factorial design; Shapley values where every combination, or random orders, were
    trained; what the full model loses without each component, and what each adds to the bare one, where such variants
    are there. The stage, the images and what one observation is are those of the report's verdicts.

    Columns: `metric`; `role` (`primary`: the family that the design declared for verdicts; else `exploratory`);
    `estimand` (a key of `analysis.effects.ESTIMANDS`), `component` (`a`, or `a x b`), `aliases` (what it cannot be told
    from); `difference` (of the presence, in the metric's unit) with `low` and `high` (95 %, for this row alone), `p`,
    `p_adjusted` (Holm, among the rows of the same estimand), `p_equivalent`, `p_equivalent_adjusted`, `deviation`,
    `effect` (standardised), `sampling`, `seeds`, `images`, `scenes`, `verdict`, `note`, `why`: see
    `analysis.factorial_effects`; `n_failed`: the trainings behind it that diverged or failed, what is still to be
    trained is none; `sentence`; `unlocked`: what was changed after the first trial of what a primary row rests on; its
    verdict is exploratory then. No rows where the ledger does not say which components variants lack. Where planned
    trials are outstanding, a verdict's `note` and sentence say how many. Where seeds are trained until all is decided,
    `look`: the seeds at which a primary row was decided, 0 if none was.

    Args:
        study: a study's folder, or its name under `results`.

    Raises:
        StudyError: if there is no such study, or its ledger cannot be read.
    """
    with open_ledger(study) as ledger:
        return effects_table(read(ledger, verdict_stage(ledger.study)))


def effects_table(readings: Readings) -> pd.DataFrame:
    """Return the table of `load_effects` from what was read."""
    effects = readings.credits
    if effects is None:
        return pd.DataFrame(columns=[*COLUMNS, "sentence", "unlocked"])
    table = _over_looks(readings, effects.table(readings.judged))
    behind = effects.behind
    named = zip(table["estimand"], table["component"], strict=True)
    table["n_failed"] = [len(readings.broken(behind[effect])) for effect in named]
    decimals = metric_digits(readings, readings.study.primary)
    rows = table.to_dict("records")
    options = {"unit": readings.unit, "over": readings.found}
    table = table.assign(sentence=[said(row, effects, decimals=decimals, **options) for row in rows])
    return marked(table, readings)


def _meant(estimand: str, effects: Effects) -> str:
    """Return what an effect is; of a fraction, over the combinations that were trained."""
    return f"what it changes, {effects.over(MAIN)}" if estimand == MAIN else ESTIMANDS[estimand]


def _over_looks(readings: Readings, table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with the verdicts that hold over all looks, where seeds are trained until all is decided."""
    primary = table["role"] == "primary"
    if not (readings.study.looks and primary.any()):
        return table
    judged, *_ = families(readings, readings.judged, readings.study.primary)
    told = readings.over_looks(judged).assign(metric=readings.study.primary, role="primary")
    rows = pd.concat([told, table[~primary].assign(look=0)], ignore_index=True)
    return rows[[*COLUMNS, "look"]]


def effects_part(readings: Readings, table: pd.DataFrame) -> EffectsPart | None:
    """Return what is told of `table`, from `effects_table`; None if the design declared no effects."""
    effects, study = readings.effects, readings.study
    if effects is None:
        return None
    decimals = metric_digits(readings, study.primary)
    shown = [one for one in CREDITS if (table["estimand"] == one).any()]
    interactions = table[table["estimand"] == INTERACTION]
    largest = interactions["difference"].abs().sort_values(ascending=False, kind="stable", na_position="last").index
    found = told(table)
    findings = found["sentence"].tolist()
    if len(interactions) and not findings and interactions["p_adjusted"].notna().any():
        findings = [f"None of {counted(len(interactions), 'interaction')} is told from zero (Holm, 5 %)."]
    meaning = f"{study.metric(study.primary).title}: the difference that a component\u2019s presence makes"
    return EffectsPart(
        note=f"{meaning}, with its 95 % interval.{ended(readings.interim)}",
        method=method(effects),
        estimands=[(CREDITS[one], f"{_meant(one, effects)}.") for one in shown],
        credits=_credits(table, shown, readings, effects, decimals),
        why=differing(table),
        total=total(table, study, decimals=decimals),
        interactions=_interactions(interactions.loc[largest[:MOST]], decimals),
        pairs=_pairs(interactions.loc[largest[:DRAWN]], readings, effects),
        each=len(effects.runs) // 4,  # with and without two components, in a factorial design equally many
        findings=findings,
        cut=max(0, len(interactions) - MOST),
        declared=effects.declared,
        over=effects.over(effects.declared),
    )


def _credits(table: pd.DataFrame, shown: list[str], readings: Readings, effects: Effects, decimals: int) -> Grid:
    """Return a row for each component, and where there are Shapley values their sum beside the whole."""
    cells = {(row["component"], row["estimand"]): row for row in table.to_dict("records")}
    verdicts = any(row["verdict"] for row in cells.values())
    heads = ["Component", *(CREDITS[one] for one in shown), *(["Verdict"] if verdicts else [])]
    rows = []
    for name in map(str, effects.runs.columns):
        numbers = [_estimate(cells.get((name, one)), decimals) for one in shown]
        verdict = [tag(cells[name, effects.declared], readings)] if verdicts else []
        rows.append([spoken(name), *numbers, *verdict])
    whole = cells.get(("all", TOGETHER))
    if whole is not None and SHAPLEY in shown:
        values = [cells[str(name), SHAPLEY]["difference"] for name in effects.runs.columns]
        sums = {
            "sum of Shapley values": number(float(sum(values)), decimals, signed=True),
            "all components together": _estimate(whole, decimals),
        }
        rows += [
            [name, *(text if one == SHAPLEY else "" for one in shown), *([""] if verdicts else [])]
            for name, text in sums.items()
        ]
    return Grid(heads, rows)


def _estimate(row: Mapping[Any, Any] | None, decimals: int) -> str:
    """Return a difference with its interval, or why there is none."""
    if row is None or row["why"].startswith(LACKING):
        return "not in this design"
    return estimate(row, decimals) if isfinite(row["difference"]) else row["why"]


def _pairs(table: pd.DataFrame, readings: Readings, effects: Effects) -> list[Together]:
    """Return the means of the primary metric with and without both components of each interaction that has a number."""
    means = readings.averaged.groupby("variant")[readings.study.primary].mean().reindex(effects.runs.index)
    found = []
    for name in table.loc[table["difference"].notna(), "component"]:
        one, _, other = name.partition(" x ")
        cells = means.groupby([effects.runs[one], effects.runs[other]]).mean()
        without, having = ((float(cells[there, 0]), float(cells[there, 1])) for there in (0, 1))
        found.append(Together(spoken(one), spoken(other), without, having))
    return found


def _interactions(table: pd.DataFrame, decimals: int) -> Grid:
    aliased = (table["aliases"] != "").any()
    heads = ["Interaction", "Half the change [95 %]", "p, adjusted", *(["Cannot be told from"] if aliased else [])]
    rows = [
        [
            spoken(row["component"]),
            _estimate(row, decimals),
            p_value(row["p_adjusted"]),
            *([spoken(row["aliases"])] if aliased else []),
        ]
        for row in table.to_dict("records")
    ]
    return Grid(heads, rows)
