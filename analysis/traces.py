"""Which trials the numbers of the report's tables rest on. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.cost import TRAINING, arms, costs
from analysis.failures import scored_as_input
from analysis.schema import COMPLETED, FIXED, SEARCH
from analysis.search_tables import SearchTables
from analysis.tables import Readings, Tables

__all__ = ["traces"]

PROMISED = "promised"
ENDS = ("untuned", PROMISED, "confirmed", "unseen")
"""The numbers of the table of promises that are no difference of others."""
COLUMNS = ["table", "row", "compared_to", "quantity", "set", "metrics", "count", "trials"]
Flags = npt.NDArray[np.bool_]
Key = tuple[str, str, str, str, str, tuple[str, ...]]
"""Table, row, what it is compared with, which of its numbers, set of images, trials."""
Behind = Mapping[tuple[str, str], list[str]]
"""Estimand and component -> the variants that the effect rests on."""


def traces(
    readings: Readings,
    tables: Tables,
    *,
    effects: pd.DataFrame | None = None,
    search: SearchTables | None = None,
) -> pd.DataFrame:
    """Return which trials the numbers of the tables of variants, verdicts, effects, costs and of a search rest on.

    Columns: `table` (the name of its CSV); `row` (the variant, or the component where effects have the verdicts),
    `compared_to`; `quantity`: of effects the estimand; of a verdict `bound`, if every trial that broke down is scored
    as the untouched input; of `promised` and `tuned` which number of the row, with its repeat where there are several;
    else empty; `set` (of the images; empty for what is over all, and for what a trial has as a whole); `metrics`, keys
    parted by spaces, for which this holds; `count`; `trials`, identities parted by spaces.

    Not named: what is computed from numbers that are named (a gap or a change rests on the trials of both, a benefit
    for a cost on those of the verdict and of the cost); `outlook` (each row rests on the trials of the verdict in its
    metric, the hours on all completed trials); `search`, `trials`, `images` and `events`, whose rows have a column
    `trial`. Methods and models that stand beside the variants rest on no trial of the study.

    Args:
        readings: of the ledger, one stage.
        tables: computed from them.
        effects: the table of effects, if the design declared any.
        search: the tables of the search, if there was one.
    """
    behind = readings.credits.behind if readings.credits else {}
    named = [*_of_variants(readings), *_of_verdicts(readings, tables, behind)]
    named += _of_effects(readings, effects, behind) if effects is not None else []
    named += _of_costs(readings, tables)
    named += _of_search(readings, search) if search else []
    found: dict[Key, list[str]] = {}
    for key, metric in named:
        found.setdefault(key, []).append(metric)
    rows = [(*key[:5], " ".join(metrics), len(key[5]), " ".join(key[5])) for key, metrics in found.items() if key[5]]
    return pd.DataFrame(rows, columns=COLUMNS)


class _Complete:
    """Which trials have a finite score on every image on which any has one."""

    def __init__(self, images: pd.DataFrame, unit: str) -> None:
        self._images = images
        group = images.groupby(["variant", "trial"], sort=False)
        self._place = group.ngroup().to_numpy()
        self._image = images.groupby(["set", "image"], sort=False).ngroup().to_numpy()
        self.places = images.drop_duplicates(["variant", "trial"])[["variant", "trial", "seed", "repeat"]]
        self.places = self.places.assign(observation=self.places["repeat" if unit == "repeat" else "seed"])

    def of(self, metric: str, chosen: Flags) -> Flags:
        """Return for each of `places` whether it is complete on the images of the chosen rows; none if none has it."""
        there = np.isfinite(self._images[metric].to_numpy(float)) & chosen
        expected = len(np.unique(self._image[there]))
        counts = np.bincount(self._place[there], minlength=len(self.places))
        complete: Flags = (counts == expected) & (expected > 0)
        return complete


def _of_variants(readings: Readings) -> Iterator[tuple[Key, str]]:
    """Yield what each variant's means on each set rest on, metric by metric."""
    complete = _Complete(readings.images, readings.unit)
    keys = [key for key in readings.study.image_keys if key in readings.images]
    for name in readings.images["set"].unique():
        chosen = (readings.images["set"] == name).to_numpy()
        for metric in keys:
            places = complete.places
            whole = complete.of(metric, chosen)
            lacking = set(zip(*(places.loc[~whole, one] for one in ("variant", "observation")), strict=True))
            pairs = zip(places["variant"], places["observation"], strict=True)
            used = np.array([pair not in lacking for pair in pairs], dtype=bool)
            for variant, trials in places[used].groupby("variant", sort=False)["trial"]:
                yield ("variants", str(variant), "", "", str(name), tuple(trials)), metric
    finished = readings.trials[readings.trials["state"] == COMPLETED]
    for one in (one for one in readings.study.metrics if not one.per_image and one.key in finished):
        there = finished[np.isfinite(finished[one.key].to_numpy(float))]
        for variant, trials in there.groupby("variant", sort=False)["trial"]:
            yield ("variants", str(variant), "", "", "", tuple(trials)), one.key


def _of_verdicts(readings: Readings, tables: Tables, behind: Behind) -> Iterator[tuple[Key, str]]:
    """Yield what each comparison, or effect, that has a number rests on, and its bound, metric by metric."""
    table = tables.verdicts
    yield from _compared(readings, readings.images, table[table["difference"].notna()], behind, "")
    bounded = table[table["bound_difference"].notna()]
    if len(bounded):
        images = scored_as_input(readings.images, readings.trials, readings.references)
        yield from _compared(readings, images, bounded, behind, "bound")


def _compared(
    readings: Readings, images: pd.DataFrame, verdicts: pd.DataFrame, behind: Behind, quantity: str
) -> Iterator[tuple[Key, str]]:
    """Yield which trials rows of the table of verdicts rest on: both of a pair, or all of an effect."""
    complete = _Complete(images, readings.unit)
    everything, designed = np.ones(len(images), dtype=bool), images["variant"].isin(readings.runs.index).to_numpy()
    for metric, rows in verdicts.groupby("metric", sort=False):
        places = complete.places[complete.of(str(metric), everything)]
        seeds = {
            str(name): set(zip(part["observation"], part["seed"], strict=True))
            for name, part in places.groupby("variant")
        }
        for row in rows.to_dict("records"):
            if row["compared_to"]:
                both = seeds.get(row["variant"], set()) & seeds.get(row["compared_to"], set())
                part = places[places["variant"].isin([row["variant"], row["compared_to"]])]
                pairs = zip(part["observation"], part["seed"], strict=True)
                part = part[np.array([pair in both for pair in pairs], dtype=bool)]
            else:
                part = complete.places[complete.of(str(metric), designed)]
                part = part[part["variant"].isin(behind[row["estimand"], row["component"]])]
            named = (str(row["variant"]), str(row["compared_to"]), quantity)
            yield ("verdicts", *named, "", tuple(part["trial"].unique())), str(metric)


def _of_effects(readings: Readings, effects: pd.DataFrame, behind: Behind) -> Iterator[tuple[Key, str]]:
    """Yield what each effect of the table of effects rests on: the complete trials of the variants behind it."""
    complete = _Complete(readings.images, readings.unit)
    designed = readings.images["variant"].isin(readings.runs.index).to_numpy()
    for row in effects[effects["difference"].notna()].to_dict("records"):
        part = complete.places[complete.of(row["metric"], designed)]
        part = part[part["variant"].isin(behind[row["estimand"], row["component"]])]
        yield ("effects", row["component"], "", row["estimand"], "", tuple(part["trial"].unique())), row["metric"]


def _of_costs(readings: Readings, tables: Tables) -> Iterator[tuple[Key, str]]:
    """Yield what each cost rests on: the completed trials of seeds that have it in every variant that is compared."""
    finished = readings.trials[readings.trials["state"] == COMPLETED]
    finished = finished.assign(**{TRAINING: finished["seconds"]})
    for verdict in tables.verdicts[tables.verdicts["role"] == "primary"].to_dict("records"):
        variants = list(arms(verdict, readings.runs))
        for one in costs(readings):
            part = finished[finished[one.key].notna() & finished["variant"].isin(variants)]
            count = part.groupby(readings.unit)["variant"].nunique()
            part = part[part[readings.unit].isin(count.index[count == len(variants)])]
            named = (str(verdict["variant"]), str(verdict["compared_to"]), "")
            yield ("cost", *named, "", tuple(part["trial"])), one.key


def _of_search(readings: Readings, search: SearchTables) -> Iterator[tuple[Key, str]]:
    """Yield what each number of the tables of promises and of what tuning changes rests on."""
    plan, tried = readings.plan, readings.plan[readings.plan["stage"] == SEARCH]
    ends = search.ended.merge(plan[["stage", "variant", "repeat", "seed", "trial"]], how="left")
    for row in search.promised.to_dict("records"):
        for quantity in (one for one in ENDS if row[one] == row[one]):
            if quantity == PROMISED:
                part = tried[(tried["repeat"] == row["repeat"]) & (tried["number"] == row["number"])]
            else:
                part = ends[(ends["quantity"] == quantity) & (ends["metric"] == row["metric"])]
                part = part[(part["repeat"] == row["repeat"]) | (part["stage"] == FIXED)]
            trials = tuple(part.loc[part["variant"] == row["variant"], "trial"])
            several = readings.study.search is not None and readings.study.search.repeats > 1
            named = f"{quantity}, repeat {row['repeat']}" if several else quantity
            yield ("promised", str(row["variant"]), "", named, "", trials), str(row["metric"])
    for row in search.tuned.to_dict("records"):
        for quantity, end in (("untuned", "untuned"), ("tuned", "confirmed")):
            part = ends[(ends["quantity"] == end) & (ends["metric"] == row["metric"])]
            part = part[part["variant"].isin([row["variant"], row["compared_to"]])]
            if row[quantity] == row[quantity]:
                compared = (str(row["variant"]), str(row["compared_to"]))
                yield ("tuned", *compared, quantity, "", tuple(part["trial"])), str(row["metric"])
