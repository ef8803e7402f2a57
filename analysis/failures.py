"""What trials that broke down tell: how often, with intervals, and what their loss may hide. Pure."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.errors import StatisticsError
from analysis.schema import COMPLETED, DIVERGED, FAILED, PLANNED, RUNNING, STOPPED
from analysis.statistics import wilson

__all__ = ["ENDINGS", "UNTOUCHED", "outcomes", "scored_as_input"]

UNTOUCHED = "input"
"""The method that returns its input: what a trial that broke down is scored as, to bound what its loss may hide."""
ENDINGS = ["completed", "stopped", "diverged", "failed", "unfinished"]
_NAMES = {
    COMPLETED: "completed", STOPPED: "stopped", DIVERGED: "diverged", FAILED: "failed", PLANNED: "unfinished",
    RUNNING: "unfinished",
}  # fmt: skip


def outcomes(trials: pd.DataFrame, *, level: float = 0.05) -> pd.DataFrame:
    """Return how the trials of each variant ended, and intervals (Wilson) of the shares that broke down.

    A state that is not known here is not known to be an end: it counts as `unfinished`.

    Args:
        trials: as from `analysis.load_trials`, of one stage; only `variant` and `state` are read.
        level: probability with which an interval misses the true share.

    Returns:
        By variant, in the frame's order: the numbers `completed`, `stopped`, `diverged`, `failed`, `unfinished`; of
        those that ended the share that `diverged`, that `failed`, and that `broke` (either), as `<what>_low` and
        `<what>_high`, from 0 to 1. Where none has ended nothing is known: (0, 1).
    """
    counts = pd.crosstab(trials["variant"], trials["state"].map(_NAMES).fillna("unfinished"))
    counts = counts.reindex(index=trials["variant"].unique(), columns=ENDINGS, fill_value=0).rename_axis(columns=None)
    ended = counts.sum(axis=1) - counts["unfinished"]
    broke = {"diverged": counts["diverged"], "failed": counts["failed"], "broke": counts["diverged"] + counts["failed"]}
    for what, count in broke.items():
        bounds = [wilson(int(one), int(total), level=level) for one, total in zip(count, ended, strict=True)]
        counts[f"{what}_low"], counts[f"{what}_high"] = ([bound[end] for bound in bounds] for end in (0, 1))
    return counts


def scored_as_input(images: pd.DataFrame, trials: pd.DataFrame, references: pd.DataFrame) -> pd.DataFrame:
    """Return the scores with those of trials that diverged or failed added: each scores as the untouched input.

    What is concluded from these and what is concluded from the completed trials alone bound what was lost with the
    others, as long as a training that broke down would have been no better than the untouched image, and no worse.
    Where no training has a finite score of a metric, it has none, either: verdicts leave such images out.

    Args:
        images: as from `analysis.load_images`, of one stage.
        trials: as from `analysis.load_trials`, of the same stage.
        references: as from `analysis.load_references`, with the method `input`, on the same images.

    Returns:
        The columns of `images`; the same frame if no trial broke down.

    Raises:
        StatisticsError: if a trial broke down and there are no scores of the untouched input.
    """
    broken = trials[trials["state"].isin([DIVERGED, FAILED])]
    if broken.empty:
        return images
    untouched = references[references["method"] == UNTOUCHED]
    if untouched.empty:
        raise StatisticsError(
            f"{len(broken)} trial(s) broke down, and there are no scores of the method `{UNTOUCHED}` to count them as"
        )
    untouched = _where_finite(untouched, images)
    places = [name for name in ("trial", "variant", "stage", "seed", "repeat", "number") if name in images]
    filled = broken[places].merge(untouched, how="cross")
    return pd.concat([images, filled.reindex(columns=images.columns)], ignore_index=True)


def _where_finite(scores: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    """Return scores without those of a metric on an image on which no row of `images` has a finite one."""
    place = ["set", "image"]
    metrics = [name for name in scores if name in images and name not in (*place, "scene")]
    values = images[metrics].astype(float)
    counts = values.where(np.isfinite(values)).groupby([images[key] for key in place]).count()
    there = counts.reindex(pd.MultiIndex.from_frame(scores[place]), fill_value=0).to_numpy() > 0
    return scores.assign(**scores[metrics].where(there))
