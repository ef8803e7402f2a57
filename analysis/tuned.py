"""What tuning changes of each component's effect: tuned minus untuned, a contrast of four groups of trainings. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple

import numpy as np
import pandas as pd

from analysis.changes import Change
from analysis.comparison import LEVEL, Contrast, few_scenes, few_units
from analysis.cube import Cube, arms, cube_of, units
from analysis.linear import Runs, contrast
from analysis.statistics import Images

__all__ = ["tuned_effect", "tuned_effects"]

TUNED, UNTUNED = "tuned", "untuned"
SIGNS = (1.0, -1.0, -1.0, 1.0)  # of tuned variant and compared_to, untuned variant and compared_to
COLUMNS = ["variant", "compared_to", "component", "metric", UNTUNED, TUNED, "change", "low", "high", "how"]


def tuned_effects(
    tuned: pd.DataFrame,
    untuned: pd.DataFrame,
    family: Sequence[Contrast],
    *,
    metrics: Mapping[str, Images],
    repeats: int,
) -> pd.DataFrame:
    """Return a row for each comparison and metric: the effect untuned and tuned, and by how much tuning changes it.

    Columns: `variant`, `compared_to`, `component`, `metric`; `untuned` and `tuned` (variant minus compared_to, in the
    metric's unit, on the images that all were scored on; NaN if unknown), `change` (tuned minus untuned) with `low` and
    `high` (95 %, each for itself), and `how` it was found, or why it was not.

    Args:
        tuned: scores of the confirming trials, one a row: `variant`, `repeat`, `seed`, `set`, `image`, `scene`,
            `metric` and `value`.
        untuned: the same of the fixed stage.
        family: the comparisons that the study declared.
        metrics: which ones, each with what is concluded about.
        repeats: of the search. Of several the unit is a repeat: its seeds are averaged.
    """
    unit = "repeat" if repeats > 1 else "seed"
    after, before = (dict(list(frame.groupby("metric"))) for frame in (tuned, untuned))
    rows = []
    for one in family:
        for metric, images_are in metrics.items():
            frames = after.get(metric, tuned.head(0)), before.get(metric, untuned.head(0))
            effects, found = tuned_effect(*frames, one, unit=unit, images_are=images_are)
            rows.append((one.variant, one.compared_to, one.component, metric, *effects, *astuple(found)))
    return pd.DataFrame(rows, columns=COLUMNS)


def tuned_effect(
    tuned: pd.DataFrame, untuned: pd.DataFrame, one: Contrast, *, unit: str = "seed", images_are: Images = "these"
) -> tuple[tuple[float, float], Change]:
    """Return the effect untuned and tuned, and tuned minus untuned.

    Paired by seed within either stage, which have no seed in common, where both variants have it (`linear.contrast`).

    Args:
        tuned: scores of one metric, as of `tuned_effects`.
        untuned: the same.
        one: the comparison.
        unit: what one tuned observation is: a `seed`, or a `repeat` of the search.
        images_are: as for `judge`.
    """
    stages = {TUNED: tuned.assign(observation=tuned[unit]), UNTUNED: untuned.assign(observation=untuned["seed"])}
    groups = {stage: [f"{stage} {name}" for name in (one.variant, one.compared_to)] for stage in stages}
    cube = _cube(stages, [name for names in groups.values() for name in names])
    if not cube.images or len(cube.scores) < len(SIGNS):
        return (np.nan, np.nan), Change(np.nan, np.nan, np.nan, "no images that all four were scored on")
    found = {
        name: _observed(each)
        for names in groups.values()
        for name, each in zip(names, arms(cube, *names)[0], strict=True)
    }
    means = {name: float(each.to_numpy().mean()) if len(each) else np.nan for name, each in found.items()}
    untuned_by, tuned_by = (means[names[0]] - means[names[1]] for names in (groups[UNTUNED], groups[TUNED]))
    counts = {stage: min(len(found[name]) for name in names) for stage, names in groups.items()}
    few = few_units(counts[TUNED], unit) or few_units(counts[UNTUNED], "seed")
    few = few or (few_scenes(len(set(cube.scenes))) if images_are == "sample" else "")
    if few:
        return (untuned_by, tuned_by), Change(tuned_by - untuned_by, np.nan, np.nan, few)
    runs = Runs(
        variants=[name for name, each in found.items() for _ in range(len(each))],
        seeds=[(name.partition(" ")[0], seed) for name, each in found.items() for seed in each.index],
        scores=np.vstack([units(each.to_numpy(), cube, images_are) for each in found.values()]),
    )
    estimate = contrast(runs, dict(zip(found, SIGNS, strict=True)), images=images_are)
    how = f"{counts[TUNED]} tuned {unit}s and {counts[UNTUNED]} untuned seeds"
    return (untuned_by, tuned_by), Change(estimate.difference, *estimate.interval(LEVEL), how)


def _cube(stages: Mapping[str, pd.DataFrame], names: Sequence[str]) -> Cube:
    """Return the scores of the four groups on the images that all of them have."""
    parts = [frame.assign(variant=f"{stage} " + frame["variant"]) for stage, frame in stages.items()]
    both = pd.concat(parts, ignore_index=True)
    both = both[both["variant"].isin(names)]
    shared = both.groupby(["set", "image"])["variant"].transform("nunique") == len(names)
    return cube_of(both[shared], "value")


def _observed(scores: pd.DataFrame) -> pd.DataFrame:
    """Return observations x images: the mean over the seeds of each observation."""
    return scores.groupby(level="observation").mean()
