"""The report's tables as text: what the page, the Markdown file and the terminal show alike. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import isfinite
from typing import Any

import pandas as pd

from analysis import wording
from analysis.ledger import QUALITY, Metric, Study
from analysis.records import Records, dated
from analysis.schema import CONFIRM, DIVERGED, FAILED, FIXED, PLANNED, SEARCH
from analysis.tables import Readings, Tables, metric_digits
from analysis.wording import counted, number

__all__ = [
    "ROWS", "Event", "Group", "Verdict", "begun", "breaks", "curved", "differed", "events", "explored", "facts",
    "group", "groups", "happened", "labels", "looked", "measured", "notices", "scored", "settings", "tag", "trials",
    "variants_head", "verdicts",
]  # fmt: skip

ROWS = 200
"""Longer lists are cut where people read, and whole in the CSV files."""


@dataclass(frozen=True)
class Verdict:
    """One comparison, in the primary metric."""

    component: str
    verdict: str
    estimate: str
    p: str
    effect: str
    seeds: int
    sentence: str
    bound: str
    mark: str = ""
    """`exploratory` if it rests on what was changed after the first trial, `interim` until all planned seeds end."""

    @property
    def tag(self) -> str:
        """The verdict with its mark."""
        return f"{self.verdict}, {self.mark}" if self.mark else self.verdict


@dataclass(frozen=True)
class Group:
    """The variants on one set of images: heads (title, arrow), and rows of `name`, `kind`, `completed`, `cells`.

    A cell is a mean and its spread over seeds. `spans` are the heads above the heads, each with how many it covers.
    """

    name: str
    heads: list[tuple[str, str]]
    rows: list[dict[str, Any]]
    spans: list[tuple[str, int]]

    @property
    def begins(self) -> set[int]:
        """The places of the columns with which a span begins, the first one apart."""
        return set(accumulate(count for _, count in self.spans[:-1]))


@dataclass(frozen=True)
class Event:
    """Something that happened in a training."""

    name: str
    seed: str
    step: str
    what: str
    text: str


def labels(readings: Readings) -> dict[str, str]:
    """Return each variant's name for readers, in the order of the plan."""
    return wording.labels(readings.variants, readings.runs)


def facts(readings: Readings) -> list[str]:
    """Return the size of the study, what it took, and when the ledger last changed."""
    study, trials = readings.study, readings.plan if readings.study.search else readings.trials
    hours = trials.drop_duplicates("trial")["seconds"].sum() / 3600
    return [
        f"{counted(len(readings.variants), 'variant')} \u00d7 {counted(readings.trials['seed'].nunique(), 'seed')}",
        *([_tried(trials)] if study.search else []),
        counted(_images(readings), "image"),
        f"{hours:.1f} h of training" if hours >= 1 else f"{60 * hours:.1f} min of training",
        f"as of {dated(readings.records.as_of)}",
    ]


def _tried(plan: pd.DataFrame) -> str:
    tried = plan.loc[plan["stage"] == SEARCH, ["variant", "repeat", "number"]].drop_duplicates()
    return f"{counted(len(tried), 'suggestion')} tried"


def _images(readings: Readings) -> int:
    """Return how many images the stage is scored on."""
    if readings.stage == CONFIRM and readings.study.confirm and readings.study.confirm.sets:
        return len(readings.images[["set", "image"]].drop_duplicates())
    return sum(one["images"] for one in readings.study.data["sets"].values())


def differed(readings: Readings) -> str:
    """Say what is subtracted from what in a table of verdicts, and what a standardised effect is."""
    effects, lacking = readings.effects, any(one.component and not one.present for one in readings.family)
    worse = ", so it is a loss where a component that is left out helps" if lacking else ""
    pairs = f"{readings.found}each variant less what it is compared with{worse}"
    what = f"with each component less without it, {effects.over(effects.declared)}" if effects else pairs
    what += "; of a control, the variant less what it is compared with" if readings.controls else ""
    return (
        f"Difference: {what}. Effect: the difference over its standard deviation from {readings.unit} to "
        f"{readings.unit}, after Hedges\u2019s correction."
    )


def notices(readings: Readings) -> list[tuple[str, str]]:
    """Return what a reader must know first: (heading, sentence)."""
    progress = [] if readings.study.search else _progress(readings)  # of a search `analysis.search_shown` tells
    looks = [("Seeds until decided", text) for text in [looked(readings)] if text]
    return [*progress, *looks, *_cautions(readings), *_mixtures(readings.records, readings.study)]


def looked(readings: Readings) -> str:
    """Say how far the looks are, and what they saved; nothing where the number of seeds is given."""
    most = readings.study.expected.get(FIXED, len(readings.trials))
    return wording.saved(readings.study, readings.looks, len(readings.trials), most)


def variants_head(readings: Readings) -> str:
    """Return the heading of the variant table: which settings it speaks of."""
    if readings.study.search is None:
        return "Variants"
    return "Variants, confirmed" if readings.stage == CONFIRM else "Variants, untuned"


def verdicts(readings: Readings, tables: Tables) -> list[Verdict]:
    """Return the comparisons that the study declared, in the primary metric."""
    decimals = metric_digits(readings, readings.study.primary)
    rows = tables.verdicts[tables.verdicts["role"] == "primary"].to_dict("records")
    return [
        Verdict(
            component=(row["component"] or row["variant"]).replace("_", " "),
            verdict=row["verdict"] or "no verdict",
            estimate=wording.estimate(row, decimals),
            p=wording.marked_p(wording.deciding_p(row), _marks(row, readings)),
            effect=number(row["effect"], 1, signed=True),
            seeds=row["seeds"],
            sentence=row["sentence"],
            bound=wording.bound(row, readings.study, decimals=decimals),
            mark=_marks(row, readings),
        )
        for row in rows
    ]


def _marks(row: Mapping[Any, Any], readings: Readings) -> str:
    """Return what limits a verdict's error rate (see `Verdict.mark`); nothing if nothing does."""
    found = {
        "exploratory": wording.unlocked(row, readings.study),
        "interim": readings.interim and row["verdict"],
    }
    return ", ".join(word for word, holds in found.items() if holds)


def tag(row: Mapping[Any, Any], readings: Readings) -> str:
    """Return a row's verdict with its mark, as `Verdict.tag` has them."""
    return ", ".join(filter(None, [row["verdict"] or "no verdict", _marks(row, readings)]))


def groups(readings: Readings, tables: Tables) -> list[Group]:
    """Return the variant table, a group for each set of images: what tells of the quality."""
    parts = tables.variants.groupby("set", sort=False)
    return [
        group(readings, str(name), part, [one for one in measured(readings, part) if one.about == QUALITY])
        for name, part in parts
    ]


def explored(readings: Readings, tables: Tables) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Return the intervals of the other metrics: the variants' names, and for each metric its title and estimates."""
    names = labels(readings)
    table = tables.verdicts[tables.verdicts["role"] == "exploratory"]
    metrics = [one for one in readings.study.metrics if one.key in set(table["metric"])]
    places = {one.key: metric_digits(readings, one.key) for one in metrics}
    cells = {(row["variant"], row["metric"]): row for row in table.to_dict("records")}
    rows = [
        (one.title, [wording.estimate(cells[of.variant, one.key], places[one.key]) for of in readings.family])
        for one in metrics
    ]
    return [names.get(one.variant, wording.label(one)) for one in readings.family], rows


def begun(readings: Readings) -> pd.DataFrame:
    """Return the trials of this stage that were begun, those too that were cut off and are planned again."""
    return readings.trials[(readings.trials["state"] != PLANNED) | readings.trials["started"].notna()]


def happened(readings: Readings) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Return how many trials had each kind of event, and when first: the kinds, and for each variant name and cells."""
    counts = begun(readings).groupby("variant")["trial"].nunique()
    kinds = sorted(readings.events["kind"].unique())
    firsts = readings.events.groupby(["variant", "kind", "trial"])["step"].min().groupby(level=[0, 1]).agg(list)
    rows = [
        (label, [wording.first_steps(firsts.get((name, kind), []), int(counts.get(name, 0))) for kind in kinds])
        for name, label in labels(readings).items()
    ]
    return [wording.event(kind) for kind in kinds], rows if kinds else []


def events(readings: Readings) -> list[Event]:
    """Return the first things that happened in the trainings, in the order of the plan."""
    names = labels(readings)
    return [
        Event(
            names[row["variant"]],
            str(row["seed"]),
            str(row["step"]),
            wording.event(row["kind"]),
            row["text"].removeprefix(f"step {row['step']}: "),  # it stands in a column of its own
        )
        for row in readings.events.head(ROWS).to_dict("records")
    ]


def settings(readings: Readings) -> list[tuple[str, str, str]]:
    """Return for each variant its name, what it sets, and which settings then mean nothing any more."""
    names, rows = labels(readings), readings.variants.to_dict("records")
    return [
        (names[row["name"]], _set(json.loads(row["overrides"])), ", ".join(readings.study.inert.get(row["name"], [])))
        for row in rows
        if row["overrides"] != "{}"
    ]


def breaks(readings: Readings, tables: Tables) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return what diverged or failed: the share of each variant, and (name, seed, how, message) of each trial."""
    names = labels(readings)
    table = tables.variants[tables.variants["kind"] == "variant"].drop_duplicates("row").fillna({"diverged": 0})
    shares = []
    for row in table.to_dict("records"):
        broke = row["diverged"] + row["failed"]
        if broke:
            ended = broke + row["completed"] + row["stopped"]
            reach = wording.share(row["broke_low"], row["broke_high"])
            shares.append(f"{names[row['row']]}: {broke} of {ended} (95 % interval of the share: {reach})")
    broken = readings.trials[readings.trials["state"].isin([DIVERGED, FAILED])].head(ROWS)
    broken = broken.fillna({"kind": "", "message": "no message"})
    return shares, [
        (names[row["variant"]], str(row["seed"]), _ending(row), row["message"]) for row in broken.to_dict("records")
    ]


def trials(readings: Readings) -> list[tuple[str, ...]]:
    """Return (name, seed, state, primary metric, seconds, identity) of the first trials; `scored` says of what.

    A confirming trial can be scored on the images of the search, too: of these alone that it is judged by.
    """
    names, primary = labels(readings), readings.study.primary
    decimals = metric_digits(readings, primary)
    table = readings.trials.head(ROWS)
    if _apart(readings):
        table = table.assign(**{primary: table["trial"].map(readings.images.groupby("trial")[primary].mean())})
    return [
        (
            names[row["variant"]],
            str(row["seed"]),
            row["state"].lower(),
            number(row.get(primary, float("nan")), decimals),
            number(row["seconds"], 1),
            row["trial"],
        )
        for row in table.to_dict("records")
    ]


def scored(readings: Readings) -> str:
    """Say what the score in the table of trials is."""
    title, sets = readings.study.metric(readings.study.primary).title, _apart(readings)
    if not sets:
        return f"{title} is that of the last evaluation."
    over = "the last evaluation" if readings.study.at == 1 else f"the last {readings.study.at} evaluations"
    return f"{title} is the mean over the images of {wording.listed(sets)} and {over}, as in the verdicts."


def curved(readings: Readings) -> str:
    """Say what the curves are over if that is not what the verdicts are on; else nothing."""
    sets = _apart(readings)
    if not sets:
        return ""
    return (
        "A curve is over all images that the trials are scored on, those of the search among them; the verdicts and "
        f"the variant table are on {wording.listed(sets)} alone."
    )


def _apart(readings: Readings) -> list[str]:
    """Return the sets by which a stage is judged alone, though its trials may be scored on others, too."""
    confirm = readings.study.confirm if readings.stage == CONFIRM else None
    return list(confirm.sets) if confirm and readings.study.primary in readings.study.image_keys else []


def measured(readings: Readings, part: pd.DataFrame) -> list[Metric]:
    """Return the metrics that some row of a set's table has."""
    return [one for one in readings.study.metrics if one.key in part and part[one.key].notna().any()]


def group(
    readings: Readings,
    name: str,
    part: pd.DataFrame,
    metrics: Sequence[Metric],
    spans: Sequence[tuple[str, int]] = (),
) -> Group:
    """Return the table of these metrics on one set."""
    names = labels(readings)
    places = {one.key: metric_digits(readings, one.key) for one in metrics}
    arrows = {True: "\u2191", False: "\u2193", None: ""}
    rows = [
        {
            "name": names.get(row["row"], row["row"]),
            "kind": row["kind"],
            "cells": [_cell(row, key, decimals) for key, decimals in places.items()],
            "completed": _completed(row),
        }
        for row in part.to_dict("records")
    ]
    return Group(name, [(one.title, arrows[one.higher_is_better]) for one in metrics], rows, list(spans))


def _set(overrides: Mapping[str, Any]) -> str:
    return ", ".join(f"{path}: {json.dumps(value, ensure_ascii=False)}" for path, value in overrides.items())


def _progress(readings: Readings) -> list[tuple[str, str]]:
    states = readings.trials["state"].value_counts()
    named = {**wording.unended(states.index), FAILED: "failed"}
    parts = [f"{states[state]} {word}" for state, word in named.items() if state in states]
    missing, total = sum(int(states.get(state, 0)) for state in named), len(readings.trials)
    if not missing:
        return []
    heading = "Incomplete" if states.get(FAILED, 0) == missing else "Unfinished"
    return [(heading, f"{total - missing} of {total} trials have a result; {wording.listed(parts)}.")]


def _cautions(readings: Readings) -> list[tuple[str, str]]:
    found = []
    if readings.study.data.get("caution"):
        found.append(("Caution", str(readings.study.data["caution"])))
    fewest = readings.images["evaluations"].min() if len(readings.images) else readings.study.at
    if fewest < readings.study.at:
        text = f"Some scores are the mean of {fewest} evaluations, because their trials have no more"
        found.append(("Short trials", f"{text}; the study declared {readings.study.at}."))
    return found


def _mixtures(records: Records, study: Study) -> list[tuple[str, str]]:
    found = []
    if records.mixed:
        text = f"The trials differ in {wording.listed(records.mixed)} (see Versions); results may differ because of it."
        found.append(("Mixed", text))
    if records.deviations:
        changes = counted(len(records.deviations), "deviation")
        marked = " Verdicts that rest on what was changed are marked exploratory." if study.exploratory else ""
        text = f"The plan was changed after the first trial: {changes}, listed below.{marked}"
        found.append(("Changed", text))
    return found


def _ending(row: Mapping[Any, Any]) -> str:
    return f"{row['state'].lower()} ({row['kind']})" if row["kind"] else row["state"].lower()


def _cell(row: Mapping[Any, Any], key: str, decimals: int) -> tuple[str, str]:
    """Return a mean, and its spread over seeds; with the number of seeds where not every one has the metric."""
    mean, spread = number(row[key], decimals), row[f"{key} sd"]
    if row["kind"] == "reference" or not isfinite(row[key]):
        return mean if isfinite(row[key]) or row["kind"] == "variant" else "", ""
    few = f" ({row[f'{key} n']})" if row[f"{key} n"] != row["seeds"] else ""
    return mean, (f"\u00b1 {number(spread, decimals)}" if isfinite(spread) else "") + few


def _completed(row: Mapping[Any, Any]) -> str:
    """Return how many of a variant's trials are completed, and how others ended; nothing for a reference."""
    if row["kind"] == "reference":
        return ""
    counts = {state: int(row[state]) for state in ("completed", "stopped", "diverged", "failed", "unfinished")}
    if not any(counts.values()):
        return "none"  # the search found nothing that could be confirmed
    others = "".join(f", {counts[state]} {state}" for state in ("stopped", "diverged", "failed") if counts[state])
    return f"{counts['completed']} of {sum(counts.values())}{others}"
