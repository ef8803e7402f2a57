"""What a verdict must be read with, from a study's readings: its companions, and what it cannot tell. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

from analysis import shown
from analysis.cautions import MARK, NIQE, alignment, cautions, marked
from analysis.companions import LUMINANCE, MATCHED, Companion, companions
from analysis.tables import Readings, Tables, metric_digits

__all__ = ["Beside", "beside", "elsewhere", "explored", "limits", "niqe"]


@dataclass(frozen=True)
class Beside:
    """What stands beside one verdict.

    Args:
        companion: of a verdict on PSNR.
        caution: what so small a difference cannot tell; empty if nothing.
    """

    companion: Companion | None
    caution: str


def limits(readings: Readings) -> list[tuple[str, str]]:
    """Return what limits every verdict of the study: (heading, sentence)."""
    return cautions(readings.study, readings.trials, readings.images, readings.references)


def elsewhere(notices: list[tuple[str, str]], told: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the notices whose text is not among what is told beside the verdicts."""
    return [(heading, text) for heading, text in notices if text not in {said for _, said in told}]


def beside(readings: Readings, tables: Tables) -> list[Beside]:
    """Return what stands beside each of `shown.verdicts`."""
    study = readings.study
    measured = [key for key in (MATCHED, LUMINANCE) if key in study.keys]
    scores = readings.images.reindex(columns=["variant", LUMINANCE]).dropna()
    levels = {str(name): float(own[LUMINANCE].mean()) for name, own in scores.groupby("variant")}
    found = companions(tables.verdicts, levels, study, decimals={key: metric_digits(readings, key) for key in measured})
    rows = tables.verdicts[tables.verdicts["role"] == "primary"].to_dict("records")
    return [
        Beside(found.get(row["variant"]), alignment(float(row["difference"]), study.primary, row["verdict"]))
        for row in rows
    ]


def explored(readings: Readings, tables: Tables) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Return `shown.explored`, differences marked that `cautions.alignment` speaks of."""
    names, rows = shown.explored(readings, tables)
    if NIQE not in readings.study.keys:
        return names, rows
    title = readings.study.metric(NIQE).title
    of_niqe = tables.verdicts[(tables.verdicts["metric"] == NIQE) & (tables.verdicts["role"] == "exploratory")]
    changes = dict(zip(of_niqe["variant"], of_niqe["difference"].astype(float), strict=True))
    order = [changes.get(one.variant, nan) for one in readings.family]
    return names, [
        (head, [marked(*one, NIQE) for one in zip(cells, order, strict=True)]) if head == title else (head, cells)
        for head, cells in rows
    ]


def niqe(readings: Readings, tables: Tables) -> str:
    """Return what the mark beside a difference in NIQE means; nothing if the tables show no NIQE."""
    shows = NIQE in readings.study.keys and bool((tables.verdicts["metric"] == NIQE).any())
    return f"{MARK} {alignment(0.0, NIQE)}" if shows else ""
