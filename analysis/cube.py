"""One metric of all variants, ready to be compared: scores by observation, seed and image, and their differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.errors import StatisticsError
from analysis.statistics import Floats, Images

__all__ = ["ABSENT", "Cube", "arms", "cube_of", "differences", "left_out", "observed", "units"]

ABSENT = "no completed trial of "

PLACE = ("variant", "seed", "set", "image")
"""The columns that say what a score belongs to."""
ROUNDING = 1e-12
"""What differs by less than this share of the largest score is the same."""


@dataclass(frozen=True)
class Cube:
    """One metric of all variants.

    Args:
        metric: its key.
        unit: what one observation is: a `seed`, or a `repeat`.
        seeds: the number of seeds of each observation.
        images: (set, image) of each of I.
        without: those on which no score is finite, though one of their set is, or some score of theirs is infinite.
        scenes: of each image, (I,).
        scores: of each variant (its seeds, I), by observation and seed.
        rounding: what is smaller is none.
    """

    metric: str
    unit: str
    seeds: pd.Series[int]
    images: list[Any]
    without: list[Any]
    scenes: npt.NDArray[np.int64]
    scores: dict[str, pd.DataFrame]
    rounding: float


def cube_of(images: pd.DataFrame, metric: str) -> Cube:
    """Return the scores of a metric, from a frame as `analysis.judge` takes it; images that nobody has it on left out.

    Raises:
        StatisticsError: if the frame lacks a column, does not say of each score what it belongs to, has more than one
            stage, or a trial's image twice, or the metric is no column of numbers.
    """
    lacking = [name for name in PLACE if name not in images]
    if lacking:
        raise StatisticsError(f"expected scores as from `analysis.load_images`, but there is no {', '.join(lacking)}")
    blank = [name for name in (*PLACE, "scene", "observation") if name in images and images[name].isna().any()]
    if blank:
        raise StatisticsError(f"expected each score's {', '.join(blank)}, but some rows have none")
    if metric not in images:
        raise StatisticsError(f"no metric {metric!r} among the scores; there are {', '.join(map(str, images))}")
    if len(images) and not pd.api.types.is_numeric_dtype(images[metric]):
        raise StatisticsError(f"expected numbers in the column {metric!r}, got {images[metric].dtype}")
    if "stage" in images and images["stage"].nunique() > 1:
        raise StatisticsError(f"expected the scores of one stage, got {', '.join(images['stage'].unique())}")
    unit = "repeat" if "observation" in images else "seed"
    images = images if unit == "repeat" else images.assign(observation=images["seed"])
    if images.duplicated(["variant", "observation", "seed", "set", "image"]).any():
        raise StatisticsError("expected one score for each variant, seed, set and image, but some come twice")
    rows = ["variant", "observation", "seed"]
    wide = images.pivot(index=rows, columns=["set", "image"], values=metric).astype(float)
    infinite = wide.isin([np.inf, -np.inf]).any()
    wide = wide.where(np.isfinite(wide))
    there = wide.notna().any()
    meant = there.groupby(level="set").transform("any") | infinite  # a set without references has no such metric at all
    without = [*there.index[meant & ~there]]
    wide = wide.loc[:, there]
    shown = images.assign(scene=images.get("scene", images["image"])).drop_duplicates(["set", "image"])
    shown = shown.set_index(["set", "image"]).reindex(wide.columns).reset_index()
    scenes = np.asarray(shown.groupby(["set", "scene"]).ngroup(), dtype=np.int64)
    scores = {str(name): part.droplevel("variant") for name, part in wide.groupby(level="variant")}
    seeds = images.groupby("observation")["seed"].nunique()
    rounding = ROUNDING * float(np.nanmax(np.abs(wide.to_numpy()))) if wide.size else 0.0
    return Cube(metric, unit, seeds, wide.columns.tolist(), without, scenes, scores, rounding)


def differences(cube: Cube, variant: str, compared_to: str) -> tuple[pd.DataFrame, str]:
    """Return variant minus compared_to, complete seeds x images by observation and seed, and why there are none."""
    reason = _nothing_known(cube, variant, compared_to)
    if reason:
        return _nothing(cube), reason
    d = _pairs(cube, variant, compared_to)
    return _complete(d), _missing(d, cube) or f"no {cube.unit} is completed for both"


def arms(cube: Cube, variant: str, compared_to: str) -> tuple[list[pd.DataFrame], str]:
    """Return the scores of either variant, complete seeds x images by observation and seed, and why there are none."""
    reason = _nothing_known(cube, variant, compared_to)
    if reason:
        return [_nothing(cube)] * 2, reason
    scores = [cube.scores[name] for name in (variant, compared_to)]
    return [_complete(one) for one in scores], _missing(pd.concat(scores), cube)


def left_out(cube: Cube, variants: Sequence[str], *, paired: bool = False) -> str:
    """Say how many seeds that two variants share, or trainings of any, lack a score, and on which images.

    And which images do not count, since no score on them is finite. Nothing if nothing is left out.

    Args:
        cube: the scores.
        variants: those compared; two if `paired`.
        paired: whether a seed that one of them lacks a score of is left out of both.
    """
    there = [name for name in variants if name in cube.scores]
    images = [_imageless(cube)] if cube.without else []
    if not there or (paired and len(there) < 2):
        return "; ".join(images)
    scores = _pairs(cube, *there) if paired else pd.concat([cube.scores[name] for name in there])
    lost = int(scores.isna().any(axis=1).sum())
    noun = "seed" if paired else "training"
    counted = f"1 {noun} is" if lost == 1 else f"{lost} {noun}s are"
    return "; ".join([*([f"{counted} left out: {_missing(scores, cube)}"] if lost else []), *images])


def _imageless(cube: Cube) -> str:
    """Say which images do not count."""
    counted = "1 image is" if len(cube.without) == 1 else f"{len(cube.without)} images are"
    return f"{counted} left out: {cube.metric} is infinite or missing everywhere on {_named(cube.without)}"


def _pairs(cube: Cube, variant: str, compared_to: str) -> pd.DataFrame:
    """Return variant minus compared_to, by observation and seed, of the seeds that both have."""
    scores, others = (cube.scores[name] for name in (variant, compared_to))
    shared = scores.index.intersection(others.index).sort_values()
    return scores.loc[shared] - others.loc[shared]


def _nothing_known(cube: Cube, variant: str, compared_to: str) -> str:
    """Return why two variants cannot be compared at all; nothing if they can."""
    absent = [name for name in (variant, compared_to) if name not in cube.scores]
    if absent:
        return f"{ABSENT}{' and of '.join(absent)}"
    return "" if cube.images else f"no image has a finite {cube.metric}"


def _complete(scores: pd.DataFrame) -> pd.DataFrame:
    return scores[scores.notna().all(axis=1)]


def _missing(scores: pd.DataFrame, cube: Cube) -> str:
    """Say which images some seed lacks; nothing if none does."""
    missing = [cube.images[place] for place in np.flatnonzero(scores.isna().any(axis=0))]
    return f"{cube.metric} is infinite or missing for {_named(missing)}" if missing else ""


def _nothing(cube: Cube) -> pd.DataFrame:
    index = pd.MultiIndex.from_arrays([[], []], names=["observation", "seed"])
    return pd.DataFrame(index=index, columns=range(len(cube.images)), dtype=float)


def observed(pairs: pd.DataFrame) -> Floats:
    """Return observations x images: the mean over the seeds of each observation."""
    return pairs.groupby(level="observation").mean().to_numpy()


def units(d: Floats, cube: Cube, images_are: Images) -> Floats:
    """Return seeds x units: the unit is the image, or the scene where the images are a sample."""
    if images_are == "these" or d.size == 0:
        return d
    return np.stack([d[:, cube.scenes == scene].mean(axis=1) for scene in np.unique(cube.scenes)], axis=1)


def _named(images: Sequence[Any], most: int = 3) -> str:
    names = [f"{of_set}/{image}" for of_set, image in images]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
