"""Which stage of a study the verdicts come from, and what they take as one observation. Pure.

A variant that was searched once is judged at the settings found: another search might have found others, and more
seeds do not tell. Where every variant was searched several times, each time with its own seed of the sampler, the
search is the unit, and with enough of them the verdict is one on the component.
"""

from __future__ import annotations

from typing import Literal

import pandas as pd

from analysis.ledger import Study
from analysis.schema import CONFIRM, FIXED

__all__ = ["Unit", "averaged", "judged", "unit_of", "verdict_stage"]

Unit = Literal["seed", "repeat"]


def verdict_stage(study: Study) -> str:
    """Return the stage that is judged: that of the confirmed settings if they are to be, else that of the spec's."""
    return CONFIRM if study.search and study.confirm else FIXED


def unit_of(study: Study, stage: str) -> Unit:
    """Return what verdicts on a stage take as one observation: a seed, or a repeat where searches were repeated.

    Seeds of one repeat share the settings that its search found, so they are no observations of their own.
    """
    return "repeat" if stage == CONFIRM and study.search and study.search.repeats > 1 else "seed"


def judged(images: pd.DataFrame, unit: Unit) -> pd.DataFrame:
    """Return scores as `analysis.judge` takes them: with a column `observation` where that is not the seed.

    Args:
        images: as from `analysis.load_images`, of one stage.
        unit: what one observation is.
    """
    return images if unit == "seed" else images.assign(observation=images["repeat"])


def averaged(images: pd.DataFrame, unit: Unit) -> pd.DataFrame:
    """Return scores with one `seed` for each observation: of a repeat the mean over its completed seeds.

    For tables of the variants themselves: what compares two of them pairs the seeds first (`judged`). A score that is
    missing at one of the seeds is missing.

    Returns:
        `images` itself if a seed is the observation; else columns `variant`, `stage`, `seed` (the repeat), `set`,
        `image`, `scene` and the metrics.
    """
    if unit == "seed":
        return images
    by = ["variant", "stage", "repeat", "set", "image", "scene"]
    aside = {*by, "trial", "seed", "number", "step", "evaluations"}
    metrics = [column for column in images if column not in aside]
    scores = images.astype(dict.fromkeys(metrics, float))
    groups = scores.groupby(by, sort=False)
    holes = scores[metrics].isna().groupby([scores[key] for key in by], sort=False).any()
    return groups[metrics].mean().mask(holes).reset_index().rename(columns={"repeat": "seed"})
