"""What two components do together, as a figure: means with and without each. It gets numbers and draws them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.ticker import FuncFormatter

from analysis.figures import ACCENT, INK, MUTED, Panels, panels
from analysis.ledger import Metric

__all__ = ["Together", "together"]

LAYOUT = Panels(columns=3, height_in=2.2)


@dataclass(frozen=True)
class Together:
    """The means of a metric with and without two components, over the variants that were trained.

    Args:
        one: a line with it, and one without.
        other: to the left without, to the right with it.
        without: the means without `one`: without and with `other`.
        having: the means with `one`, alike.
    """

    one: str
    other: str
    without: tuple[float, float]
    having: tuple[float, float]


def together(pairs: Sequence[Together], metric: Metric) -> str:
    """Draw a panel for each pair of components: lines that are not parallel are an interaction.

    Args:
        pairs: at least one.
        metric: of the means.
    """
    titles = [f"{pair.one} \u00d7 {pair.other}" for pair in pairs]
    caption = f"{metric.title} with and without each of two components. " + " ".join(map(_said, pairs))
    across = "The second component"
    with panels(titles, "together", caption, across=across, up=metric.title, layout=LAYOUT) as (axes, svg):
        for axis, pair in zip(axes, pairs, strict=True):
            axis.set_xlim(-0.15, 1.6)  # room for the lines' names
            axis.margins(y=0.15)
            axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: {0: "without", 1: "with"}.get(value, "")))
            axis.plot([0, 1], pair.without, "o", linestyle=(0, (3, 2)), color=MUTED, linewidth=1.4, markersize=4.5)
            axis.plot([0, 1], pair.having, "o-", color=ACCENT, linewidth=1.6, markersize=4.5)
            for word, values, colour in (("without", pair.without, MUTED), ("with", pair.having, INK)):
                higher = values[1] > (pair.having if word == "without" else pair.without)[1]
                axis.annotate(
                    f"{word} the first", (1, values[1]), (8, 6 if higher else -6), textcoords="offset points",
                    va="center", color=colour, fontsize=8.5,
                )  # fmt: skip
    return svg[0]


def _said(pair: Together) -> str:
    means = (*pair.without, *pair.having)
    neither, other, one, both = (f"{value:.2f}" for value in means)
    return f"Neither {pair.one} nor {pair.other} {neither}, {pair.one} {one}, {pair.other} {other}, both {both}."
