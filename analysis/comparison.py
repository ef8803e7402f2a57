"""Which component matters: contrasts of variants, their intervals, and a verdict on each component."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from analysis import statistics
from analysis.cube import Cube, arms, cube_of, differences, left_out, observed, units
from analysis.errors import StatisticsError
from analysis.schema import BASELINE
from analysis.statistics import Estimate, Floats, Images, hedges, holm

__all__ = [
    "BELOW", "EMPTY", "LEVEL", "REPEATS", "SCENES", "SEEDS", "Contrast", "compare", "contrasts", "decided",
    "few_scenes", "few_units", "judge", "margin_checked", "numbers", "seed_differences", "told",
]  # fmt: skip

LEVEL = 0.05
BELOW = "detected, but below the margin"
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
    paired: bool = True,
    family: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Compare every other variant in `images` with `baseline`, from which each lacks one component.

    See `judge` for the columns, and `analysis.load_judged` for the frame.

    Args:
        images: scores of one stage.
        metric: the column to compare.
        higher_is_better: its direction; None gives intervals but no verdicts.
        baseline: the variant that has every component.
        margin: the smallest difference that matters, in the metric's unit; None gives no `equivalent`.
        images_are: as for `judge`.
        paired: as for `judge`.
        family: the variants that were declared together, for whose number p-values are adjusted (Holm), even where one
            of them has no scores; by default those in the frame, and in `images.attrs["unscored"]`, where
            `load_judged` names those without a score. Others have an interval for themselves, no verdict.

    Raises:
        StatisticsError: as `judge`, or if `family` names the baseline, or a variant twice.
    """
    present = [str(name) for name in images.get("variant", pd.Series(dtype=str)).unique() if name != baseline]
    unscored = [name for name in images.attrs.get("unscored", []) if name not in (baseline, *present)]
    declared = [*present, *unscored] if family is None else list(family)
    if baseline in declared or len(set(declared)) < len(declared):
        raise StatisticsError(f"family: expected each variant but {baseline!r}, once, got {', '.join(declared)}")
    options: dict[str, Any] = {"metric": metric, "margin": margin, "images_are": images_are, "paired": paired}
    table = judge(images, [Contrast(one, baseline) for one in declared], higher_is_better=higher_is_better, **options)
    others = [Contrast(one, baseline) for one in present if one not in declared]
    if not others:
        return table
    rest = judge(images, others, higher_is_better=None, **options)
    rest = rest.assign(p_adjusted=np.nan, p_equivalent_adjusted=np.nan)
    rest["why"] = rest["why"].where(
        rest["low"].isna(), "not in the declared family: an interval for itself, no verdict"
    )
    return pd.concat([table, rest], ignore_index=True)


def judge(
    images: pd.DataFrame,
    family: Sequence[Contrast],
    *,
    metric: str,
    higher_is_better: bool | None,
    margin: float | None = None,
    images_are: Images = "these",
    paired: bool = True,
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
        paired: whether equal seeds of two variants are a pair. If not, each variant has its own complete seeds (Welch
            for their part), `seeds` is the smaller number of the two, `n_failed` counts the seeds of either without
            every image, and `effect` is in deviations of a difference of two trainings. Choose it before the scores
            are seen.

    Returns:
        A row for each comparison: the `Contrast`; `difference` (variant minus compared_to, in the metric's unit) with
        `low` and `high` (95 %, for this row alone), `p`, `p_adjusted`, `p_equivalent`, `p_equivalent_adjusted`,
        `deviation` (of the difference over seeds), `effect` (in such deviations, Hedges' correction), `seeds`,
        `images`, `scenes`, `n_failed` (seeds in the frame without a complete pair, for whatever reason; it
        lacks those that no variant completed), `partial` (observations that are used but lack one of their
        seeds), `verdict` on the component (`helps`, `hurts`, `equivalent`, `undecided` or
        nothing), `note`: what else is known (a difference that was detected, but lies below the margin), `why`: what
        explains a missing number or verdict, and `left_out`: how many seeds do not count (where they are no pairs,
        trainings), since some score of theirs is infinite or missing, and which images, since every score on them is.

    Raises:
        StatisticsError: if the frame lacks a column, has more than one stage, or a trial's image twice, if the metric
            is no column of numbers, or the margin no finite number above 0.
    """
    margin_checked(margin)
    cube = cube_of(images, metric)
    compared = _pair if paired else _apart
    rows = [{**asdict(one), **_row(compared(cube, one, images_are), cube, margin, images_are)} for one in family]
    table = decided(pd.DataFrame(rows, columns=[*Contrast.__annotations__, *EMPTY]), higher_is_better)
    if higher_is_better is None:
        table["why"] = table["why"].where(table["low"].isna(), f"{metric} has no direction, so there is no verdict")
    return table


def margin_checked(margin: float | None) -> None:
    """Refuse a margin that is no smallest difference that matters.

    Raises:
        StatisticsError: if it is no finite number above 0.
    """
    if margin is not None and not 0 < margin < np.inf:
        raise StatisticsError(f"margin: expected a finite number above 0 in the metric's unit, or None, got {margin}")


EMPTY: dict[str, Any] = {
    **dict.fromkeys(("difference", "low", "high", "p", "p_adjusted"), np.nan),
    **dict.fromkeys(("p_equivalent", "p_equivalent_adjusted", "deviation", "effect"), np.nan),
    **dict.fromkeys(("seeds", "images", "scenes", "n_failed", "partial"), 0),
    **dict.fromkeys(("verdict", "note", "why", "left_out"), ""),
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


@dataclass(frozen=True)
class _Compared:
    """What the seeds say of one comparison.

    Args:
        arms: the differences, (seeds, units); or the scores of either variant where their seeds are no pairs.
        n_failed: as `judge` has it.
        partial: as `judge` has it.
        missing: why there is nothing.
        left_out: as `judge` has it.
    """

    arms: Sequence[Floats]
    n_failed: int
    partial: int
    missing: str
    left_out: str

    @property
    def seeds(self) -> int:
        """The fewest seeds."""
        return min(map(len, self.arms))

    @property
    def difference(self) -> float:
        """The difference of the means."""
        return float(self.arms[0].mean() - (self.arms[1].mean() if len(self.arms) > 1 else 0.0))

    @property
    def replicates(self) -> float:
        """How many seeds of either would tell the difference as well, if all vary alike."""
        counts = [len(arm) for arm in self.arms]
        return float(counts[0] if len(counts) == 1 else 2 * counts[0] * counts[1] / sum(counts))

    def estimate(self, images_are: Images) -> Estimate:
        """Return the estimate of the difference."""
        return (statistics.unpaired if len(self.arms) > 1 else statistics.paired)(*self.arms, images=images_are)


def _pair(cube: Cube, contrast: Contrast, images_are: Images) -> _Compared:
    pairs, missing = differences(cube, contrast.variant, contrast.compared_to)
    d = units(observed(pairs), cube, images_are)
    out = left_out(cube, [contrast.variant, contrast.compared_to], paired=True)
    return _Compared([d], len(cube.seeds) - len(d), _partial(cube, pairs), missing, out)


def _apart(cube: Cube, contrast: Contrast, images_are: Images) -> _Compared:
    found, missing = arms(cube, contrast.variant, contrast.compared_to)
    there = [len(cube.scores[name]) for name in (contrast.variant, contrast.compared_to) if name in cube.scores]
    scores = [units(observed(one), cube, images_are) for one in found]
    failed, partial = sum(there) - sum(map(len, found)), sum(_partial(cube, one) for one in found)
    return _Compared(scores, failed, partial, missing, left_out(cube, [contrast.variant, contrast.compared_to]))


def _partial(cube: Cube, scores: pd.DataFrame) -> int:
    """Return how many observations lack one of their seeds."""
    counts = scores.groupby(level="observation").size()
    return int((counts < cube.seeds.reindex(counts.index)).sum())


def _row(found: _Compared, cube: Cube, margin: float | None, images_are: Images) -> dict[str, Any]:
    """Return the numbers of one comparison, and why some are missing."""
    scenes = len(set(cube.scenes))
    row = {**EMPTY, "seeds": found.seeds, "images": len(cube.images), "scenes": scenes}
    row |= {"n_failed": found.n_failed, "partial": found.partial}
    if found.seeds == 0 or not cube.images:
        return {**row, "why": found.missing}
    row |= {"difference": _rounded(found.difference, cube), "left_out": found.left_out}
    few = few_units(found.seeds, cube.unit) or (few_scenes(scenes) if images_are == "sample" else "")
    if few:
        return {**row, "why": few}
    return {**row, **numbers(_estimate(found, cube, images_are), found.replicates, margin=margin, unit=cube.unit)}


def numbers(estimate: Estimate, seeds: float, *, margin: float | None, unit: str) -> dict[str, Any]:
    """Return what a row of `judge` says of an estimate, of so many seeds (or repeats: `unit`), with an interval."""
    low, high = estimate.interval(LEVEL)
    deviation = float(np.sqrt(estimate.seeds[0] * seeds))
    row: dict[str, Any] = {"low": low, "high": high, "p": estimate.p()}
    row |= {"deviation": deviation, "effect": hedges(estimate, seeds)}
    if margin is None:
        row["why"] = "no margin was declared, so equivalence is not tested"
    else:
        row["p_equivalent"] = estimate.p_equivalent(margin)
    if deviation == 0:
        same = f"the difference is the same for every {unit}, so there is no standardised effect"
        row["why"] = f"{same}; does the seed reach the training?"
    return row


def decided(rows: pd.DataFrame, higher_is_better: bool | None) -> pd.DataFrame:
    """Return rows of one declared family with their adjusted p-values, verdicts and notes; see `judge`.

    Args:
        rows: columns `present`, and those of `EMPTY`.
        higher_is_better: as for `judge`.
    """
    table = rows.astype({name: type(value) for name, value in EMPTY.items() if value != ""})
    for name in ("p", "p_equivalent"):
        table[f"{name}_adjusted"] = np.where(table[name].notna(), holm(table[name].fillna(1.0).tolist()), np.nan)
    return told(table, higher_is_better)


def told(rows: pd.DataFrame, higher_is_better: bool | None) -> pd.DataFrame:
    """Return rows of one declared family, whose p-values are adjusted, with their verdicts and notes."""
    table = rows.assign(verdict=[_verdict(row, higher_is_better) for row in rows.to_dict("records")])
    detected = (table["verdict"] == "equivalent") & (table["p_adjusted"] < LEVEL)
    table["note"] = table["note"].mask(detected, BELOW)
    return table


def _estimate(found: _Compared, cube: Cube, images_are: Images) -> Estimate:
    """Return the estimate of a contrast; what rounding alone makes of equal scores is no difference and no spread."""
    estimate = found.estimate(images_are)
    varies = any(float(np.ptp(arm.mean(axis=1))) > cube.rounding for arm in found.arms)
    variance = estimate.seeds[0] if varies else 0.0
    return replace(estimate, difference=_rounded(estimate.difference, cube), seeds=(variance, estimate.seeds[1]))


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


def few_units(count: int, unit: str) -> str:
    """Return why so many complete seeds, or repeats of the search, allow no interval; nothing if they do."""
    if unit == "repeat" and count < REPEATS:
        few = f"{_counted(count, 'complete repeat')} of the search, {REPEATS} are needed to speak of the component"
        return f"{few}; the difference is that of the settings found"
    return f"{_counted(count, 'complete seed')}, {SEEDS} are needed for an interval" if count < SEEDS else ""


def few_scenes(scenes: int) -> str:
    """Return why nothing is said about images like these; nothing if there are enough scenes."""
    return f"{_counted(scenes, 'scene')}, {SCENES} are needed to speak of images like these" if scenes < SCENES else ""


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
