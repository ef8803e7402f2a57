"""The report's figures, as SVG that takes its colours and its font from the page. They get numbers and draw them.

What is drawn inside `collected` is kept as files, too, that need no page: SVG and PNG in the colours of the day.
"""

from __future__ import annotations

import html
import io
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import Collection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from analysis.ledger import Metric
from analysis.printable import clean
from analysis.schema import BASELINE
from analysis.statistics import Floats

__all__ = ["ForestRow", "Panels", "canvas", "collected", "curves", "forest", "panels", "ticks", "wrapped"]

INK, MUTED, RULE, ACCENT, BAND, TINT, AGAINST, PAPER = (f"#0{n}0{n}0{n}" for n in range(1, 9))
"""Stand-ins; the page's style sheet says what they look like by day and by night."""
ROLES = {INK: "--ink", MUTED: "--muted", RULE: "--rule", ACCENT: "--accent", BAND: "--band", TINT: "--tint"}
ROLES |= {AGAINST: "--against", PAPER: "--paper"}
DAY = {
    INK: "#1c1d20", MUTED: "#676b73", RULE: "#dddcd6", ACCENT: "#1d5c9e", BAND: "#eeeeec", TINT: "#d6e1ec",
    AGAINST: "#a4442a", PAPER: "#ffffff",
}  # fmt: skip
"""What they look like in a file by itself, which is white and knows no transparency."""
DPI = 150
_KEPT: ContextVar[dict[str, bytes] | None] = ContextVar("kept", default=None)
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a name is no formula
    "font.family": "sans-serif",
    "font.sans-serif": ["Liberation Sans", "Arial", "Helvetica", "DejaVu Sans"],
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.unicode_minus": True,
    "text.color": INK,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "axes.linewidth": 0.8,
}
WIDTH_IN = 11.0
LEFT, RIGHT = 0.07, 0.995
FOREST_LEFT, SIZE = 0.2, 9.5
GAP_IN = 0.12
"""Between the titles of two panels side by side."""
SMALL_IN = 1.5
"""Panels no higher than this have smaller letters."""
LETTER, LINE = 0.52, 1.32
"""The mean width of a letter and the height of a line, over the size of the letters."""
WIDE, NARROW = 100.0, 5.0
"""Over more than the one factor a logarithmic scale has ticks at powers of ten alone, below the other even ones."""


@dataclass(frozen=True)
class ForestRow:
    """One line of the forest plot.

    Args:
        label: the variant, for readers.
        seeds: the difference of each seed, in the metric's unit.
        interval: its ends; NaN if there is none.
        decided: whether there is a verdict other than `undecided`.
        text: the numbers, as the right margin shows them.
        unit: what a seed is called.
        mean: the estimate, if it is not the mean of these seeds because some training is missing.
    """

    label: str
    seeds: Floats
    interval: tuple[float, float]
    decided: bool
    text: str
    unit: str = "seed"
    mean: float = np.nan


def forest(rows: Sequence[ForestRow], metric: Metric, *, margin: float | None, caption: str) -> str:
    """Draw a line for each comparison: a dot per seed, the mean with its interval, and the margin that matters.

    Args:
        rows: from top to bottom, at least one.
        metric: of the differences.
        margin: half the width of the band of differences that do not matter; None draws none.
        caption: what the picture says, for readers who cannot see it.
    """
    labels = [wrapped(clean(row.label), FOREST_LEFT * WIDTH_IN - GAP_IN, SIZE) for row in rows]
    more = max(label.count("\n") for label in labels)
    with canvas((0.36 + more * LINE * SIZE / 72) * len(rows) + 0.95, "forest", caption) as (figure, svg):
        axes = figure.subplots()
        height = figure.get_figheight()
        figure.subplots_adjust(left=FOREST_LEFT, right=0.735, top=1 - 0.28 / height, bottom=0.56 / height)
        axes.axvline(0, color=MUTED, linewidth=0.8, gid="zero")  # by which the page finds it
        if margin is not None:
            axes.axvspan(-margin, margin, color=BAND, linewidth=0)
        for place, row in enumerate(rows):
            _forest_line(axes, place, row)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_yticks(range(len(rows)), labels)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.spines["left"].set_visible(False)
        ends = np.concatenate([[0.0, margin or 0.0, -(margin or 0.0)], *(_extent(row) for row in rows)])
        room = 0.04 * (ends.max() - ends.min() or 1.0)
        axes.set_xlim(ends.min() - room, ends.max() + room)
        unit = f" ({metric.unit})" if metric.unit else ""
        axes.set_xlabel(f"Difference of {metric.name}{unit}: mean, 95 % interval, and each {rows[0].unit}")
        _directions(axes, metric)
    return svg[0]


@dataclass(frozen=True)
class Panels:
    """How small multiples are laid out: panels in a row, inches of height each, and the scale of the values."""

    columns: int = 3
    height_in: float = 1.8
    log: bool = False


def curves(
    table: pd.DataFrame,
    metric: Metric,
    *,
    labels: Mapping[str, str],
    caption: str,
    marks: Mapping[str, Sequence[int]] = MappingProxyType({}),
    layout: Panels = Panels(),
) -> str:
    """Draw a small panel for each variant: mean and range over seeds, before the full model in grey.

    Args:
        table: columns `variant`, `seed`, `step` and the metric, as from `analysis.load_curves`.
        metric: drawn over the steps.
        labels: variant -> its name for readers, in the order of the layout.
        caption: what the picture says, for readers who cannot see it.
        marks: variant -> the steps to be marked above its panel.
        layout: of the panels.
    """
    bands = table.groupby(["variant", "step"])[metric.key].agg(["mean", "min", "max"]).dropna()
    names = [name for name in labels if name in bands.index]
    small = layout.height_in <= SMALL_IN
    across = f"Step (mean and range over {_seeds(table, metric.key, names)})"
    up = metric.title.replace(", ", ",\n") if small else metric.title
    reach = (bands["min"].min(), bands["max"].max()) if layout.log else None
    titles, name = [labels[one] for one in names], re.sub(r"\W", "-", metric.key)
    with panels(titles, name, caption, across=across, up=up, layout=layout, reach=reach) as (axes, svg):
        for axis, one in zip(axes, names, strict=True):
            if BASELINE in bands.index and one != BASELINE:
                full = bands.loc[BASELINE]
                axis.plot(full.index, full["mean"], color=MUTED, linewidth=1.1, linestyle=(0, (1, 1.4)))
            own = bands.loc[one]
            axis.fill_between(own.index, own["min"], own["max"], color=TINT, linewidth=0)
            axis.plot(own.index, own["mean"], color=ACCENT, linewidth=1.6)
            at = list(marks.get(one, ()))
            axis.plot(
                at, [0.97] * len(at), "v", color=AGAINST, markersize=4, markeredgewidth=0,
                transform=axis.get_xaxis_transform(), clip_on=False,
            )  # fmt: skip
    return svg[0]


@contextmanager
def panels(
    names: Sequence[str],
    name: str,
    caption: str,
    *,
    across: str,
    up: str,
    layout: Panels = Panels(),
    reach: tuple[float, float] | None = None,
) -> Iterator[tuple[list[Axes], list[str]]]:
    """Give a panel for each of `names`, titled so, on common scales; afterwards the list holds the figure as SVG.

    Args:
        names: titles, at least one.
        name: of the figure; its parts in the page are named after it.
        caption: what the picture says, for readers who cannot see it.
        across: what the horizontal axes show.
        up: what the vertical axes show.
        layout: of the panels.
        reach: of the values, on a logarithmic scale.
    """
    small = layout.height_in <= SMALL_IN
    size = 8.5 if small else 9.5
    titles = [wrapped(title, (RIGHT - LEFT) * WIDTH_IN / layout.columns - GAP_IN, size) for title in names]
    lines = -(-len(names) // layout.columns)
    more = max(title.count("\n") for title in titles) * LINE * size / 72  # inches that titles of several lines take
    with canvas((layout.height_in + more) * lines + 0.45, name, caption) as (figure, svg):
        axes = _subplots(figure, layout, lines, more)
        for axis, title in zip(axes, titles, strict=False):
            axis.set_title(title, loc="left", fontsize=size, pad=4, linespacing=1.1)
        yield axes[: len(names)], svg
        for place, axis in enumerate(axes[: len(names)]):
            ticks(axis, reach=reach)
            if place + layout.columns >= len(names):  # no panel below
                axis.tick_params(labelbottom=True)
        for axis in axes[len(names) :]:
            axis.set_visible(False)
        centre = LEFT + (RIGHT - LEFT) * min(len(names) / layout.columns, 1) / 2
        figure.supxlabel(across, x=centre, y=0.08 / figure.get_figheight(), va="bottom", fontsize=9.5, color=MUTED)
        figure.supylabel(up, fontsize=size, x=0.005, color=MUTED)


def wrapped(text: str, width_in: float, size: float) -> str:
    """Return a title in as many lines as it takes to be no wider than so many inches at this size in points."""
    return textwrap.fill(text, max(int(width_in / (LETTER * size / 72)), 8))


def _seeds(table: pd.DataFrame, key: str, names: Sequence[str]) -> str:
    """Return over how many trainings the curves of the variants are, which may differ between these."""
    known = table[table[key].notna() & table["variant"].isin(names)]
    each = "trial" if "trial" in known else "seed"
    counts = known.groupby("variant")[each].nunique()
    few, many = int(counts.min()), int(counts.max())
    return f"{few} to {many} trainings" if few != many else f"{many} training{'' if many == 1 else 's'}"


def _subplots(figure: Figure, layout: Panels, lines: int, more: float) -> list[Axes]:
    """Return the panels of a figure, row by row, on common scales; titles take so many inches `more` than a line."""
    axes = figure.subplots(lines, layout.columns, sharex=True, sharey=True, squeeze=False)
    height, between = figure.get_figheight(), 0.58 / layout.height_in
    each = (layout.height_in * lines - 0.35) / (lines + (lines - 1) * between)  # inches
    figure.subplots_adjust(
        left=LEFT, right=RIGHT, top=1 - (0.3 + more) / height, bottom=0.5 / height, hspace=between + more / each,
        wspace=0.034 * layout.columns,
    )  # fmt: skip
    return list(axes.flat)


def ticks(axes: Axes, *, reach: tuple[float, float] | None) -> None:
    """Give a panel few ticks, written as plain numbers; on a logarithmic scale if its values' `reach` is given."""
    axes.tick_params(length=2.5)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    factor = NARROW
    if reach is not None and reach[1] > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
        factor = reach[1] / reach[0] if reach[0] > 0 else np.inf
    if factor > WIDE:
        axes.yaxis.set_major_locator(LogLocator(numticks=4))
    elif factor > NARROW:
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    else:
        axes.yaxis.set_major_locator(MaxNLocator(4))


def _forest_line(axes: Axes, place: int, row: ForestRow) -> None:
    colour = ACCENT if row.decided else MUTED
    axes.plot(
        row.seeds,
        np.full(len(row.seeds), place + 0.2),
        "o",
        markersize=3.2,
        color=colour,
        alpha=0.55,
        markeredgewidth=0,
    )
    if np.isfinite(row.interval).all():
        axes.plot(row.interval, [place - 0.06] * 2, color=colour, linewidth=1.6, solid_capstyle="butt")
    mean = row.mean if np.isfinite(row.mean) or not len(row.seeds) else row.seeds.mean()
    if np.isfinite(mean):
        axes.plot(mean, place - 0.06, "D", markersize=4.6, color=colour, markeredgewidth=0)
    counted = f"{len(row.seeds)} {row.unit}{'' if len(row.seeds) == 1 else 's'}"
    for text, x, side, colour in ((row.text, 1.02, "left", INK), (counted, 1.49, "right", MUTED)):
        axes.annotate(text, (x, place), xycoords=("axes fraction", "data"), va="center", ha=side, color=colour,
                      annotation_clip=False)  # fmt: skip


def _extent(row: ForestRow) -> Floats:
    return np.array([value for value in (*row.seeds, *row.interval, row.mean) if np.isfinite(value)])


def _directions(axes: Axes, metric: Metric) -> None:
    """Say on which side the variant is better than what it is compared with."""
    sides = {True: ("\u2190 worse", "better \u2192"), False: ("\u2190 better", "worse \u2192")}
    if metric.higher_is_better is None:
        return
    low, high = axes.get_xlim()
    zero = (0 - low) / (high - low)
    for text, offset, side in zip(sides[metric.higher_is_better], (-8, 8), ("right", "left"), strict=True):
        axes.annotate(text, (zero, 1), (offset, 3), xycoords="axes fraction", textcoords="offset points", ha=side,
                      va="bottom", color=MUTED, annotation_clip=False)  # fmt: skip


@contextmanager
def collected() -> Iterator[dict[str, bytes]]:
    """Keep what is drawn within: the dictionary holds it by file name (`<figure>.svg`, `<figure>.png`)."""
    kept: dict[str, bytes] = {}
    token = _KEPT.set(kept)
    try:
        yield kept
    finally:
        _KEPT.reset(token)


@contextmanager
def canvas(height_in: float, name: str, caption: str) -> Iterator[tuple[Figure, list[str]]]:
    """Give a figure to draw on; afterwards the list holds it as SVG, the same text for the same drawing.

    Inside `collected` it is kept under its name as well.
    """
    svg: list[str] = []
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(WIDTH_IN, height_in))
        figure.patch.set_visible(False)
        yield figure, svg
        for axes in figure.axes:
            axes.patch.set_visible(False)
        _harmless(figure)
        caption = clean(caption)
        text = io.StringIO()
        figure.savefig(text, format="svg")
        kept = _KEPT.get()
        if kept is not None:
            kept[f"{name}.svg"] = _alone(text.getvalue(), caption).encode()
            kept[f"{name}.png"] = _png(figure)
    svg.append(_themed(text.getvalue(), name, caption))


def _harmless(figure: Figure) -> None:
    """Write the control characters of a ledger's names as escapes: no font has them, and no SVG may."""
    for text in figure.findobj(Text):
        text.set_text(clean(text.get_text()))


def _alone(svg: str, caption: str) -> str:
    """Return the SVG as a file by itself: the colours of the day on white, the caption as its title."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    for colour, day in DAY.items():
        svg = svg.replace(colour, day)
    ground = '<rect width="100%" height="100%" style="fill: #ffffff"/>'
    title = f"<title>{html.escape(caption)}</title>"
    return re.sub(r"(<svg\b[^>]*>)", lambda tag: f"{tag[1]}\n {title}\n {ground}", svg, count=1)


def _png(figure: Figure) -> bytes:
    """Return the figure as PNG in the colours of the day. It is left with these colours."""
    by_day = {mpl.colors.to_rgb(stand_in): day for stand_in, day in DAY.items()}

    def day(colour: Any) -> Any:
        return by_day.get(mpl.colors.to_rgba(colour)[:3], colour) if isinstance(colour, str | tuple) else colour

    for artist in figure.findobj():
        if isinstance(artist, Line2D):
            artist.set(color=day(artist.get_color()))
            artist.set(markerfacecolor=day(artist.get_markerfacecolor()))
            artist.set(markeredgecolor=day(artist.get_markeredgecolor()))
        elif isinstance(artist, Text):
            artist.set_color(day(artist.get_color()))
            ground = artist.get_bbox_patch()
            if ground is not None:
                ground.set(facecolor=day(ground.get_facecolor()))
        elif isinstance(artist, Patch):
            artist.set(facecolor=day(artist.get_facecolor()), edgecolor=day(artist.get_edgecolor()))
        elif isinstance(artist, Collection):
            artist.set_facecolor([day(tuple(colour)) for colour in mpl.colors.to_rgba_array(artist.get_facecolor())])
            artist.set_edgecolor([day(tuple(colour)) for colour in mpl.colors.to_rgba_array(artist.get_edgecolor())])
    figure.patch.set_visible(True)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
    return data.getvalue()


def _themed(svg: str, name: str, caption: str) -> str:
    """Return the SVG as a part of a page: roles for colours, its own names, and its caption."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    for colour, role in ROLES.items():
        svg = svg.replace(colour, f"var({role})")
    for mark in (' id="', "url(#", 'href="#'):
        svg = svg.replace(mark, f"{mark}{name}-")
    title = html.escape(caption, quote=True)
    return svg.replace("<svg", f'<svg role="img" aria-label="{title}" class="{name}"', 1)
