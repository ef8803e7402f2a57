"""What stands beside a verdict on PSNR, which rewards the right brightness more than anything else. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import pandas as pd

from analysis.ledger import Study
from analysis.wording import estimate, number

__all__ = ["LUMINANCE", "MATCHED", "PSNR", "Companion", "companions", "conflict"]

PSNR, MATCHED, LUMINANCE = "eval/psnr_db", "eval/psnr_matched_db", "eval/luminance_error_levels"
VARIANT, EFFECT = "The variant is", "The component makes the images"


@dataclass(frozen=True)
class Companion:
    """What one verdict on PSNR must be read with.

    Args:
        matched: the difference of the brightness-matched PSNR with its interval, or that it was not measured.
        luminance: the error of the mean luminance without and with the change, or that it was not measured.
        conflict: what it means that the two PSNRs point in opposite directions, or that only the brightness-matched
            one is told to be beyond the margin; empty otherwise.
        clear: whether the intervals that this rests on exclude zero, so that it is no accident of few seeds.
    """

    matched: str
    luminance: str
    conflict: str = ""
    clear: bool = False


def companions(
    verdicts: pd.DataFrame, levels: Mapping[str, float], study: Study, *, decimals: Mapping[str, int]
) -> dict[str, Companion]:
    """Return by variant what stands beside its verdict; nothing where the primary metric is not PSNR.

    Args:
        verdicts: of `analysis.tables.verdict_table`.
        levels: variant -> its error of the mean luminance (grey levels, negative is darker than the reference).
        study: its metrics.
        decimals: metric -> with how many it is shown.
    """
    if study.primary != PSNR:
        return {}
    rows = {(row["metric"], row["variant"]): row for row in verdicts.to_dict("records")}
    return {
        variant: _companion(
            row, rows.get((MATCHED, variant)), rows.get((LUMINANCE, variant)), levels, decimals, study.matters.get(PSNR)
        )
        for (metric, variant), row in rows.items()
        if metric == PSNR
    }


def conflict(
    psnr: Mapping[Any, Any], matched: Mapping[Any, Any], *, nearer: bool | None = None, of: str = VARIANT
) -> tuple[str, bool]:
    """Say what it means that PSNR and brightness-matched PSNR differ in sign ('' if they do not), and if it is clear.

    It is clear if both intervals exclude zero.

    Args:
        psnr: `difference`, `low` and `high`, which are NaN where there is no interval.
        matched: the same of the brightness-matched PSNR.
        nearer: whether the variant's mean luminance is nearer to the reference's; None if unknown.
        of: what makes the difference, as the sentence begins.
    """
    change, structure = psnr["difference"], matched["difference"]
    if not isfinite(change) or not isfinite(structure) or change * structure >= 0:
        return "", False
    opposed = "PSNR rises, but falls" if change > 0 else "PSNR falls, but rises"
    opening = f"Signs conflict: {opposed} once brightness is matched"
    if not (_excludes_zero(psnr) and _excludes_zero(matched)):
        why = "an interval includes zero" if isfinite(psnr["low"] + matched["low"]) else "there is no interval yet"
        return f"{opening}; {why}, so it may be chance.", False
    what = "better" if change > 0 else "worse"
    light = f" (its mean luminance is {'nearer to' if nearer else 'farther from'} the reference\u2019s)"
    light = light if nearer is not None and nearer == (change > 0) else ""
    return f"{opening}. {of} {what} in brightness{light}, not in structure.", True


def _companion(
    psnr: Mapping[Any, Any],
    matched: Mapping[Any, Any] | None,
    luminance: Mapping[Any, Any] | None,
    levels: Mapping[str, float],
    decimals: Mapping[str, int],
    margin: float | None,
) -> Companion:
    before, after = (levels.get(psnr[name], float("nan")) for name in ("compared_to", "variant"))
    known = isfinite(before) and isfinite(after)
    nearer = abs(after) < abs(before) if known and abs(after) != abs(before) else None
    of = VARIANT if psnr["compared_to"] else EFFECT
    text, clear = conflict(psnr, matched, nearer=nearer, of=of) if matched is not None else ("", False)
    if matched is not None and not clear and _beyond(psnr, matched, margin):
        change = number(matched["difference"], decimals[MATCHED], signed=True)
        text, clear = f"Within the margin in PSNR, but {change} dB once brightness is matched.", True
    return Companion(_matched(matched, decimals), _luminance(luminance, (before, after), decimals), text, clear)


def _beyond(psnr: Mapping[Any, Any], matched: Mapping[Any, Any], margin: float | None) -> bool:
    """Return whether PSNR is found equivalent, but changes by more than the margin once brightness is matched."""
    if margin is None or psnr["verdict"] != "equivalent":
        return False
    return _excludes_zero(matched) and abs(matched["difference"]) > margin


def _matched(row: Mapping[Any, Any] | None, decimals: Mapping[str, int]) -> str:
    if row is None or not isfinite(row["difference"]):
        return "Brightness-matched PSNR: not measured"
    return f"Brightness-matched PSNR: {estimate(row, decimals[MATCHED])} dB"


def _luminance(row: Mapping[Any, Any] | None, levels: tuple[float, float], decimals: Mapping[str, int]) -> str:
    if row is None or not isfinite(row["difference"]):
        return "Error of the mean luminance: not measured"
    places = decimals[LUMINANCE]
    ends = f", from {number(levels[0], places)} to {number(levels[1], places)}" if all(map(isfinite, levels)) else ""
    return f"Error of the mean luminance: {estimate(row, places)} grey levels{ends}"


def _excludes_zero(row: Mapping[Any, Any]) -> bool:
    return isfinite(row["low"]) and (row["low"] > 0 or row["high"] < 0)
