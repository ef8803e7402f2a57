"""The figures of a search: the best so far of each variant, or its front. They get frames and draw them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import ACCENT, AGAINST, INK, MUTED, Panels, panels
from analysis.ledger import Study
from analysis.schema import BASELINE
from analysis.suggestions import Searched, finite
from analysis.wording import counted

__all__ = ["MOST", "search_pictures"]

MOST = 24
"""The most panels; the CSV file has all suggestions."""
LAYOUT = Panels(height_in=2.0)
DOT: dict[str, Any] = {"marker": "o", "linestyle": "none", "markersize": 4.2}
HOLLOW: dict[str, Any] = {**DOT, "markerfacecolor": "none", "markeredgecolor": MUTED, "markeredgewidth": 0.9}
FILLED: dict[str, Any] = {**DOT, "color": ACCENT, "markeredgewidth": 0}
PALE: dict[str, Any] = {**FILLED, "color": MUTED, "alpha": 0.6}
CHOSEN: dict[str, Any] = {
    "marker": "D", "linestyle": "none", "markersize": 6.5, "markerfacecolor": "none", "markeredgecolor": INK,
    "markeredgewidth": 1.3,
}  # fmt: skip
BROKEN: dict[str, Any] = {**DOT, "marker": "x", "color": AGAINST, "markeredgewidth": 1.1, "clip_on": False}
BEYOND: dict[str, Any] = {**HOLLOW, "clip_on": False}
FENCE = 1.5
"""A stopped suggestion further than so many times the distance between the quartiles outside of them (Tukey), and
outside of all complete ones, is drawn at the edge: one that broke down would flatten all panels."""
ROOM = 0.06  # of the reach, on either side


def search_pictures(searched: Searched, study: Study, labels: Mapping[str, str]) -> list[tuple[str, str]]:
    """Draw what the searches tried, a panel for each variant, and return figures as SVG with a caption each.

    With one objective its best value so far over the suggestions, with two or more the first two of them. None if
    nothing was measured yet.

    Args:
        searched: what was tried.
        study: its search and metrics.
        labels: variant -> its name for readers, in the order of the panels.
    """
    search = study.search
    points = _points(searched, study)
    names = [name for name in labels if name in set(points["variant"])][:MOST]
    if search is None or not names:
        return []
    keys = list(search.objectives)
    first, drawn = study.metric(keys[0]), points[points["variant"].isin(names)]
    dots = "filled where it ran to the end, hollow where it was stopped, with its value there"
    if len(keys) == 1:
        caption = (
            f"{first.title} of each suggestion, {dots}; a cross below: diverged, failed or refused. The line is the "
            f"best so far, dotted that of the full model, a diamond what was chosen.{_absent(drawn, keys)}"
        )
        titles = [labels[name] for name in names]
        with panels(titles, "search", caption, across="Suggestion", up=first.title, layout=LAYOUT) as (axes, svg):
            reach = _reach(drawn, keys[0])
            for axis, name in zip(axes, names, strict=True):
                _best_so_far(axis, points, name, keys[0], higher=search.objectives[keys[0]] == "max")
                _stopped(axis, points[points["variant"] == name], "number", keys[0], up=reach)
        return [(svg[0], _cut(caption + _outside(points, {keys[0]: reach}), labels, names))]
    second = study.metric(keys[1])
    caption = f"{second.title} over {first.title} of each suggestion, {dots}; in colour those that no other one of the "
    caption += "same search dominates, a diamond what was chosen."
    if len(keys) > 2:
        caption += f" Only the first two of {len(keys)} objectives are drawn; the front is that of all."
    caption += _absent(drawn, keys[:2])
    titles = [labels[name] for name in names]
    with panels(titles, "search", caption, across=first.title, up=second.title, layout=LAYOUT) as (axes, svg):
        reaches = {key: _reach(drawn, key) for key in keys[:2]}
        for axis, name in zip(axes, names, strict=True):
            own = points[points["variant"] == name]
            _stopped(axis, own, keys[0], keys[1], across=reaches[keys[0]], up=reaches[keys[1]])
            _front(axis, own, keys)
    return [(svg[0], _cut(caption + _outside(drawn, reaches), labels, names))]


def _cut(caption: str, labels: Mapping[str, str], names: list[str]) -> str:
    return f"{caption} The first {MOST} variants are drawn." if len(labels) > len(names) == MOST else caption


def _points(searched: Searched, study: Study) -> pd.DataFrame:
    """Return the suggestions that are points of a search; of stopped ones the values where they were stopped."""
    keys = list(study.search.objectives) if study.search else []
    place = ["variant", "repeat", "number"]
    there = searched.suggestions[searched.suggestions["state"] != "left out"].set_index(place)
    rungs = searched.rungs.pivot_table(index=[*place, "rung"], columns="metric", values="value", aggfunc="mean")
    stopped = there[there["state"] == "stopped"]
    at = pd.MultiIndex.from_arrays(
        [*(stopped.index.get_level_values(key) for key in place), stopped["rung"].astype(float)]
    )
    values = rungs.reindex(columns=keys).reindex(at)
    for key in keys:
        there.loc[stopped.index, key] = values[key].to_numpy(dtype=float)
    return finite(there.reset_index(), keys)


def _absent(drawn: pd.DataFrame, keys: list[str]) -> str:
    """Say how many suggestions have no dot, though they were measured, if there are some."""
    measured = drawn.loc[drawn["state"].isin(["complete", "stopped"]), keys]
    count = int(measured.isna().any(axis=1).sum())
    return f" Not drawn: {counted(count, 'suggestion')} without a finite value." if count else ""


def _best_so_far(axis: Axes, points: pd.DataFrame, name: str, key: str, *, higher: bool) -> None:
    own = points[points["variant"] == name]
    if name != BASELINE:
        for line in _lines(points[points["variant"] == BASELINE], key, higher=higher):
            axis.step(*line, where="post", color=MUTED, linewidth=1.1, linestyle=(0, (1, 1.4)))
    for line in _lines(own, key, higher=higher):
        axis.step(*line, where="post", color=ACCENT, linewidth=1.5)
    complete = own[own["state"] == "complete"]
    axis.plot(complete["number"], complete[key], **FILLED)
    broken = own[own["state"].isin(["diverged", "failed", "refused"])]
    axis.plot(broken["number"], np.full(len(broken), 0.02), transform=axis.get_xaxis_transform(), **BROKEN)
    chosen = own[own["chosen"]]
    axis.plot(chosen["number"], chosen[key], **CHOSEN)


def _reach(points: pd.DataFrame, key: str) -> tuple[float, float] | None:
    """Return the least and greatest value to be drawn in place; None if there is no value."""
    complete, stopped = (points.loc[points["state"] == state, key].dropna() for state in ("complete", "stopped"))
    found = pd.concat([complete, stopped])
    if found.empty:
        return None
    low, high = found.quantile([0.25, 0.75])
    within = stopped[stopped.between(low - FENCE * (high - low), high + FENCE * (high - low))]
    placed = pd.concat([complete, within])
    return float(placed.min()), float(placed.max())


def _outside(points: pd.DataFrame, reaches: Mapping[str, tuple[float, float] | None]) -> str:
    """Say how stopped suggestions beyond the scales are drawn, if there are some."""
    stopped = points[points["state"] == "stopped"]
    beyond = [~stopped[key].dropna().between(*reach) for key, reach in reaches.items() if reach is not None]
    if not any(one.any() for one in beyond):
        return ""
    return " A hollow triangle at the edge: stopped with a value beyond it."


def _stopped(
    axis: Axes,
    own: pd.DataFrame,
    across_key: str,
    up_key: str,
    *,
    up: tuple[float, float] | None,
    across: tuple[float, float] | None = None,
) -> None:
    """Draw the stopped suggestions, those beyond the reach of a scale at its edge, and set the scales."""
    part = own[own["state"] == "stopped"].dropna(subset=[across_key, up_key])
    x, y = (part[key].to_numpy(dtype=float, copy=True) for key in (across_key, up_key))
    marks = np.full(len(part), "o")
    for values, reach, beyond, limit in ((x, across, "<>", axis.set_xlim), (y, up, "v^", axis.set_ylim)):
        if reach is None:
            continue
        room = ROOM * (reach[1] - reach[0] or abs(reach[0]) or 1.0)
        limit(reach[0] - room, reach[1] + room)
        for outside, edge, mark in zip(
            (values < reach[0], values > reach[1]), (reach[0] - room, reach[1] + room), beyond, strict=True
        ):
            values[outside], marks[outside] = edge, mark
    for mark in sorted(set(marks)):
        style = HOLLOW if mark == "o" else {**BEYOND, "marker": mark}
        axis.plot(x[marks == mark], y[marks == mark], **style)


def _lines(own: pd.DataFrame, key: str, *, higher: bool) -> list[tuple[pd.Series[Any], pd.Series[Any]]]:
    """Return for each repeat the numbers of the suggestions and the best complete value up to each."""
    found = []
    for _, part in own.groupby("repeat"):
        values = part[key].where(part["state"] == "complete")
        best = values.cummax() if higher else values.cummin()
        found.append((part["number"], best.ffill()))
    return found


def _front(axis: Axes, own: pd.DataFrame, keys: list[str]) -> None:
    first, second = keys[:2]
    complete = own[own["state"] == "complete"]
    for part, style in (
        (complete[~complete["front"]], PALE),
        (complete[complete["front"]], FILLED),
        (own[own["chosen"]], CHOSEN),
    ):
        axis.plot(part[first], part[second], **style)
    if len(keys) == 2:
        for _, part in complete[complete["front"]].groupby("repeat"):
            line = part.sort_values([first, second])
            axis.plot(line[first], line[second], color=ACCENT, linewidth=1.0, alpha=0.6)
