"""What is told of a search, as text: what the page, the Markdown file and the terminal show alike. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from typing import Any

import pandas as pd

from analysis.basis import basis
from analysis.effects_tables import Effects
from analysis.importance import LEAST, SEED, SHUFFLES, Mattered
from analysis.ledger import Search, Study
from analysis.schema import BASELINE
from analysis.search_tables import Rung, SearchTables
from analysis.search_wording import asked, budget, compared, gap, gaps, largest, lost, notices, progress
from analysis.shown import ROWS, Group, groups, labels
from analysis.suggestions import Searched
from analysis.tables import Readings, Tables
from analysis.wording import counted, digits, listed, number

__all__ = ["MATTERED", "TUNED", "Grid", "SearchPart", "search_part"]

MATTERED = (
    "A parameter has a number only if its effect on the first objective, by itself, is told from noise: a curve fits "
    f"the values better than all but 5 % of {SHUFFLES} shuffles of them (adjusted for the number of parameters). It is "
    f"the share of the variance over the space that the parameter explains (Optuna\u2019s fANOVA, seed {SEED}); the "
    "shares of all parameters of a variant would add up to 100 %, and noise has its part in each."
)
TUNED = (
    "Each objective of a variant minus that of the full model, or of what it is compared with, at the spec\u2019s "
    "settings and at those found, on the images of the search. Where the last column excludes zero, what a component "
    "does depends on the settings; each interval stands for itself."
)
FEW = 3
"""With fewer suggestions left to compare, early stopping chose rather than the search."""
MOST_NAMED = 6
"""So many such searches are named."""


@dataclass(frozen=True)
class Grid:
    """A table: heads, rows of text, how many columns stand left, and of each row a share to be drawn (NaN for none)."""

    heads: list[str]
    rows: list[list[str]]
    left: int = 1
    shares: list[float] | None = None


@dataclass(frozen=True)
class SearchPart:
    """What the report says of a study's search.

    Args:
        notices: what a reader must know first: (heading, sentence).
        basis: what the verdicts compare.
        waits: why there are none yet; empty if there are.
        asked: what the search was, in a sentence or two.
        budget: whether the variants had the same.
        spent: what each variant's search took.
        left_out: (variant, parameter, why it is not searched there).
        ended: (variant, why its search ended early).
        settings: what was chosen, and why.
        promised: promised beside confirmed.
        gaps: sentences on how they differ, and on which values are left out.
        tuned: what tuning changes of each comparison; no rows if nothing was confirmed.
        tuned_why: why some of it has no interval, and what it is not told of; sentences or nothing.
        mattered: which parameters are told from noise; no rows if nothing can be said.
        unknown: for which variants that cannot be said, and which are compared at a rung; sentences or nothing.
        rungs: what the rungs foretell.
        compared: how that was found, a sentence or nothing.
        untuned: the variants at the spec's settings, a table for each set; none if these are the variant table.
        pictures: figures as SVG with a caption each.
    """

    notices: list[tuple[str, str]]
    basis: str
    waits: str
    asked: str
    budget: str
    spent: Grid
    left_out: list[tuple[str, str, str]]
    ended: list[tuple[str, str]]
    settings: Grid
    promised: Grid
    gaps: list[str]
    tuned: Grid
    tuned_why: str
    mattered: Grid
    unknown: str
    rungs: Grid
    compared: str
    untuned: list[Group]
    pictures: list[tuple[str, str]]


def search_part(
    tables: SearchTables,
    readings: Readings,
    *,
    waits: str,
    untuned: tuple[Readings, Tables] | None,
    mattered: Mapping[str, Mattered],
    pictures: list[tuple[str, str]],
) -> SearchPart:
    """Return what is told of a search.

    Args:
        tables: of the search.
        readings: of the stage that is judged, or shown in its place.
        waits: from `analysis.basis.waiting`.
        untuned: the fixed stage, if that is another one.
        mattered: from `analysis.importance`.
        pictures: figures as SVG with a caption each.

    Raises:
        ValueError: if the study has no search.
    """
    study, names = readings.study, labels(readings)
    search = study.search
    if search is None:
        raise ValueError("search_part: expected a study with a search, got one without")
    left_out = [
        (names[variant], path, why)
        for variant, paths in search.left_out.items()
        for path, why in paths.items()
        if variant in names
    ]
    ended = [(names[variant], why) for variant, why in search.ended.items() if variant in names]
    shares, unknown = _mattered(mattered, names)
    return SearchPart(
        notices=[
            *progress(readings, search, tables.searched.choices),
            *notices(search, tables.rungs, ended),
            *_left(tables.searched, search, names),
        ],
        basis="" if waits else basis(readings),
        waits=waits,
        asked=asked(search, study),
        budget=budget(search, tables.spent),
        spent=_spent(search, tables.spent, names),
        left_out=left_out,
        ended=ended,
        settings=_settings(tables.promised, study, search, names),
        promised=_promised(tables.promised, study, search, names),
        gaps=[*gaps(tables.promised, study, search), *lost(tables.lost, study, names)],
        tuned=_tuned(tables, study, search, names),
        tuned_why=_tuned_why(tables.tuned, readings.effects),
        mattered=shares,
        unknown=unknown,
        rungs=_rungs(tables.rungs, study),
        compared=compared(tables.rungs),
        untuned=[] if untuned is None else groups(*untuned),
        pictures=pictures,
    )


def _spent(search: Search, spent: pd.DataFrame, names: Mapping[str, str]) -> Grid:
    counts = ["complete", "stopped", "diverged", "failed", "refused", "running", "waiting", "left out"]
    always = ("complete", "stopped", "diverged", "failed")
    kept = [state for state in counts if state in always or spent[state].any()]
    (unit,) = search.budget
    heads = ["Variant", f"Budget spent ({unit})", "Suggestions", *(one.capitalize() for one in kept)]
    rows, shares = [], []
    for row in spent.to_dict("records"):
        nothing = pd.isna(row["budget"])
        used = "nothing to search" if nothing else f"{row['used']:,} of {row['budget']:,}"
        numbers = [f"{row[key]:,}" for key in ("suggestions", *kept, "repeated", "steps")]
        rows.append([names[row["variant"]], used, *numbers, _time(row["seconds"])])
        shares.append(nan if nothing else min(row["used"] / row["budget"], 1.0))
    return Grid([*heads, "Answered from the ledger", "Steps trained", "Time"], rows, shares=shares)


def _settings(promised: pd.DataFrame, study: Study, search: Search, names: Mapping[str, str]) -> Grid:
    rows = []
    for row in promised.drop_duplicates(["variant", "repeat"]).head(ROWS).to_dict("records"):
        settings = ", ".join(f"{path}: {_value(value)}" for path, value in json.loads(row["settings"]).items())
        chosen = "\u2013" if pd.isna(row["number"]) or row["number"] < 0 else str(row["number"])
        why = _named(row["why"], study) or "its search is not finished"
        rows.append([_place(row, search, names), chosen, settings or "\u2013", why])
    return Grid(["Search of", "Suggestion", "Settings chosen", "Why"], rows, left=4)


def _named(why: str, study: Study) -> str:
    """Return why settings were chosen with the metrics' names for their keys."""
    names = {one.key: one.name.replace(", ", " ") for one in study.metrics}
    keys = "|".join(re.escape(key) for key in sorted(names, key=len, reverse=True))
    return re.sub(rf"(?<![\w/.])({keys})(?!\.?[\w/])", lambda found: names[found[0]], why)


def _promised(promised: pd.DataFrame, study: Study, search: Search, names: Mapping[str, str]) -> Grid:
    confirm = study.confirm
    heads = ["Variant", "Objective", "Untuned", "Promised"]
    if confirm:
        heads += ["Confirmed, same images", "Gap to the promise", "Confirmed minus untuned [95 %]"]
    if confirm and confirm.sets:
        heads += [f"Confirmed, new images ({listed(list(confirm.sets))})"]
    places = {key: digits(largest(promised, key)) for key in search.objectives}
    rows, last = [], ""
    for row in promised.head(ROWS).to_dict("records"):
        decimals, metric = places[row["metric"]], study.metric(row["metric"])
        name = _place(row, search, names)
        cells = [_spread(row, "untuned", decimals), number(row["promised"], decimals)]
        if confirm:
            better = (row["gap"] > 0) == (search.objectives[row["metric"]] == "max")
            cells += [
                _spread(row, "confirmed", decimals),
                gap(row["gap"], decimals, metric.unit, better=better),
                _change(row, decimals),
            ]
        if confirm and confirm.sets:
            cells.append(_spread(row, "unseen", decimals))
        rows.append(["" if name == last else name, metric.title, *cells])
        last = name
    return Grid(heads, rows, left=2)


def _tuned(tables: SearchTables, study: Study, search: Search, names: Mapping[str, str]) -> Grid:
    heads = ["Variant", "Objective", "Untuned", "Tuned", "Tuned minus untuned [95 %]"]
    places = {key: digits(largest(tables.promised, key)) for key in search.objectives}
    rows, last = [], ""
    for row in tables.tuned[tables.tuned["change"].notna()].head(ROWS).to_dict("records"):
        decimals, name = places[row["metric"]], names[row["variant"]]
        if row["compared_to"] != BASELINE:
            name += f" against {names[row['compared_to']]}"
        both = (number(row[stage], decimals, signed=True) for stage in ("untuned", "tuned"))
        rows.append(["" if name == last else name, study.metric(row["metric"]).title, *both, _interval(row, decimals)])
        last = name
    return Grid(heads, rows, left=2)


def _tuned_why(tuned: pd.DataFrame, effects: Effects | None) -> str:
    """Say why some changes have no interval, and that none is told of the effects that a design declared."""
    without = tuned[tuned["change"].notna() & tuned["low"].isna()]
    said = [f"No interval: {'; '.join(without['how'].unique())}."] if len(without) else []
    if effects:
        said.append(f"Tuned minus untuned is told of variants alone, not of the {effects.declared}s of the components.")
    return " ".join(said)


def _interval(row: Mapping[Any, Any], decimals: int) -> str:
    found = number(row["change"], decimals, signed=True)
    if not isfinite(row["low"]):
        return found
    return f"{found} [{number(row['low'], decimals, signed=True)}, {number(row['high'], decimals, signed=True)}]"


def _change(row: Mapping[Any, Any], decimals: int) -> str:
    """Return what tuning changed, with its interval if there is one; of the spec's own settings that they are these."""
    if row["own"]:
        return "the same settings"
    if not isfinite(row["change"]):
        return "\u2013"
    return _interval({"change": row["change"], "low": row["change low"], "high": row["change high"]}, decimals)


def _left(searched: Searched, search: Search, names: Mapping[str, str]) -> list[tuple[str, str]]:
    """Say of which finished searches early stopping left hardly anything to choose from."""
    tried = searched.suggestions[searched.suggestions["same_as"].isna()]
    tried = tried[(tried["state"] != "left out") & tried["variant"].isin(list(names))]
    over = {(row["variant"], row["repeat"]) for row in searched.choices.to_dict("records")}
    few = []
    for (variant, repeat), part in tried.groupby(["variant", "repeat"], sort=False):
        complete = part.loc[part["state"] == "complete", "number"].tolist()
        if (variant, repeat) in over and (part["state"] == "stopped").any() and len(complete) < FEW:
            which = _place({"variant": variant, "repeat": repeat}, search, names)
            first = ", the first one alone" if complete == [0] else ""
            few.append(f"{len(complete)} of {counted(len(part), 'suggestion')} of {which}{first}")
    more = [f"{len(few) - MOST_NAMED} such more"] if len(few) > MOST_NAMED else []
    what = "; ".join([*few[:MOST_NAMED], *more])
    return [("Early stopping", f"It left little to choose from. Ran to the end: {what}.")] if few else []


def _mattered(mattered: Mapping[str, Mattered], names: Mapping[str, str]) -> tuple[Grid, str]:
    known = {one: found for one, found in mattered.items() if found.shares and one in names}
    few = [f"{names[one]} ({found.count})" for one, found in mattered.items() if found.count < LEAST and one in names]
    paths = sorted({path for found in known.values() for path in found.shares})
    rows = [[path, *(_share(found, path) for found in known.values())] for path in paths]
    if rows:
        rows.append(["Suggestions compared", *(str(found.count) for found in known.values())])
    at: dict[int, list[str]] = {}
    for one, found in known.items():
        if found.rung is not None:
            at.setdefault(found.rung, []).append(names[one])
    said = [
        f"Of {listed(several)} stopping early left fewer than {LEAST} complete suggestions: compared are the values "
        f"at step {rung:,}, the first rung, of all that reached it; what matters at the end may be something else."
        for rung, several in at.items()
    ]
    if few:
        said.append(f"It takes {LEAST} complete suggestions to say; there are fewer of {listed(few)}.")
    return Grid(["Parameter", *(names[one] for one in known)], rows), " ".join(said)


def _share(found: Mattered, path: str) -> str:
    if path not in found.shares:
        return "\u2013"
    share = found.shares[path]
    return "not told from noise" if share is None else f"{100 * share:.0f} %" if isfinite(share) else "told from noise"


def _rungs(rungs: Sequence[Rung], study: Study) -> Grid:
    heads = ["Rung (step)", "Objective", "Went on", "Stopped", "Compared", "Rank correlation [95 %]", "Finding"]
    rows = [
        [
            f"{one.step:,}", one.name, str(one.went_on), str(one.stopped),
            f"{one.found.n} ({counted(one.found.pairs, 'pair')})",
            _correlation(one), one.found.warning or "the order here foretells that at the end",
        ]
        for one in rungs[:ROWS]
    ]  # fmt: skip
    return Grid(heads, rows, left=2)


def _correlation(rung: Rung) -> str:
    found = rung.found
    if not isfinite(found.tau):
        return "\u2013"
    return f"{number(found.tau, 2)} [{number(found.low, 2)}, {number(found.high, 2)}]"


def _place(row: Mapping[Any, Any], search: Search, names: Mapping[str, str]) -> str:
    name = names[row["variant"]]
    return name if search.repeats == 1 else f"{name}, repeat {row['repeat']}"


def _spread(row: Mapping[Any, Any], name: str, decimals: int) -> str:
    mean, spread = number(row[name], decimals), row[f"{name} sd"]
    return f"{mean} \u00b1 {number(spread, decimals)}" if isfinite(spread) else mean


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def _time(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"
