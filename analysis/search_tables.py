"""The tables of a search as pandas frames of numbers: what was spent, promised and confirmed, and what rungs foretell.

`analysis.search_shown` turns them into text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.frames import load_images
from analysis.guard import PAIRS, Guard, guard
from analysis.ledger import Ledger, Search, Study
from analysis.schema import COMPLETED, CONFIRM, CONTINUE, FIXED, STOP
from analysis.suggestions import Searched, read_search, worth

__all__ = ["Rung", "SearchTables", "guards", "promised", "search_tables", "spent", "values_at_end"]

COUNTS = ("complete", "stopped", "diverged", "failed", "running", "waiting", "refused", "left out")
_OF_CHOICE = ("number", "why", "settings")
HALF = 2  # median stopping: half of the trials go on


@dataclass(frozen=True)
class Rung:
    """What one rung foretells of one objective.

    Args:
        step: where it is.
        metric: the objective.
        went_on: trials that were let go on here.
        stopped: trials that were stopped here.
        free: whether only trials were compared that nothing could stop.
        found: the comparison of the values here with those at the end.
    """

    step: int
    metric: str
    went_on: int
    stopped: int
    free: bool
    found: Guard


@dataclass(frozen=True)
class SearchTables:
    """Everything about the searches of a study; the functions of this module say what each table holds."""

    searched: Searched
    spent: pd.DataFrame
    promised: pd.DataFrame
    rungs: list[Rung]


def search_tables(ledger: Ledger, search: Search, variants: Sequence[str]) -> SearchTables:
    """Read a study's searches and compute their tables. `variants` are in the order of the plan."""
    searched = read_search(ledger)
    untuned = values_at_end(worth(ledger, FIXED, list(search.objectives)))
    same, unseen = _confirmed(ledger, list(search.objectives))
    found = promised(searched, ledger.study, variants, untuned=untuned, same=same, unseen=unseen)
    return SearchTables(searched, spent(searched.suggestions, search, variants), found, guards(searched, search))


def spent(suggestions: pd.DataFrame, search: Search, variants: Sequence[str]) -> pd.DataFrame:
    """Return what the search of each variant took, all its repeats together.

    Columns: `variant`, `suggestions` (those of the search as it is now), of which `complete`, `stopped`, `diverged`,
    `failed`, `running`, `waiting`, `refused` and `repeated` (answered from the ledger); `left out` (no point of the
    search any more), `steps` (trained, those left out included), `seconds`, `budget` (NA: nothing to search),
    `used` (of the budget, in its unit; as in the search itself repeats count in full, and so do settings that were
    refused) and `unit` (`trials` or `steps`).
    """
    ((unit, budget),) = search.budget.items()
    new = suggestions[suggestions["same_as"].isna() | (suggestions["state"] == "left out")]
    states = pd.crosstab(new["variant"], new["state"]).reindex(columns=COUNTS, fill_value=0).rename_axis(columns=None)
    there = suggestions[suggestions["state"] != "left out"]
    groups, present = suggestions.groupby("variant"), there.groupby("variant")
    table = states.assign(
        suggestions=present.size(), repeated=present["same_as"].count(), steps=groups["steps"].sum(),
        seconds=groups["seconds"].sum(),
        used=present.size() * len(search.seeds) if unit == "trials" else _steps(there).groupby(there["variant"]).sum(),
    )  # fmt: skip
    table = table.reindex(list(variants)).fillna(0).rename_axis("variant").reset_index()
    nothing = [not search.parameters.get(name) for name in table["variant"]]
    whole = pd.Series(budget * search.repeats, index=table.index, dtype="Int64").mask(pd.Series(nothing, dtype=bool))
    integers = ["suggestions", *COUNTS, "repeated", "steps", "used"]
    table = table.assign(budget=whole, unit=unit).astype(dict.fromkeys(integers, int))
    return table[["variant", "suggestions", *COUNTS, "repeated", "steps", "seconds", "budget", "used", "unit"]]


def values_at_end(places: pd.DataFrame) -> pd.DataFrame:
    """Return mean, sd and number over seeds of what each choice is worth, from `analysis.suggestions.worth`.

    Columns: `variant`, `repeat`, `metric`, `mean`, `sd`, `n`.
    """
    keys = ["variant", "repeat", "number", "seed", "trial"]
    long = places.melt([key for key in keys if key in places], var_name="metric", value_name="value")
    groups = long.astype({"value": float}).groupby(["variant", "repeat", "metric"])["value"]
    return groups.agg(mean="mean", sd="std", n="count").reset_index()


def promised(
    searched: Searched,
    study: Study,
    variants: Sequence[str],
    *,
    untuned: pd.DataFrame,
    same: pd.DataFrame,
    unseen: pd.DataFrame,
) -> pd.DataFrame:
    """Return what each search promised beside what was confirmed, a row for each variant, repeat and objective.

    Columns: `variant`, `repeat`, `number` (of the suggestion chosen; NA: none, or none yet; -1: nothing to search),
    `why`, `settings` (JSON), `metric`, `untuned` (at the spec's settings, on the images of the search) with
    `untuned sd` and `untuned n` over seeds, `promised` (the suggestion's value), `confirmed` (with fresh seeds, on the
    images of the search) with `sd` and `n`, `gap` (confirmed minus promised) and `unseen` (on images that the search
    never saw) with `sd` and `n`.

    Args:
        searched: suggestions and choices.
        study: its search and metrics.
        variants: in the order of the plan.
        untuned: from `values_at_end`, of the fixed stage.
        same: the same of the confirming trials, on the images of the search.
        unseen: the same, on images that it never saw.
    """
    search = study.search
    if search is None:
        raise ValueError("promised: expected a study with a search, got one without")
    chosen = searched.suggestions[searched.suggestions["chosen"]]
    choices = {(row["variant"], row["repeat"]): row for row in searched.choices.to_dict("records")}
    found = {(row["variant"], row["repeat"]): row for row in chosen.to_dict("records")}
    parts = {"untuned": _by_place(untuned), "confirmed": _by_place(same), "unseen": _by_place(unseen)}
    rows = []
    for place in ((name, repeat) for name in variants for repeat in range(search.repeats)):
        choice, suggestion = choices.get(place), found.get(place, {})
        number, why, settings = (pd.NA, "", None) if choice is None else (choice[key] for key in _OF_CHOICE)
        facts = {
            "variant": place[0], "repeat": place[1], "number": number, "why": why,
            "settings": settings if isinstance(settings, str) else "{}",
        }  # fmt: skip
        for metric in search.objectives:
            values: dict[str, Any] = {"metric": metric, "promised": suggestion.get(metric, math.nan)}
            for name, part in parts.items():
                at = (place[0], 0 if name == "untuned" else place[1], metric)
                mean, spread, count = part.get(at, (math.nan, math.nan, 0))
                values |= {name: mean, f"{name} sd": spread, f"{name} n": count}
            rows.append({**facts, **values, "gap": values["confirmed"] - values["promised"]})
    whole = [part for name in parts for part in (name, f"{name} sd", f"{name} n")]
    order = [*whole[:3], "promised", *whole[3:6], "gap", *whole[6:]]
    table = pd.DataFrame(rows, columns=["variant", "repeat", "number", "why", "settings", "metric", *order])
    return table.astype({"number": "Int64", **{name: int for name in whole if name.endswith(" n")}})


def guards(searched: Searched, search: Search) -> list[Rung]:
    """Return for each rung with decisions, and each objective, how well it foretells the end.

    The trials of all variants that ran to the end are compared together, after each variant's mean was taken off both
    values, so that differences between variants do not count as foretold. Where there are enough that nothing could
    stop, these alone.
    """
    reduction = int(search.rules.get("reduction", HALF))
    ended = searched.rungs[searched.rungs["state"] == COMPLETED].drop_duplicates(["trial", "rung", "metric"])
    finals = searched.suggestions.set_index(["variant", "repeat", "number"])
    decided = searched.rungs.drop_duplicates(["trial", "rung"])
    found = []
    for step in sorted(searched.rungs["rung"].unique()):
        what = decided.loc[decided["rung"] == step, "what"]
        for metric in search.objectives:
            part = ended[(ended["rung"] == step) & (ended["metric"] == metric)]
            free = int(part["free"].sum()) >= PAIRS
            part = (part[part["free"]] if free else part).set_index(["variant", "repeat", "number"])
            part = part.assign(final=finals[metric].reindex(part.index)).dropna(subset=["value", "final"]).reset_index()
            names = dict(zip(part["trial"], zip(part["variant"], part["number"], strict=True), strict=True))
            whole = part.set_index("trial")
            centred = whole[["value", "final"]] - whole.groupby("variant")[["value", "final"]].transform("mean")
            checked = guard(
                centred["value"].to_dict(), centred["final"].to_dict(), reduction=reduction,
                higher_is_better=search.objectives[metric] == "max", named=_named(names),
            )  # fmt: skip
            went_on, stopped = int((what == CONTINUE).sum()), int((what == STOP).sum())
            found.append(Rung(int(step), metric, went_on, stopped, free, checked))
    return found


def _steps(suggestions: pd.DataFrame) -> pd.Series[float]:
    """Return what each suggestion counts in steps: a repeat as its original, a refused one as the longest."""
    keys = ["variant", "repeat", "number"]
    own = suggestions.set_index(keys)["steps"].astype(float)
    first = suggestions["number"].where(suggestions["same_as"].isna(), suggestions["same_as"])
    counted = own.reindex(pd.MultiIndex.from_frame(suggestions.assign(number=first)[keys])).to_numpy()
    longest = suggestions.groupby("variant")["steps"].transform("max").astype(float)
    return pd.Series(counted, index=suggestions.index).mask(suggestions["refused"].notna(), longest)


def _named(names: Mapping[int, tuple[str, int]]) -> Any:
    return lambda trial: f"suggestion {names[trial][1]} of {names[trial][0]}"


def _confirmed(ledger: Ledger, objectives: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return what the confirmed settings are worth on the images of the search, and on those it never saw.

    Where there are images of both kinds a trial's report is the mean over all, so the images are asked; what a trial
    has as a whole depends on none.
    """
    study, places = ledger.study, worth(ledger, CONFIRM, objectives)
    sets = study.confirm.sets if study.confirm else []
    if not sets:
        return values_at_end(places), values_at_end(places.head(0))
    keys = ["variant", "repeat", "seed"]
    of_images = [key for key in objectives if key in study.image_keys]
    images = load_images(ledger, stage=CONFIRM)
    unseen = images["set"].isin(sets)
    whole = places[[*keys, *(key for key in objectives if key not in of_images)]]
    same = images[~unseen].groupby(keys)[of_images].mean().reset_index()
    fresh = images[unseen].groupby(keys)[of_images].mean().reset_index()
    return values_at_end(same.merge(whole, how="outer", on=keys)), values_at_end(fresh)


def _by_place(part: pd.DataFrame) -> dict[tuple[str, int, str], tuple[float, float, int]]:
    return {
        (row["variant"], row["repeat"], row["metric"]): (row["mean"], row["sd"], row["n"])
        for row in part.to_dict("records")
    }
