"""Which stage of a study the verdicts come from, and what they take as one observation. Pure.

A variant that was searched once is judged at the settings found: another search might have found others, and more
seeds do not tell. With enough searches of every variant, each with its own seed of the sampler, the search is the
unit, and the verdict is one on the component.
"""

from __future__ import annotations

from typing import Literal

import pandas as pd

from analysis.ledger import Study
from analysis.schema import CONFIRM, FIXED

__all__ = ["REPEATS", "Unit", "judged", "unit_of", "verdict_stage"]

REPEATS = 4
"""With so many searches of every variant a verdict speaks of the component, with fewer of the settings found. With one
search and 5 seeds a verdict on the component errs in 15 to 25 % of cases, with four and 3 seeds in 4 %, as declared
(simulated; sd between searches 0.2 to 0.3 dB, between seeds 0.4 dB)."""

Unit = Literal["seed", "repeat"]


def verdict_stage(study: Study) -> str:
    """Return the stage that is judged: that of the confirmed settings if they are to be, else that of the spec's."""
    return CONFIRM if study.search and study.confirm else FIXED


def unit_of(study: Study, stage: str) -> Unit:
    """Return what verdicts on a stage take as one observation: a seed, or a repeat of the search."""
    return "repeat" if stage == CONFIRM and study.search and study.search.repeats >= REPEATS else "seed"


def judged(images: pd.DataFrame, unit: Unit) -> pd.DataFrame:
    """Return scores as `analysis.judge` takes them, with the unit in the column `seed`.

    Of a repeat its completed seeds are averaged, of a seed the repeats in which it is completed. A score that is
    missing in one of them is missing.

    Args:
        images: as from `analysis.load_images`, of one stage.
        unit: what one observation is.

    Returns:
        `images` itself if there is nothing to average; else columns `variant`, `stage`, `seed`, `set`, `image`, `scene`
        and the metrics.
    """
    if unit == "seed" and images["repeat"].nunique() < 2:
        return images
    by = ["variant", "stage", unit, "set", "image", "scene"]
    aside = {*by, "trial", "seed", "repeat", "number", "step", "evaluations"}
    metrics = [column for column in images if column not in aside]
    scores = images.astype(dict.fromkeys(metrics, float))
    groups = scores.groupby(by, sort=False)
    holes = scores[metrics].isna().groupby([scores[key] for key in by], sort=False).any()
    return groups[metrics].mean().mask(holes).reset_index().rename(columns={unit: "seed"})
