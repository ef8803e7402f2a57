"""What is told of a search, as text: what the page, the Markdown file and the terminal show alike. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from typing import Any

import pandas as pd

from analysis.basis import basis
from analysis.importance import LEAST
from analysis.ledger import Search, Study
from analysis.search_tables import Rung, SearchTables
from analysis.search_wording import asked, budget, compared, gap, gaps, largest, notices, progress
from analysis.shown import ROWS, Group, groups, labels
from analysis.tables import Readings, Tables
from analysis.wording import digits, listed, number

__all__ = ["Grid", "SearchPart", "search_part"]


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
        gaps: sentences on how they differ.
        mattered: which parameters mattered; no rows if nothing can be said.
        unknown: for which variants that cannot be said, a sentence or nothing.
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
    mattered: Mapping[str, Mapping[str, float] | int],
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
        ],
        basis="" if waits else basis(readings),
        waits=waits,
        asked=asked(search, study),
        budget=budget(search, tables.spent),
        spent=_spent(search, tables.spent, names),
        left_out=left_out,
        ended=ended,
        settings=_settings(tables.promised, search, names),
        promised=_promised(tables.promised, study, search, names),
        gaps=gaps(tables.promised, study, search),
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


def _settings(promised: pd.DataFrame, search: Search, names: Mapping[str, str]) -> Grid:
    rows = []
    for row in promised.drop_duplicates(["variant", "repeat"]).head(ROWS).to_dict("records"):
        settings = ", ".join(f"{path}: {_value(value)}" for path, value in json.loads(row["settings"]).items())
        chosen = "\u2013" if pd.isna(row["number"]) or row["number"] < 0 else str(row["number"])
        why = row["why"] or "its search is not finished"
        rows.append([_place(row, search, names), chosen, settings or "\u2013", why])
    return Grid(["Search of", "Suggestion", "Settings chosen", "Why"], rows, left=4)


def _promised(promised: pd.DataFrame, study: Study, search: Search, names: Mapping[str, str]) -> Grid:
    confirm = study.confirm
    heads = ["Variant", "Objective", "Untuned", "Promised"]
    if confirm:
        heads += ["Confirmed, same images", "Gap to the promise"]
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
            ]
        if confirm and confirm.sets:
            cells.append(_spread(row, "unseen", decimals))
        rows.append(["" if name == last else name, metric.title, *cells])
        last = name
    return Grid(heads, rows, left=2)


def _mattered(mattered: Mapping[str, Mapping[str, float] | int], names: Mapping[str, str]) -> tuple[Grid, str]:
    known = {names[one]: shares for one, shares in mattered.items() if not isinstance(shares, int) and one in names}
    few = [f"{names[one]} ({count})" for one, count in mattered.items() if isinstance(count, int) and one in names]
    paths = sorted({path for shares in known.values() for path in shares})
    rows = [[path, *(f"{100 * shares[path]:.0f} %" if path in shares else "\u2013" for shares in known.values())]
            for path in paths]  # fmt: skip
    unknown = f"It takes {LEAST} complete suggestions to say; there are fewer of {listed(few)}." if few else ""
    return Grid(["Parameter", *known], rows), unknown


def _rungs(rungs: Sequence[Rung], study: Study) -> Grid:
    heads = ["Rung (step)", "Objective", "Went on", "Stopped", "Compared", "Rank correlation [95 %]", "Finding"]
    rows = [
        [
            f"{one.step:,}", study.metric(one.metric).name, str(one.went_on), str(one.stopped), str(one.found.n),
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
