"""The tables of a search as pandas frames of numbers: what was spent, promised and confirmed, and what rungs foretell.

`analysis.search_shown` turns them into text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import pandas as pd

from analysis.changes import Change, change
from analysis.comparison import contrasts
from analysis.frames import load_images, load_runs, load_variants
from analysis.guard import Guard, guard, tells
from analysis.ledger import Ledger, Search, Study
from analysis.schema import CONFIRM, CONTINUE, FIXED, STOP
from analysis.statistics import Images
from analysis.suggestions import PLACE, Searched, finite, read_search, worth
from analysis.tuned import tuned_effects
from analysis.wording import FULL, labels

__all__ = ["Rung", "SearchTables", "guards", "promised", "search_tables", "spent", "values_at_end"]

COUNTS = ("complete", "stopped", "diverged", "failed", "running", "waiting", "refused", "left out")
_OF_CHOICE = ("number", "why", "settings", "own")
OWN = "the spec\u2019s own settings"
CHANGE = ("change", "change low", "change high", "change how")
HALF = 2  # median stopping: half of the trials go on


@dataclass(frozen=True)
class Rung:
    """What one rung foretells of one objective.

    Args:
        step: where it is.
        metric: the objective.
        name: the objective's name for readers.
        went_on: trials that were let go on here.
        stopped: trials that were stopped here.
        free: whether only trials were compared that nothing could stop.
        found: the comparison of the values here with those at the end.
    """

    step: int
    metric: str
    name: str
    went_on: int
    stopped: int
    free: bool
    found: Guard


@dataclass(frozen=True)
class SearchTables:
    """Everything about the searches of a study; the functions of this module say what each table holds.

    `ended`: which places have the values that `promised` gives the means of: `quantity` (its column), `stage`,
    `variant`, `repeat`, `seed`, `metric`. `lost`: which completed places have none, though the objective is infinite
    there or others of the quantity have it; the same columns.
    """

    searched: Searched
    spent: pd.DataFrame
    promised: pd.DataFrame
    ended: pd.DataFrame
    lost: pd.DataFrame
    tuned: pd.DataFrame
    rungs: list[Rung]


def search_tables(ledger: Ledger, search: Search, variants: Sequence[str]) -> SearchTables:
    """Read a study's searches and compute their tables. `variants` are in the order of the plan."""
    searched, objectives = read_search(ledger), list(search.objectives)
    fixed, same, unseen = _confirmed(ledger, objectives)
    asked = ledger.study.confirm
    confirmed = _worths(same, objectives) if asked and asked.sets else worth(ledger, CONFIRM, objectives)
    ends = {"untuned": worth(ledger, FIXED, objectives), "confirmed": confirmed, "unseen": _worths(unseen, objectives)}
    means = {name: values_at_end(finite(places, objectives)) for name, places in ends.items()}
    ended, lost = _ended(ends, objectives)
    found = promised(
        searched, ledger.study, variants, untuned=means["untuned"], same=means["confirmed"], unseen=means["unseen"],
        changes=_changes(same, fixed, ledger.study),
    )  # fmt: skip
    declared = load_variants(ledger)
    return SearchTables(
        searched=searched,
        spent=spent(searched.suggestions, search, variants),
        promised=found,
        ended=ended,
        lost=lost,
        tuned=tuned_effects(
            same, fixed, contrasts(declared), repeats=search.repeats,
            metrics={key: _images(ledger.study, key) for key in objectives},
        ),
        rungs=guards(searched, ledger.study, labels(declared, load_runs(ledger))),
    )  # fmt: skip


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
    changes: Mapping[tuple[str, int, str], Change],
) -> pd.DataFrame:
    """Return what each search promised beside what was confirmed, a row for each variant, repeat and objective.

    Columns: `variant`, `repeat`, `number` (of the suggestion chosen; NA: none, or none yet; -1: nothing to search),
    `why`, `settings` (JSON), `own` (whether they are the spec's own), `metric`, `untuned` (at the spec's settings, on
    the images of the search) with `untuned sd` and `untuned n` over seeds, `promised` (the suggestion's value),
    `confirmed` (with fresh seeds, on the images of the search) with `sd` and `n`, `gap` (confirmed minus promised),
    `change` (confirmed minus untuned, on the same images; none where the settings are the spec's own) with `change low`
    and `change high` (95 %) and `change how` (how it was found, or why not), and `unseen` (on images that the search
    never saw) with `sd` and `n`.

    Args:
        searched: suggestions and choices.
        study: its search and metrics.
        variants: in the order of the plan.
        untuned: from `values_at_end`, of the fixed stage.
        same: the same of the confirming trials, on the images of the search.
        unseen: the same, on images that it never saw.
        changes: (variant, repeat, objective) -> confirmed minus untuned.
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
        number, why, settings, own = (pd.NA, "", None, False) if choice is None else (choice[key] for key in _OF_CHOICE)
        facts = {
            "variant": place[0], "repeat": place[1], "number": number,
            "why": f"{OWN}: {why}" if own and number >= 0 else why,
            "settings": settings if isinstance(settings, str) else "{}", "own": own,
        }  # fmt: skip
        for metric in search.objectives:
            values: dict[str, Any] = {"metric": metric, "promised": suggestion.get(metric, math.nan)}
            for name, part in parts.items():
                at = (place[0], 0 if name == "untuned" else place[1], metric)
                mean, spread, count = part.get(at, (math.nan, math.nan, 0))
                values |= {name: mean, f"{name} sd": spread, f"{name} n": count}
            values["gap"] = values["confirmed"] - values["promised"]
            rows.append({**facts, **values, **_change(changes.get((*place, metric)), own=own)})
    whole = [part for name in parts for part in (name, f"{name} sd", f"{name} n")]
    order = [*whole[:3], "promised", *whole[3:6], "gap", *CHANGE, *whole[6:]]
    table = pd.DataFrame(rows, columns=["variant", "repeat", "number", "why", "settings", "own", "metric", *order])
    return table.astype({"number": "Int64", **{name: int for name in whole if name.endswith(" n")}})


def guards(searched: Searched, study: Study, names: Mapping[str, str]) -> list[Rung]:
    """Return for each rung, and each objective, how well it foretells the end. `names`: variant -> for readers.

    Complete suggestions are compared with others of the same search, each with the mean over its trials here and at the
    end, so that neither differences between variants nor two trials of the same settings count as foretold. Where there
    are enough that nothing could stop, these alone.
    """
    search = study.search
    if search is None:
        raise ValueError("guards: expected a study with a search, got one without")
    reduction = int(search.rules.get("reduction", HALF))
    rows = searched.rungs.drop_duplicates(["trial", "rung", "metric"])
    decided, tried = rows.drop_duplicates(["trial", "rung"]), searched.suggestions
    ended = rows.merge(tried.loc[tried["state"] == "complete", PLACE], on=PLACE).dropna(subset=["value", "final"])
    found = []
    for step in sorted(rows["rung"].unique()):
        what = decided.loc[decided["rung"] == step, "what"]
        went_on, stopped = int((what == CONTINUE).sum()), int((what == STOP).sum())
        for metric, way in search.objectives.items():
            part = ended[(ended["rung"] == step) & (ended["metric"] == metric)]
            free = tells(_sizes(part[part["free"]]))
            part = part[part["free"]] if free else part
            means = part.groupby(PLACE, sort=False)[["value", "final"]].mean().reset_index()
            checked = guard(
                means["value"].to_dict(), means["final"].to_dict(), higher_is_better=way == "max", reduction=reduction,
                groups=dict(enumerate(zip(means["variant"], means["repeat"], strict=True))), named=_named(means, names),
            )  # fmt: skip
            name = study.metric(metric).name
            found.append(Rung(int(step), metric, name, went_on, stopped, free, checked))
    return found


def _sizes(part: pd.DataFrame) -> list[int]:
    """Return how many suggestions each search has."""
    sizes: list[int] = part.drop_duplicates(PLACE).groupby(["variant", "repeat"]).size().tolist()
    return sizes


def _steps(suggestions: pd.DataFrame) -> pd.Series[float]:
    """Return what each suggestion counts in steps: a repeat as its original, a refused one as the longest."""
    keys = ["variant", "repeat", "number"]
    own = suggestions.set_index(keys)["steps"].astype(float)
    first = suggestions["number"].where(suggestions["same_as"].isna(), suggestions["same_as"])
    counted = own.reindex(pd.MultiIndex.from_frame(suggestions.assign(number=first)[keys])).to_numpy()
    longest = suggestions.groupby("variant")["steps"].transform("max").astype(float)
    return pd.Series(counted, index=suggestions.index).mask(suggestions["refused"].notna(), longest)


def _named(means: pd.DataFrame, names: Mapping[str, str]) -> Callable[[int], str]:
    def named(row: int) -> str:
        number, variant = means.loc[row, ["number", "variant"]]
        return f"suggestion {number} of {names.get(str(variant), FULL)}"

    return named


_SCORES = ["variant", "repeat", "seed", "set", "image", "scene", "metric", "value"]


def _confirmed(ledger: Ledger, objectives: list[str]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return scores of the fixed stage, of the confirmed settings on the images of the search, and on unseen ones.

    One a row. Where there are images of both kinds a trial's report is the mean over all, so the images are asked; what
    a trial has as a whole depends on none, and stands as an image of its own.
    """
    confirm = ledger.study.confirm
    if confirm is None:
        nothing = pd.DataFrame(columns=_SCORES)
        return nothing, nothing, nothing
    fixed, confirmed = (_scores(ledger, stage, objectives) for stage in (FIXED, CONFIRM))
    unseen = confirmed["set"].isin(confirm.sets)
    return fixed, confirmed[~unseen], confirmed[unseen]


def _scores(ledger: Ledger, stage: str, objectives: list[str]) -> pd.DataFrame:
    of_images = [key for key in objectives if key in ledger.study.image_keys]
    whole = worth(ledger, stage, [key for key in objectives if key not in of_images])
    keys = _SCORES[:-2]
    parts = [
        frame.reindex(columns=[*keys, *metrics]).melt(keys, var_name="metric", value_name="value")
        for frame, metrics in (
            (load_images(ledger, stage=stage), of_images),
            (whole.assign(set="", image="", scene=""), [key for key in objectives if key not in of_images]),
        )
    ]
    return pd.concat(parts, ignore_index=True).astype({"value": float})


def _worths(scores: pd.DataFrame, objectives: list[str]) -> pd.DataFrame:
    """Return what each trial is worth: the mean over its images, of those that some trial has the metric on."""
    has = scores[scores.groupby(["metric", "set", "image"])["value"].transform("count") > 0]
    wide = has.groupby(["variant", "repeat", "seed", "metric"])["value"].agg(lambda values: values.mean(skipna=False))
    return wide.unstack("metric").reindex(columns=objectives).reset_index()


def _ended(ends: Mapping[str, pd.DataFrame], objectives: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the places that have a finite value, one a row, and those that lost it: `SearchTables.ended`, `.lost`."""
    keys, parts = ["variant", "repeat", "seed"], []
    for name, places in ends.items():
        long = places.melt(keys, objectives, var_name="metric", value_name="value")
        parts.append(long.assign(quantity=name, stage=FIXED if name == "untuned" else CONFIRM))
    every = pd.concat(parts, ignore_index=True).astype({"value": float})
    there = every["value"].notna()
    known = there.groupby([every["quantity"], every["metric"]]).transform("any")
    is_finite = there & ~every["value"].isin([math.inf, -math.inf])
    every = every.drop(columns="value")
    lost = every[known & ~is_finite].sort_values(["metric", "quantity", *keys], ignore_index=True)
    return every[is_finite].reset_index(drop=True), lost


def _changes(confirmed: pd.DataFrame, untuned: pd.DataFrame, study: Study) -> dict[tuple[str, int, str], Change]:
    before = dict(list(untuned.groupby(["variant", "metric"])))
    after = dict(list(confirmed.groupby(["variant", "repeat", "metric"])))
    keys = ["variant", "repeat", "metric"]
    found = {}
    for variant, repeat, metric in confirmed[keys].drop_duplicates().itertuples(index=False):
        part = after[variant, repeat, metric]
        other = before.get((variant, metric), untuned.head(0))
        images = _images(study, metric)
        found[variant, repeat, metric] = change(part, other, metric="value", images_are=images)
    return found


def _images(study: Study, metric: str) -> Images:
    """Return what is concluded about: what a trial has as a whole depends on no image."""
    return study.images if metric in study.image_keys else "these"


def _change(found: Change | None, *, own: bool) -> dict[str, Any]:
    if found is None or own:
        return dict(zip(CHANGE, (math.nan, math.nan, math.nan, OWN if own else ""), strict=True))
    return dict(zip(CHANGE, astuple(found), strict=True))


def _by_place(part: pd.DataFrame) -> dict[tuple[str, int, str], tuple[float, float, int]]:
    return {
        (row["variant"], row["repeat"], row["metric"]): (row["mean"], row["sd"], row["n"])
        for row in part.to_dict("records")
    }
