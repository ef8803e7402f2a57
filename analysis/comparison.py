"""Which component matters: contrasts of variants, their intervals, and a verdict on each component."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.cube import Cube, cube_of, differences, observed, units
from analysis.schema import BASELINE
from analysis.statistics import Estimate, Floats, Images, hedges, holm, paired

__all__ = [
    "LEVEL", "REPEATS", "SCENES", "SEEDS", "Contrast", "compare", "contrasts", "few_scenes", "judge",
    "seed_differences",
]  # fmt: skip

LEVEL = 0.05
SEEDS = 3
"""With fewer seeds an interval is decoration."""
SCENES = 7
"""With fewer scenes nothing is said about images like these."""
REPEATS = 4
"""With so many searches of every variant a verdict speaks of the component, with fewer there is none. With one search
and 5 seeds a verdict on the component errs in 15 to 25 % of cases, with four and 3 seeds in 4 %, as declared
(simulated; sd between searches 0.2 to 0.3 dB, between seeds 0.4 dB)."""


@dataclass(frozen=True)
class Contrast:
    """Two variants that differ by one component.

    Args:
        variant: its scores minus those of `compared_to` are the difference.
        compared_to: the other one.
        component: what the verdict speaks of; empty if it speaks of the variant itself.
        present: whether the component is in `variant`, so that a gain speaks for it; else it was taken out of it.
    """

    variant: str
    compared_to: str = BASELINE
    component: str = ""
    present: bool = False


def contrasts(variants: pd.DataFrame) -> list[Contrast]:
    """Return the declared comparisons of a study, from `analysis.load_variants`."""
    rows = variants[variants["compared_to"].notna()].fillna({"component": "", "present": 0}).to_dict("records")
    return [
        Contrast(row["name"], row["compared_to"], row["component"], not row["component"] or bool(row["present"]))
        for row in rows
    ]


def compare(
    images: pd.DataFrame,
    *,
    metric: str,
    higher_is_better: bool | None,
    baseline: str = BASELINE,
    margin: float | None = None,
    images_are: Images = "these",
) -> pd.DataFrame:
    """Compare every other variant in `images` with `baseline`, from which each lacks one component.

    The family of Holm's adjustment is the variants in the frame. See `judge`, and for the frame
    `analysis.load_judged`.
    """
    family = [Contrast(name, baseline) for name in images["variant"].unique() if name != baseline]
    return judge(images, family, metric=metric, higher_is_better=higher_is_better, margin=margin, images_are=images_are)


def judge(
    images: pd.DataFrame,
    family: Sequence[Contrast],
    *,
    metric: str,
    higher_is_better: bool | None,
    margin: float | None = None,
    images_are: Images = "these",
) -> pd.DataFrame:
    """Compare variants, paired by seed and image, and judge the component by which they differ.

    Only seeds for which both variants have every image are used. Images on which no variant has the metric are left
    out. If the frame says what one observation is, in the column `observation` (a repeat of a search, of several
    seeds), the differences of its seeds are averaged, and "seeds" below are such repeats.

    Args:
        images: scores as from `analysis.load_judged`, of one stage.
        family: the comparisons that were declared together; p-values are adjusted for their number (Holm).
        metric: the column to compare.
        higher_is_better: its direction; None gives intervals but no verdicts.
        margin: the smallest difference that matters, in the metric's unit; None gives no `equivalent`.
        images_are: with `sample` the unit is the scene, and 7 scenes or more are needed.

    Returns:
        A row for each comparison: the `Contrast`; `difference` (variant minus compared_to, in the metric's unit) with
        `low` and `high` (95 %, for this row alone), `p`, `p_adjusted`, `p_equivalent`, `p_equivalent_adjusted`,
        `deviation` (of the difference over seeds), `effect` (in such deviations, Hedges' correction), `seeds`,
        `images`, `scenes`, `n_failed` (seeds in the frame without a complete pair), `partial` (observations that are
        used but lack one of their seeds), `verdict` on the component (`helps`, `hurts`, `equivalent`, `undecided` or
        nothing) and `why`: what explains a missing number or verdict.

    Raises:
        StatisticsError: if the frame has no such metric, more than one stage, or a trial's image twice.
    """
    cube = cube_of(images, metric)
    rows = [{**asdict(one), **_row(cube, one, margin=margin, images_are=images_are)} for one in family]
    table = pd.DataFrame(rows, columns=[*Contrast.__annotations__, *_EMPTY])
    table = table.astype({name: type(value) for name, value in _EMPTY.items() if value != ""})
    for name in ("p", "p_equivalent"):
        table[f"{name}_adjusted"] = np.where(table[name].notna(), holm(table[name].fillna(1.0).tolist()), np.nan)
    table["verdict"] = [_verdict(row, higher_is_better) for row in table.to_dict("records")]
    if higher_is_better is None:
        table["why"] = table["why"].where(table["low"].isna(), f"{metric} has no direction, so there is no verdict")
    return table


_EMPTY: dict[str, Any] = {
    **dict.fromkeys(("difference", "low", "high", "p", "p_adjusted"), np.nan),
    **dict.fromkeys(("p_equivalent", "p_equivalent_adjusted", "deviation", "effect"), np.nan),
    **dict.fromkeys(("seeds", "images", "scenes", "n_failed", "partial"), 0),
    **dict.fromkeys(("verdict", "why"), ""),
}


def seed_differences(
    images: pd.DataFrame, family: Sequence[Contrast], *, metric: str, images_are: Images = "these"
) -> dict[str, Floats]:
    """Return for each variant of the family its difference for each complete observation, as `judge` uses them."""
    cube = cube_of(images, metric)
    found = {
        one.variant: units(observed(differences(cube, one.variant, one.compared_to)[0]), cube, images_are)
        for one in family
    }
    return {name: d.mean(axis=1) for name, d in found.items() if d.size}


def _row(cube: Cube, contrast: Contrast, *, margin: float | None, images_are: Images) -> dict[str, Any]:
    """Return the numbers of one comparison, and why some are missing."""
    pairs, missing = differences(cube, contrast.variant, contrast.compared_to)
    counts = pairs.groupby(level="observation").size()
    d = units(observed(pairs), cube, images_are)
    scenes, n_failed = len(set(cube.scenes)), len(cube.seeds) - len(d)
    row = {**_EMPTY, "seeds": len(d), "images": len(cube.images), "scenes": scenes, "n_failed": n_failed}
    row["partial"] = int((counts < cube.seeds.reindex(counts.index)).sum())
    if d.size == 0:
        return {**row, "why": missing}
    row["difference"] = _rounded(float(d.mean()), cube)
    if cube.unit == "repeat" and len(d) < REPEATS:
        few = f"{_counted(len(d), 'complete repeat')} of the search, {REPEATS} are needed to speak of the component"
        return {**row, "why": f"{few}; the difference is that of the settings found"}
    if len(d) < SEEDS:
        return {**row, "why": f"{_counted(len(d), 'complete seed')}, {SEEDS} are needed for an interval"}
    if images_are == "sample" and scenes < SCENES:
        return {**row, "why": few_scenes(scenes)}
    estimate = _estimate(d, cube, images_are)
    row["low"], row["high"] = estimate.interval(LEVEL)
    deviation = float(np.sqrt(estimate.seeds[0] * len(d)))
    row |= {"p": estimate.p(), "deviation": deviation, "effect": hedges(estimate, len(d))}
    if margin is None:
        row["why"] = "no margin was declared, so equivalence is not tested"
    else:
        row["p_equivalent"] = estimate.p_equivalent(margin)
    if deviation == 0:
        row["why"] = f"the difference is the same for every {cube.unit}, so there is no standardised effect"
    return row


def _estimate(d: Floats, cube: Cube, images_are: Images) -> Estimate:
    """Return the estimate of a contrast; what rounding alone makes of equal scores is no difference and no spread."""
    found = paired(d, images=images_are)
    variance = found.seeds[0] if float(np.ptp(d.mean(axis=1))) > cube.rounding else 0.0
    return replace(found, difference=_rounded(found.difference, cube), seeds=(variance, found.seeds[1]))


def _rounded(difference: float, cube: Cube) -> float:
    return difference if abs(difference) > cube.rounding else 0.0


def _verdict(row: Mapping[Any, Any], higher_is_better: bool | None) -> str:
    if higher_is_better is None or np.isnan(row["p_adjusted"]):
        return ""
    if row["p_equivalent_adjusted"] < LEVEL:
        return "equivalent"
    if row["p_adjusted"] >= LEVEL:
        return "undecided"
    better = (row["difference"] > 0) == higher_is_better
    return "helps" if better == row["present"] else "hurts"


def few_scenes(scenes: int) -> str:
    """Return why nothing is said about images like these."""
    return f"{_counted(scenes, 'scene')}, {SCENES} are needed to speak of images like these"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
