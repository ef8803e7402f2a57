"""Which component matters: contrasts of variants, their intervals, and a verdict on each component."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.errors import StatisticsError
from analysis.schema import BASELINE
from analysis.statistics import Floats, Images, hedges, holm, paired

__all__ = ["LEVEL", "SCENES", "SEEDS", "Contrast", "compare", "contrasts", "judge", "seed_differences"]

LEVEL = 0.05
SEEDS = 3
"""With fewer seeds an interval is decoration."""
SCENES = 7
"""With fewer scenes nothing is said about images like these."""


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

    The family of Holm's adjustment is the variants in the frame. See `judge`.
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
    unit: str = "seed",
) -> pd.DataFrame:
    """Compare variants, paired by seed and image, and judge the component by which they differ.

    Only seeds for which both variants have every image are used. Images on which no variant has the metric are left
    out.

    Args:
        images: scores as from `analysis.load_images`, of one stage.
        family: the comparisons that were declared together; p-values are adjusted for their number (Holm).
        metric: the column to compare.
        higher_is_better: its direction; None gives intervals but no verdicts.
        margin: the smallest difference that matters, in the metric's unit; None gives no `equivalent`.
        images_are: with `sample` the unit is the scene, and 7 scenes or more are needed.
        unit: what the column `seed` holds, a word for `why`.

    Returns:
        A row for each comparison: the `Contrast`; `difference` (variant minus compared_to, in the metric's unit) with
        `low` and `high` (95 %, for this row alone), `p`, `p_adjusted`, `p_equivalent`, `p_equivalent_adjusted`,
        `deviation` (of the difference over seeds), `effect` (in such deviations, Hedges' correction), `seeds`,
        `images`, `scenes`, `n_failed` (seeds in the frame without a complete pair), `verdict` on the component
        (`helps`, `hurts`, `equivalent`, `undecided` or nothing) and `why`: what explains a missing number or verdict.

    Raises:
        StatisticsError: if the frame has no such metric, more than one stage, or a trial's image twice.
    """
    cube = _cube(images, metric)
    rows = [{**asdict(one), **_row(cube, one, margin=margin, images_are=images_are, unit=unit)} for one in family]
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
    **dict.fromkeys(("seeds", "images", "scenes", "n_failed"), 0),
    **dict.fromkeys(("verdict", "why"), ""),
}


@dataclass(frozen=True)
class _Cube:
    """One metric: the images (set, image), the scene of each (I,), and each variant's seeds (S,) and scores (S, I)."""

    metric: str
    seeds: int
    images: list[Any]
    scenes: npt.NDArray[np.int64]
    variants: dict[str, tuple[npt.NDArray[np.int64], Floats]]


def _cube(images: pd.DataFrame, metric: str) -> _Cube:
    if metric not in images:
        raise StatisticsError(f"no metric {metric!r} among the scores; there are {', '.join(map(str, images))}")
    if "stage" in images and images["stage"].nunique() > 1:
        raise StatisticsError(f"expected the scores of one stage, got {', '.join(images['stage'].unique())}")
    if images.duplicated(["variant", "seed", "set", "image"]).any():
        raise StatisticsError("expected one score for each variant, seed, set and image, but some come twice")
    wide = images.pivot(index=["variant", "seed"], columns=["set", "image"], values=metric).astype(float)
    wide = wide.where(np.isfinite(wide))
    wide = wide.loc[:, wide.notna().any()]
    shown = images.assign(scene=images.get("scene", images["image"])).drop_duplicates(["set", "image"])
    shown = shown.set_index(["set", "image"]).reindex(wide.columns).reset_index()
    scenes = np.asarray(shown.groupby(["set", "scene"]).ngroup(), dtype=np.int64)
    variants = {
        str(name): (part.index.get_level_values("seed").to_numpy(dtype=np.int64), part.to_numpy())
        for name, part in wide.groupby(level="variant")
    }
    return _Cube(metric, images["seed"].nunique(), wide.columns.tolist(), scenes, variants)


def seed_differences(
    images: pd.DataFrame, family: Sequence[Contrast], *, metric: str, images_are: Images = "these"
) -> dict[str, Floats]:
    """Return for each variant of the family its difference for each complete seed, as `judge` uses them."""
    cube = _cube(images, metric)
    differences = {one.variant: _units(_differences(cube, one)[0], cube, images_are) for one in family}
    return {name: d.mean(axis=1) for name, d in differences.items() if d.size}


def _row(cube: _Cube, contrast: Contrast, *, margin: float | None, images_are: Images, unit: str) -> dict[str, Any]:
    """Return the numbers of one comparison, and why some are missing."""
    differences, missing = _differences(cube, contrast, unit)
    d = _units(differences, cube, images_are)
    scenes, n_failed = len(set(cube.scenes)), cube.seeds - len(d)
    row = {**_EMPTY, "seeds": len(d), "images": len(cube.images), "scenes": scenes, "n_failed": n_failed}
    if d.size == 0:
        return {**row, "why": missing}
    row["difference"] = float(d.mean())
    if len(d) < SEEDS:
        return {**row, "why": f"{_counted(len(d), f'complete {unit}')}, {SEEDS} are needed for an interval"}
    if images_are == "sample" and scenes < SCENES:
        return {**row, "why": f"{_counted(scenes, 'scene')}, {SCENES} are needed to speak of images like these"}
    estimate = paired(d, images=images_are)
    row["low"], row["high"] = estimate.interval(LEVEL)
    deviation = float(d.mean(axis=1).std(ddof=1))
    row |= {"p": estimate.p(), "deviation": deviation, "effect": hedges(estimate, len(d))}
    if margin is None:
        row["why"] = "no margin was declared, so equivalence is not tested"
    else:
        row["p_equivalent"] = estimate.p_equivalent(margin)
    if deviation == 0:
        row["why"] = f"the difference is the same for every {unit}, so there is no standardised effect"
    return row


def _units(d: Floats, cube: _Cube, images_are: Images) -> Floats:
    """Return seeds x units: the unit is the image, or the scene where the images are a sample."""
    if images_are == "these" or d.size == 0:
        return d
    return np.stack([d[:, cube.scenes == scene].mean(axis=1) for scene in np.unique(cube.scenes)], axis=1)


def _differences(cube: _Cube, contrast: Contrast, unit: str = "seed") -> tuple[Floats, str]:
    """Return variant minus compared_to, complete seeds x images, and why there are none."""
    absent = [name for name in (contrast.variant, contrast.compared_to) if name not in cube.variants]
    if absent or not cube.images:
        reason = f"no completed trial of {' and of '.join(absent)}" if absent else f"no image has {cube.metric}"
        return np.empty((0, len(cube.images))), reason
    (seeds, scores), (other_seeds, other_scores) = (
        cube.variants[contrast.variant],
        cube.variants[contrast.compared_to],
    )
    _, rows, other_rows = np.intersect1d(seeds, other_seeds, assume_unique=True, return_indices=True)
    d = scores[rows] - other_scores[other_rows]
    holes = np.isnan(d)
    missing = [cube.images[place] for place in np.flatnonzero(holes.any(axis=0))]
    reason = f"{cube.metric} is missing for {_named(missing)}" if missing else f"no {unit} is completed for both"
    return d[~holes.any(axis=1)], reason


def _verdict(row: Mapping[Any, Any], higher_is_better: bool | None) -> str:
    if higher_is_better is None or np.isnan(row["p_adjusted"]):
        return ""
    if row["p_equivalent_adjusted"] < LEVEL:
        return "equivalent"
    if row["p_adjusted"] >= LEVEL:
        return "undecided"
    better = (row["difference"] > 0) == higher_is_better
    return "helps" if better == row["present"] else "hurts"


def _named(images: Sequence[Any], most: int = 3) -> str:
    names = [f"{of_set}/{image}" for of_set, image in images]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
