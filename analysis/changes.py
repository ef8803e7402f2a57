"""What a variant's scores changed by from one stage of a study to another, such as tuned minus untuned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.comparison import LEVEL, SEEDS, few_scenes
from analysis.cube import cube_of, differences, units
from analysis.statistics import Images, paired, unpaired

__all__ = ["Change", "change"]


@dataclass(frozen=True)
class Change:
    """What two stages of one variant differ by; see `change`.

    Args:
        difference: in the metric's unit; NaN if there is none.
        low: lower end of its 95 % interval; NaN if there is none.
        high: upper end.
        how: how it was found, or why it could not be.
    """

    difference: float
    low: float
    high: float
    how: str


def change(after: pd.DataFrame, before: pd.DataFrame, *, metric: str, images_are: Images = "these") -> Change:
    """Return what a variant's scores changed by, on the images that both frames have.

    Paired where 3 seeds or more are complete in both; else as if the seeds had nothing in common (Welch for their
    part), which is valid where equal seeds do not make results differ more.

    Args:
        after: scores of one variant with `seed`, `set`, `image`, and `scene` where there are any.
        before: the same, of other trainings.
        metric: the column to compare.
        images_are: as for `judge`.
    """
    where = ["set", "image"]
    both = pd.concat([after.assign(variant="after"), before.assign(variant="before")], ignore_index=True)
    shared = both.groupby(where)["variant"].transform("nunique") == 2
    cube = cube_of(both[shared].drop(columns=["stage", "observation"], errors="ignore"), metric)
    pairs, missing = differences(cube, "after", "before")
    if not cube.images or len(cube.scores) < 2:
        return Change(np.nan, np.nan, np.nan, "no images that both were scored on")
    arms = [units(cube.scores[name].dropna().to_numpy(), cube, images_are) for name in ("after", "before")]
    d = units(pairs.to_numpy(), cube, images_are)
    is_paired = len(d) >= SEEDS
    if not all(map(len, arms)):
        return Change(np.nan, np.nan, np.nan, missing)
    difference = float(d.mean() if is_paired else arms[0].mean() - arms[1].mean())
    if not is_paired and min(map(len, arms)) < SEEDS:
        few = f"{len(arms[0])} and {len(arms[1])} complete seeds, {SEEDS} of each are needed for an interval"
        return Change(difference, np.nan, np.nan, few)
    few_images = few_scenes(len(set(cube.scenes))) if images_are == "sample" else ""
    if few_images:
        return Change(difference, np.nan, np.nan, few_images)
    estimate = paired(d, images=images_are) if is_paired else unpaired(*arms, images=images_are)
    how = f"paired, {len(d)} seeds" if is_paired else f"unpaired, {len(arms[0])} and {len(arms[1])} seeds"
    return Change(difference, *estimate.interval(LEVEL), how)
