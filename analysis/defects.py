"""The tables of known defects: colour, detail, gradients, equilibrium, or whatever metrics are about. Pure."""

from __future__ import annotations

from analysis import wording
from analysis.ledger import COST, QUALITY, Metric
from analysis.shown import Group, group, measured
from analysis.tables import Readings, Tables

__all__ = ["WHOLE", "by_set", "in_brief"]

WHOLE = "The training as a whole"
"""The name of the table of what a training has as a whole."""
LEADING = 4
"""So many metrics of each known defect are shown, the first ones that were measured; the CSV files have all."""


def by_set(readings: Readings, tables: Tables, *, leading: int = LEADING) -> list[Group]:
    """Return the tables of known defects: one for each set of images, and one of what trainings have as a whole.

    Without those of which nothing was measured.

    Args:
        readings: of the ledger.
        tables: computed from them.
        leading: of each defect the first so many metrics that were measured are shown.
    """
    parts = [(str(name), part, True) for name, part in tables.variants.groupby("set", sort=False)]
    if parts:
        parts.append((WHOLE, parts[0][1], False))  # the same on every set
    found = []
    for name, part, per_image in parts:
        of_defect: dict[str, list[Metric]] = {}
        for metric in measured(readings, part):
            if metric.about not in (QUALITY, COST) and metric.per_image == per_image:
                of_defect.setdefault(metric.about, []).append(metric)
        shown = [metric for metrics in of_defect.values() for metric in metrics[:leading]]
        if shown:
            spans = [(wording.defect(about), len(metrics[:leading])) for about, metrics in of_defect.items()]
            telling = part[(part["kind"] == "variant") | part[[one.key for one in shown]].notna().any(axis=1)]
            found.append(group(readings, name, telling, shown, spans))
    return found


def in_brief(readings: Readings, tables: Tables) -> Group | None:
    """Return one small table of the variants, with one metric of each defect; nothing if none was measured.

    What images have is that of the set for which most was measured.
    """
    counts = {one.name: len(one.heads) for one in by_set(readings, tables) if one.name != WHOLE}
    places = (max(counts, key=counts.__getitem__, default=WHOLE), WHOLE)
    chosen = [one for one in by_set(readings, tables, leading=1) if one.name in places]
    if not chosen:
        return None
    of_variants = [[row for row in one.rows if row["kind"] == "variant"] for one in chosen]
    rows = [
        {**rows[0], "cells": [cell for row in rows for cell in row["cells"]]} for rows in zip(*of_variants, strict=True)
    ]
    heads = [head for one in chosen for head in one.heads]
    return Group(chosen[0].name, heads, rows, [span for one in chosen for span in one.spans])
