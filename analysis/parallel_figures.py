"""Parallel coordinates of a search: a line for each suggestion, across its settings to its objectives.

They get frames and draw them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from analysis.figures import ACCENT, AGAINST, GAP_IN, INK, LINE, MUTED, PAPER, RULE, WIDTH_IN, canvas, wrapped
from analysis.ledger import Metric, Study
from analysis.printable import clean
from analysis.search_figures import MOST
from analysis.suggestions import PARAMS, Searched, finite
from analysis.wording import counted, listed

__all__ = ["coordinates"]

LINES = 100
"""Of more suggestions of a variant so many are drawn."""
FEW_AXES = 4
"""With more axes than so many a panel has the whole width."""
SIZE = 9.5  # points, of titles
PANEL_IN, BETWEEN_IN = 2.2, 0.82
BESIDE = 0.13
"""Of the height of an axis: ticks nearer to an end than this would touch its number."""
UNSET = -0.2
"""Where a setting lies that does not exist beside the others, below the ends of the axis."""
ROOM_IN = 0.95  # to the left of the first axis, and to the right of the last one, for their numbers
PALE = 0.15  # opacity of the worst suggestion; the best one has 1
UP, DOWN = "\u2191", "\u2193"
LONGEST = 14
"""Of a choice's text so many characters are shown."""
PLAIN: dict[str, Any] = {"textcoords": "offset points", "annotation_clip": False, "parse_math": False}
BROKEN = ("diverged", "failed", "refused")
ENDED: dict[str, dict[str, Any]] = {
    "stopped": {"color": MUTED, "linewidth": 0.8, "linestyle": (0, (4, 2))},
    **{state: {"color": AGAINST, "linewidth": 0.8, "linestyle": (0, (1, 1.6))} for state in BROKEN},
}
END: dict[str, dict[str, Any]] = {
    "stopped": {"marker": "o", "markersize": 4.2, "markerfacecolor": PAPER, "markeredgecolor": MUTED,
                "markeredgewidth": 0.9},
    **{state: {"marker": "x", "markersize": 4.4, "color": AGAINST, "markeredgewidth": 1.2} for state in BROKEN},
}  # fmt: skip


@dataclass(frozen=True)
class Scale:
    """One axis.

    Args:
        label: what it shows, in one or two lines.
        places: of each suggestion, where on the axis it lies: 0 to 1 from one end to the other, `UNSET` for a setting
            that does not exist beside the others, NaN for an objective without a value.
        ticks: (place, text).
    """

    label: str
    places: pd.Series[float]
    ticks: list[tuple[float, str]] = field(default_factory=list)


def coordinates(searched: Searched, study: Study, labels: Mapping[str, str]) -> list[tuple[str, str]]:
    """Draw what the searches tried as parallel coordinates, a panel for each variant, as SVG with a caption each.

    An axis for each setting that was searched, logarithmic where the space is, with the values of a choice as steps,
    then one for each objective; all panels share their scales. None if no suggestion has ended.

    Args:
        searched: what was tried.
        study: its search and metrics.
        labels: variant -> its name for readers, in the order of the panels.
    """
    search = study.search
    if search is None:
        return []
    tried = finite(_ended(searched.suggestions), list(search.objectives))
    having, known = set(tried["variant"]), [path for path in search.space if f"{PARAMS}{path}" in tried]
    paths = {name: [path for path in known if path in search.parameters.get(name, ())] for name in labels}
    every = [name for name in labels if name in having and paths[name]]
    names = every[:MOST]
    if not names:
        return []
    tried = tried[tried["variant"].isin(names)]
    settings = {
        path: _setting(tried[f"{PARAMS}{path}"], path, search.space[path])
        for path in known
        if any(path in paths[name] for name in names)
    }
    higher = {key: way == "max" for key, way in search.objectives.items()}
    ends = [_objective(tried[key], study.metric(key), higher=up) for key, up in higher.items()]
    first, up = next(iter(higher.items()))
    panels = {name: [settings[path] for path in paths[name]] for name in names}
    caption = _caption(tried, study.metric(first), list(higher), cut=len(every) > len(names))
    columns = 2 if max(map(len, panels.values())) + len(ends) <= FEW_AXES else 1
    parts = {name: tried[tried["variant"] == name] for name in names}
    titles = [
        wrapped(f"{labels[name]}: {_counts(part)}", WIDTH_IN / columns - GAP_IN, SIZE) for name, part in parts.items()
    ]
    more = max(title.count("\n") for title in titles) * LINE * SIZE / 72
    with canvas((PANEL_IN + more) * -(-len(names) // columns), "parallel", caption) as (figure, svg):
        for axis, name, title in zip(_subplots(figure, len(names), columns, more), names, titles, strict=True):
            strength = _strength(parts[name], first, higher=up)
            _lines(axis, _few(parts[name]), panels[name], ends, strength)
            _axes(axis, panels[name], ends)
            axis.set_title(title, loc="left", fontsize=SIZE, pad=8)
    return [(svg[0], caption)]


def _ended(suggestions: pd.DataFrame) -> pd.DataFrame:
    """Return the suggestions that have ended, each of the settings once."""
    ended = suggestions["state"].isin(["complete", *ENDED])
    return suggestions[ended & suggestions["same_as"].isna()]


def _few(own: pd.DataFrame) -> pd.DataFrame:
    """Return the suggestions of a variant that are drawn: of many some, evenly spaced, and what was chosen."""
    if len(own) <= LINES:
        return own
    even = {round(place) for place in np.linspace(0, len(own) - 1, LINES)}
    return own.iloc[sorted(even.union(np.flatnonzero(own["chosen"]).tolist()))]


def _subplots(figure: Figure, count: int, columns: int, more: float) -> list[Axes]:
    """Return the panels of a figure; titles take so many inches `more` than a line."""
    axes = list(figure.subplots(-(-count // columns), columns, squeeze=False).flat)
    height = figure.get_figheight()
    figure.subplots_adjust(
        left=0.005, right=0.985, top=1 - (0.34 + more) / height, bottom=0.48 / height,
        hspace=(BETWEEN_IN + more) / (PANEL_IN - BETWEEN_IN), wspace=0.03,
    )  # fmt: skip
    for axis in axes:
        axis.set_axis_off()
    return axes[:count]


def _caption(tried: pd.DataFrame, first: Metric, keys: Sequence[str], *, cut: bool) -> str:
    said = [
        "A line for each suggestion that has ended, across its settings to what it reached; the stronger its colour, "
        f"the better its rank in {first.name} among its variant\u2019s."
    ]
    states = set(tried["state"])
    if "stopped" in states:
        said.append("Dashed and ending in a circle: stopped before the end.")
    broken = [state for state in BROKEN if state in states]
    if broken:
        said.append(f"Dotted and ending in a cross: {' or '.join(broken)}.")
    holes = int(tried.loc[tried["state"] == "complete", list(keys)].isna().any(axis=1).sum())
    if holes:
        said.append(f"Broken off at an objective without a finite value: {counted(holes, 'complete suggestion')}.")
    if tried["chosen"].any():
        said.append("A dark line with diamonds is what was chosen.")
    if tried.groupby("variant").size().max() > LINES:
        said.append(f"Of more suggestions of a variant {LINES} are drawn, evenly spaced, and what was chosen.")
    if cut:
        said.append(f"The first {MOST} variants are drawn.")
    return " ".join(said)


def _counts(own: pd.DataFrame) -> str:
    """Return how many suggestions of a variant ended how."""
    counts = own["state"].value_counts()
    parts = [f"{counts[state]} {state}" for state in ("complete", *ENDED) if state in counts]
    return f"{counted(len(own), 'suggestion')}, {listed(parts)}"


def _setting(values: pd.Series[Any], path: str, one: Mapping[str, Any]) -> Scale:
    """Return the axis of a setting, widened to what was tried before the space was changed."""
    label = "\n".join(path.rsplit(".", 1))
    there = values.notna()
    if "choice" in one:
        texts = values.map(_text)
        known = list(dict.fromkeys([*map(_text, one["choice"]), *texts[there]]))
        if "null" not in known:
            texts = texts.where(there)
        step = 1 / max(len(known) - 1, 1)
        places = {text: place * step for place, text in enumerate(known)}
        found = texts.map(places).astype(float).fillna(UNSET)
        ticks = [(place, text) for text, place in places.items()]
    else:
        numbers = values.astype(float)
        low, high = (float(one) for one in one.get("float") or one["int"])
        ends = min(low, numbers.min()), max(high, numbers.max())
        found, ticks = _numeric(numbers, ends, log=bool(one.get("log", False)), whole="int" in one)
        found = found.fillna(UNSET)
    return Scale(label, found, [*ticks, (UNSET, "not set")] if (found == UNSET).any() else ticks)


def _objective(values: pd.Series[Any], metric: Metric, *, higher: bool) -> Scale:
    numbers = values.astype(float)
    label = f"{metric.title} {UP if higher else DOWN}"
    if numbers.isna().all():
        return Scale(label, numbers)
    places, ticks = _numeric(numbers, (float(numbers.min()), float(numbers.max())))
    return Scale(label, places, ticks)


def _numeric(
    values: pd.Series[float], ends: tuple[float, float], *, log: bool = False, whole: bool = False
) -> tuple[pd.Series[float], list[tuple[float, str]]]:
    """Return where values lie between the ends, 0 to 1, and ticks: the ends, and round numbers between them."""
    low, high = ends
    if low == high:
        return values.where(values.isna(), 0.5), [(0.5, f"{low:.4g}")]
    between = LogLocator(subs=(1.0,)) if log else MaxNLocator(4, integer=whole)

    marks = [value for value in between.tick_values(low, high) if low < value < high]
    at = np.array([low, high, *marks, *values])
    at = np.log(at) if log else at
    at = (at - at[0]) / (at[1] - at[0])
    ticks = [(0.0, low), (1.0, high), *zip(at[2:], marks, strict=False)]
    shown = [(place, f"{value:.4g}") for place, value in ticks if place in (0, 1) or BESIDE < place < 1 - BESIDE]
    return pd.Series(at[2 + len(marks) :], index=values.index), shown


def _text(value: Any) -> str:
    """Return one of a choice's values as the spec has it; what is missing as `null`."""
    if value is None or value != value:
        return "null"
    if isinstance(value, str):
        return clean(value if len(value) <= LONGEST else f"{value[:LONGEST]}\u2026")
    value = value.item() if hasattr(value, "item") else value
    # beside a missing value pandas has made a float of a whole number
    return json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value)


def _strength(own: pd.DataFrame, key: str, *, higher: bool) -> pd.Series[float]:
    """Return the opacity of each complete suggestion of a variant: the better its rank, the stronger."""
    complete = own.loc[own["state"] == "complete", key].astype(float)
    ranks = complete.rank(ascending=higher, pct=True).fillna(0)
    return PALE + (1 - PALE) * ranks**2  # squared, so that the best ones stand out of many


def _lines(
    axis: Axes, own: pd.DataFrame, settings: Sequence[Scale], ends: Sequence[Scale], strength: pd.Series[float]
) -> None:
    """Draw the suggestions of a variant: those that broke off below, the best ones above, what was chosen on top."""
    at = pd.concat([scale.places for scale in (*settings, *ends)], axis=1, keys=range(len(settings) + len(ends)))
    for state, style in ENDED.items():
        for places in at.loc[own.index[own["state"] == state]].to_numpy()[:, : len(settings)]:
            axis.plot(places, **style)
            axis.plot(len(settings) - 1, places[-1], linestyle="none", zorder=4, **END[state])
    strength = strength[strength.index.isin(own.index)].sort_values()
    for places, opacity in zip(at.loc[strength.index].to_numpy(), strength, strict=True):
        axis.plot(places, color=ACCENT, linewidth=1.3, alpha=opacity)
    for places in at.loc[own.index[own["chosen"]]].to_numpy():
        axis.plot(places, color=INK, linewidth=1.5, marker="D", markersize=4.5, markerfacecolor=PAPER)


def _axes(axis: Axes, settings: Sequence[Scale], ends: Sequence[Scale]) -> None:
    """Draw the axes of a panel with their numbers and names."""
    scales = [*settings, *ends]
    for place, scale in enumerate(scales):
        axis.plot([place, place], [0, 1], color=RULE, linewidth=1.0, zorder=1)
        for height, text in scale.ticks:
            side, offset = ("left", 7) if place == len(scales) - 1 else ("right", -6)
            axis.annotate(
                text, (place, height), (offset, 0), ha=side, va="center", fontsize=8, color=MUTED, zorder=5,
                bbox={"facecolor": PAPER, "edgecolor": "none", "alpha": 0.85, "boxstyle": "square,pad=0.1"}, **PLAIN,
            )  # fmt: skip
        axis.annotate(
            scale.label, (place, min([0.0, *(height for height, _ in scale.ticks)])), (0, -8), ha="center", va="top",
            fontsize=8.5, color=INK if place >= len(settings) else MUTED, linespacing=1.1, **PLAIN,
        )  # fmt: skip
    unset = any(height == UNSET for scale in scales for height, _ in scale.ticks)
    width = WIDTH_IN * axis.get_position().width
    room = ROOM_IN * (len(scales) - 1) / (width - 2 * ROOM_IN)
    axis.set_xlim(-room, len(scales) - 1 + room)
    axis.set_ylim(UNSET - 0.04 if unset else -0.04, 1.04)
